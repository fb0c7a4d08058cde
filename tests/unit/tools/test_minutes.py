# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The table of where the minutes of `make test` went."""

from __future__ import annotations

import itertools
import json
import os
import re
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
    scenarios = [one for one in prove.BESIDE + prove.SCENARIOS if one.command[0] == "molecule"]
    left_out = {one.command[3] for one in scenarios if "PGHERD_TESTS" not in one.env} - {"faults"}
    run = {one.command[3] for one in prove.MORE if one.env.get("PGHERD_TESTS") == "more"}
    assert left_out == run


def test_of_pods_each_test_is_in_one_of_both() -> None:
    """By the markers that it may have, and what molecule runs where nobody says otherwise."""
    text = (prove.CHECKOUT / "molecule/kubernetes/molecule.yml").read_text()
    (whole,) = re.findall(r"PGHERD_TESTS:-([^}]*)}", text)
    (heart,) = [one.env["PGHERD_TESTS"] for one in prove.SCENARIOS if one.command[2:] == ("-s", prove.PODS)]
    (rest,) = [one.env["PGHERD_TESTS"] for one in prove.MORE if one.command[2:] == ("-s", prove.PODS)]
    known = ("fault", "dozen", "pods", "heart", "more")
    for has in itertools.product((False, True), repeat=len(known)):
        names = dict(zip(known, has))
        if names["heart"] and names["fault"] and not (names["dozen"] or names["pods"]):
            continue  # a fault of hosts alone is in no heart of pods
        wanted = [bool(eval(words, {}, names)) for words in (whole, heart, rest)]
        assert wanted[0] == (wanted[1] or wanted[2]), names
        assert not (wanted[1] and wanted[2]), names


def test_a_fault_of_the_heart_is_one_that_pods_can_have() -> None:
    """Else it would be in the heart alone, and the scenario without it whole."""
    found = 0
    for path in (prove.CHECKOUT / "tests/faults/suite").glob("test_*.py"):
        text = path.read_text()
        for decorators in re.findall(r"((?:^@.*\n)+)def test_", text, re.MULTILINE):
            if "@pytest.mark.heart" in decorators:
                found += 1
                assert "pytestmark = pytest.mark.pods" in text or "@pytest.mark.dozen" in decorators, (path, decorators)
    assert found >= 7
