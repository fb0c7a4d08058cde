# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The table of where the minutes of `make test` went."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import minutes
import prove
from minutes import Phases, Span

SAID = (
    (10.0, "INFO     [default > create] Executing"),
    (11.0, "INFO     [default > create] Executed: Successful"),
    (12.0, "TASK [Say [default > create] to somebody]"),
    (20.0, "INFO     [default > verify] Executing"),
    (320.0, "ERROR    [default > verify] Executed: Failed"),
    (321.0, "INFO     [default > destroy] Executing"),  # and nothing more: molecule was killed
)
REPORT = """<testsuites><testsuite>
<testcase classname="tests.integration.test_a" name="test_quick" time="0.2" />
<testcase classname="tests.integration.test_a" name="test_slow[one]" time="61.5" />
<testcase classname="tests.integration.test_b" name="test_middle" time="7" />
</testsuite></testsuites>"""


def test_phases_are_read_off_molecules_lines() -> None:
    phases = Phases()
    for now, line in SAID:
        phases.see(now, line)
    assert phases.spans == [Span("create", 10.0, 1.0), Span("verify", 20.0, 300.0)]


def test_a_scenario_is_a_line_and_a_run_counts_where_tests_made_it() -> None:
    spans = [Span("create", 10.0, 8.4), Span("converge", 20.0, 100.0), Span("verify", 130.0, 300.0)]
    # Molecule's own, two of tests, one of the next scenario.
    played = [
        Span("converge", 21.0, 98.0),
        Span("site", 140.0, 40.0),
        Span("remove", 200.0, 20.0),
        Span("site", 500.0, 9),
    ]
    said = minutes.table({"default": (420.0, spans), "change": (9.0, [])}, played)
    assert said.splitlines() == [
        "seconds  create  check  converge  idempotence  verify  other  all  playbooks in tests",
        "default       8      -       100            -     300     12  420        60 in 2 runs",
        "change        -      -         -            -       -      9    9                   -",
    ]


def test_the_slowest_come_first(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    found = minutes.slowest([report, tmp_path / "missing.xml"], 2)
    assert found == [(61.5, "test_a::test_slow[one]"), (7.0, "test_b::test_middle")]


def test_a_playbook_run_writes_down_what_it_took(tmp_path: Path) -> None:
    pytest.importorskip("ansible")
    playbook, took = tmp_path / "nothing.yml", tmp_path / "took.jsonl"
    playbook.write_text("- {hosts: localhost, gather_facts: false, connection: local, tasks: []}\n")
    assert minutes.runs(took) == []
    env = {**os.environ, **minutes.environment(took)}
    for _run in range(2):
        words = [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", playbook]
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert [(run.name, 0 < run.seconds < 60) for run in minutes.runs(took)] == [("nothing", True)] * 2
    assert json.loads(took.read_text().splitlines()[0])["began"] > 0


def test_a_step_ends_with_its_command_and_not_with_what_that_leaves_running() -> None:
    said: list[str] = []
    began = time.monotonic()
    code = prove.follow(("sh", "-c", "sleep 60 & echo one; echo two >&2; exit 3"), dict(os.environ), said.append)
    assert (code, said) == (3, ["one\n", "two\n"])
    assert time.monotonic() - began < 30


def test_what_ran_is_appended_to_the_page() -> None:
    page = "# Title\n\n| date | commit | what ran | passed | failed | minutes |\n|---|---|---|---|---|---|\n"
    once = minutes.recorded(page, date(2026, 11, 29), "abc1234", [("scenario default", 120, 0, 754.0)])
    assert once == page + "| 2026-11-29 | abc1234 | scenario default | 120 | 0 | 12.6 |\n"
    twice = minutes.recorded(once, date(2026, 11, 30), "def5678", [("more of change", 9, 1, 60.0)])
    assert twice == once + "| 2026-11-30 | def5678 | more of change | 9 | 1 | 1.0 |\n"


def test_no_test_is_in_neither() -> None:
    """What make test leaves out by the marker, make test-more runs, of the same scenarios or on the hosts of default."""
    left_out = {one.command[3] for one in prove.BESIDE + prove.SCENARIOS if one.command[0] == "molecule"} - {"faults"}
    run = {one.command[3] for one in prove.MORE if one.env.get("PGHERD_TESTS") == "more"}
    assert left_out == run
