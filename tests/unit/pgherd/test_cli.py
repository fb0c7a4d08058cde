# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The command: what it prints, its exit codes, its errors, what it imports, and its document against the schema."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pgherd import cli
from pgherd.observe import gather as observe
from pgherd.observe.topology import Topology
from pgherd.places.host.words import words
from pgherd.status.report import read_cluster, report
from test_picture import PICTURES
from test_problems import CASES
from world import CLUSTER, healthy, stopped

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs/status.schema.json").read_text())


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Lets the command see a topology instead of a network; returns the words that name the cluster's file."""
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(CLUSTER.to_dict()))
    monkeypatch.setattr(cli, "MONITOR_PASSFILE", str(path))

    def see(topology: Topology) -> list[str]:
        monkeypatch.setattr(observe, "observe", lambda cluster: topology)
        return ["--cluster", str(path)]

    return see


@pytest.mark.parametrize(
    ("case", "code"), [("healthy", 0), ("standby stopped", 1), ("primary stopped", 2), ("nothing reachable", 3)]
)
def test_exit_codes(seen: Any, capsys: pytest.CaptureFixture[str], case: str, code: int) -> None:
    topology = CASES[case][0]
    assert cli.main(["status", *seen(topology)]) == code
    assert capsys.readouterr().out == report(CLUSTER, topology, words).picture() + "\n"


def test_an_agent_that_its_unit_runs_takes_no_words_apart() -> None:
    """What argparse brings would stay in memory for as long as the agent runs."""
    told = (
        "import sys\n"
        "from pgherd import cli\n"
        "from pgherd.places import chosen\n"
        "chosen.run_agent = lambda *given: print(*given, 'argparse' in sys.modules) or 7\n"
        "sys.exit(cli.main())\n"
    )
    core = str(ROOT / "plugins/module_utils")

    def run(*words: str) -> tuple[int, str]:
        argv = [sys.executable, "-S", "-c", told, *words]
        done = subprocess.run(argv, env={"PYTHONPATH": core}, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    file = "/etc/pgherd/cluster.json"
    assert run("agent", "--host", "pg1") == (7, f"{file} pg1 0 False\n")
    assert run("agent", "--host", "pg1", "--cluster", file) == (7, f"{file} pg1 0 True\n")
    assert run("agent", "--host", "--help")[0] == 2


def test_line(seen: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--line", *seen(healthy())]) == 0
    assert capsys.readouterr().out == report(CLUSTER, healthy(), words).line() + "\n"


def test_json(seen: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--json", *seen(stopped(healthy(), "pg4"))]) == 1
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, SCHEMA)
    assert document["health"] == "degraded"
    assert [problem["id"] for problem in document["problems"]] == ["sync-no-spare", "node-down", "not-streaming"]
    assert Topology.from_dict(document["topology"]) == stopped(healthy(), "pg4")


def test_watch_draws_again_until_interrupted(
    seen: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli.time, "sleep", sleep)
    assert cli.main(["status", "--line", "--watch", "2", *seen(healthy())]) == 130
    assert capsys.readouterr().out.count("HEALTHY") == 3
    assert all(1 < pause <= 2 for pause in pauses)


@pytest.mark.parametrize("topology", [*PICTURES.values(), *(case[0] for case in CASES.values())])
def test_every_document_is_as_the_schema_says(topology: Topology) -> None:
    jsonschema.validate(json.loads(json.dumps(report(CLUSTER, topology, words).document())), SCHEMA)


def test_the_schema_is_a_schema_and_refuses() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    document = report(CLUSTER, healthy(), words).document()
    document["topology"]["nodes"][0]["postgres"]["timeline"] = "one"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(json.dumps(document)), SCHEMA)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        ("{", "does not describe a cluster"),
        ("[]", "does not describe a cluster"),
        ('{"name": "x"}', "does not describe a cluster"),
    ],
)
def test_a_bad_cluster_file_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, said: str
) -> None:
    path = tmp_path / "cluster.json"
    if content is not None:
        path.write_text(content)
    assert cli.main(["status", "--cluster", str(path)]) == 3
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_who_may_not_read_the_password_is_told(seen: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    words = seen(healthy())
    monkeypatch.setattr(cli, "MONITOR_PASSFILE", "/nowhere/monitor.pgpass")
    assert cli.main(["status", *words]) == 3
    assert "Run pgherd as root" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["nonsense"], ["status", "--json", "--line"], ["status", "--watch", "0"]])
def test_wrong_words_end_with_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert "usage: pgherd" in capsys.readouterr().err


def test_the_cluster_file_round_trips(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(CLUSTER.to_dict()))
    assert read_cluster(str(path)) == CLUSTER


def test_help_imports_nothing_heavy() -> None:
    """psycopg costs 0.15 s to import; nobody pays for it who does not connect."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pgherd.cli import main\n"
        "try:\n    main(['status', '--help'])\nexcept SystemExit:\n    print(sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(ROOT / "plugins/module_utils")], capture_output=True, text=True, check=True
    )
    for heavy in ("psycopg", "ssl", "http.client", "pgherd.observe.gather", "ansible"):
        assert f"'{heavy}'" not in done.stdout
