# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Nothing that units run stays root's for longer than it must, and no file of a host is where another could swap it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pgherd import cli
from pgherd.agent import command_part
from pgherd.data import postmaster, rejoin_marker
from pgherd.model import AGENT_DIRECTORY, SYSTEM_ROLES, Barman, Cluster, Node, Pgpool
from pgherd.nodes import evidence, start
from pgherd.options import Options
from pgherd.places.host.files import barman, base, pgpool, postgres, repmgr
from pgherd.places.host.files.facts import HostFacts
from pgherd.pools import gate
from pgherd.ports import identity
from pgherd.ports.hostfiles import File
from pgherd.programs.pgpool import GATE_PASSFILE
from users import OTHER, ROOT, Users

as_root = pytest.mark.skipif(not ROOT, reason="only root can become somebody else")
NAMES = {"pg1": "postgres", "w1": "witness", "pool1": "pgpool", "backup1": "barman"}
SECRETS = {
    **dict.fromkeys((*SYSTEM_ROLES, "pgherd_agent", "pcp", "pgherd"), "x"),
    **{f"tls:{name}": "x" for name in ("ca", "certificate", "key")},
    **{f"ssh:{name}": "x" for name in ("private", "public")},
}
CLUSTER = Cluster(
    "demo",
    (Node("pg1", 1, "postgres", "pg1"), Node("w1", 2, "witness", "w1", "pg1", priority=0)),
    (Pgpool("pool1", "pool1"),),
    (Barman("backup1", "backup1"),),
    options=Options.of(
        {
            "pgpool_max_clients": 64,
            "pgpool_reserved_connections": 1,
            "pgpool_read_balancing": "named",
            "wal_keep_size": "512MB",
            "ssh_keys": True,
            "tablespaces": [{"name": "fast", "location": "/srv/fast"}],
            "barman_directory": "/srv/barman",
            "barman_schedule": "daily",
        }
    ),
)


class Secrets(dict[str, str]):
    """A password for every role there is."""

    def __missing__(self, key: str) -> str:
        return "x"


def every() -> Iterator[tuple[str, File]]:
    """All files of all hosts, by the host's kind."""
    facts, secrets = HostFacts(17), Secrets(SECRETS)
    programs: dict[str, tuple[Any, ...]] = {
        "pg1": (base, postgres, repmgr),
        "w1": (base, postgres, repmgr),
        "pool1": (base, pgpool),
        "backup1": (base, barman),
    }
    for name, conf in programs.items():
        for program in conf:
            for item in program.files(CLUSTER, name, facts, secrets):
                yield NAMES[name], item


def units() -> list[tuple[str, str]]:
    return [
        (f"{kind} {item.path}", item.content)
        for kind, item in every()
        if item.path.startswith("/etc/systemd/") and item.kind == "file"
    ]


@pytest.mark.parametrize(("name", "text"), units(), ids=[name for name, _text in units()])
def test_no_unit_has_root_work_for_another(name: str, text: str) -> None:
    assert not re.search(r"^Exec\w+=[-@:]*[+!]", text, re.MULTILINE)
    assert "chown" not in text
    assert "/usr/bin/install" not in text


def test_an_agent_reads_copies_of_its_own(common_path: Path) -> None:
    """Of what others on its host read: in root's directory, for its user alone."""
    own = [item for kind, item in every() if item.path.startswith(f"{AGENT_DIRECTORY}/")]
    assert sorted(os.path.basename(item.path) for item in own) == [
        "cluster.json",
        "monitor.pgpass",
        "pcp.pass",
        "server.key",
    ]
    assert {(item.owner, item.group, item.mode) for item in own} == {("pgherd", "pgherd", "0600")}
    (directory,) = (item for kind, item in every() if item.path == AGENT_DIRECTORY)
    assert (directory.kind, directory.owner, directory.mode) == ("directory", "root", "0755")


KINDS = ("node", "pgpool", "barman")
# Whose the directories are that no file of ours makes; all others are root's.
HOMES = {"/var/lib/postgresql": "postgres", "/var/lib/barman": "barman", "/srv/barman": "barman"}


def owner_of(directory: str, made: dict[str, str]) -> str:
    while directory != "/":
        if directory in made or directory in HOMES:
            return made.get(directory) or HOMES[directory]
        directory = os.path.dirname(directory)
    return "root"


def test_a_file_is_its_directorys_owners_or_roots_directory_has_it() -> None:
    """Then it is written by who owns the directory, and no other can change what is written."""
    files = list(every())
    for kind in set(NAMES.values()):
        mine = [item for one, item in files if one == kind]
        made = {item.path: item.owner for item in mine if item.kind == "directory"}
        for item in mine:
            if item.kind != "absent":
                assert owner_of(os.path.dirname(item.path), made) in ("root", item.owner), (kind, item.path)


def test_the_configuration_is_roots_and_postgres_may_read_it() -> None:
    found = {item.path: item for kind, item in every() if kind == "postgres"}
    top = "/etc/postgresql"
    for path in (top, f"{top}/17", f"{top}/17/main"):
        assert (found[path].kind, found[path].owner, found[path].mode) == ("directory", "root", "0755")
    for item in found.values():
        if item.path.startswith(f"{top}/") and item.kind == "file":
            assert (item.owner, item.group, item.mode) in (("root", "postgres", "0640"), ("root", "root", "0644"))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What the guard and the gate do, in order."""
    done: list[str] = []
    (tmp_path / "cluster.json").write_text("{}")
    monkeypatch.setattr(evidence, "take", lambda: done.append("evidence") or evidence.Evidence())
    monkeypatch.setattr(identity, "become", lambda name: done.append(f"become {name}"))
    monkeypatch.setattr(rejoin_marker, "marked", lambda: done.append("note") or "")
    monkeypatch.setattr(command_part, "ask", lambda *words, **how: done.append(f"ask {how}"))
    monkeypatch.setattr("pgherd.status.report.read_cluster", lambda path: done.append("cluster") or CLUSTER)
    monkeypatch.setattr(gate, "wait", lambda cluster: done.append("wait") or 0)
    decision = start.StartVerdict(start.START, "nobody else")
    monkeypatch.setattr(start, "decide", lambda *words: done.append("decide") or decision)
    return done


def test_the_guard_is_not_root_when_it_looks_at_the_data(told: list[str]) -> None:
    assert cli.main(["guard", "--host", "pg1", "--postgres", "17"]) == 0
    assert told == ["evidence", "become postgres", "note", "cluster", "decide"]


@pytest.mark.parametrize("allowed", [False, True])
def test_the_guard_looks_who_has_the_postmasters_number(
    told: list[str], monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    monkeypatch.setattr(evidence, "take", lambda: evidence.Evidence(restored=allowed))
    monkeypatch.setattr(postmaster, "forget_gone", lambda data: told.append(f"number in {data}") or "")
    assert cli.main(["guard", "--host", "pg1", "--postgres", "17", "--data", "/srv/pg"]) == 0
    assert told[:3] == ["become postgres", "note", "number in /srv/pg"]


def test_no_evidence_makes_a_note_good(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "take", lambda: evidence.Evidence(restored=True))
    monkeypatch.setattr(rejoin_marker, "marked", lambda: "clone from pg1")
    assert cli.main(["guard", "--host", "pg1", "--postgres", "17"]) == 3
    assert told == ["become postgres"]


def test_the_gate_is_not_root_when_it_waits(told: list[str]) -> None:
    assert cli.main(["gate"]) == 0
    assert told == ["cluster", "become postgres", "wait"]


GUARD = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pgherd.data import rejoin_marker
from pgherd.nodes import evidence
from pgherd.ports import identity
rejoin_marker.MARK, evidence.PATH, identity.POSTGRES = sys.argv[2:5]
import pgherd.places.chosen, pgherd.status.report
from pgherd.nodes import start
pgherd.status.report.read_cluster = pgherd.places.chosen.here = lambda *_: None
start.decide = lambda _here, evidence: start.StartVerdict(start.START, f"restored: {evidence.restored}")
from pgherd.cli import main
code = main(["guard", "--host", "pg1", "--postgres", "17"])
print(code, os.getresuid())
"""


@as_root
@pytest.mark.parametrize("planted", [False, True])
def test_a_real_guard_shows_nobody_what_only_root_may_read(common_path: Path, planted: bool) -> None:
    users = Users(common_path)
    allowed = users.roots / "permit"
    allowed.write_text("")
    if planted:
        users.planted("a link", "note")
    core = str(Path(cli.__file__).parents[1])
    argv = [sys.executable, "-c", GUARD, core, str(users.theirs / "note"), str(allowed), users.owner]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert (done.stdout, allowed.exists()) == (f"{3 if planted else 0} {(OTHER, OTHER, OTHER)}\n", False), done.stderr
    assert ("an attempt to come back was interrupted" in done.stderr) == planted
    assert ("restored: True" in done.stderr) != planted
    assert "root's" not in done.stderr


def test_evidence_is_roots_and_for_one_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_path: str) -> None:
        raise PermissionError

    given = evidence.Evidence(stopped={"pg2": evidence.Stopped(True, "7", 2, "pg1")}, empty=("pg3",))
    monkeypatch.setattr(evidence, "PATH", str(tmp_path / "evidence"))
    assert evidence.take() == evidence.Evidence()
    evidence.give(given)
    with monkeypatch.context() as patch:
        patch.setattr(evidence.os, "unlink", refused)
        assert evidence.take() == evidence.Evidence()
    assert evidence.take() == given
    assert evidence.take() == evidence.Evidence()


@pytest.mark.parametrize(
    ("what", "text", "age", "found"),
    [
        ("a person's touch", "", 0, evidence.Evidence(restored=True)),
        ("too old", "", 61, evidence.Evidence()),
        ("the clock has gone back", "", -30, evidence.Evidence()),
        ("a release before has written the time", "1764450000\n", 0, evidence.Evidence()),
        ("what a later one may know", '{"seen": 1}', 0, evidence.Evidence()),
        ("half", '{"new": tr', 0, evidence.Evidence()),
        ("no text", "\udcff", 0, evidence.Evidence()),
    ],
)
def test_what_cannot_be_read_is_no_evidence(
    what: str, text: str, age: float, found: evidence.Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "evidence"
    path.write_text(text, errors="surrogateescape")
    at = path.stat().st_mtime - age
    os.utime(path, (at, at))
    monkeypatch.setattr(evidence, "PATH", str(path))
    assert evidence.take() == found, what
    assert not path.exists()


def test_the_gate_has_a_password_of_its_users(common_path: Path) -> None:
    (item,) = (item for kind, item in every() if item.path == GATE_PASSFILE)
    assert (item.owner, item.mode, item.secret) == ("postgres", "0600", True)
    assert {kind for kind, item in every() if item.path == GATE_PASSFILE} == {"pgpool"}
    assert gate._target(CLUSTER, "pg1")["passfile"] == GATE_PASSFILE
    users = Users(common_path)
    target = users.planted("a link", "status")
    gate._write(str(users.theirs / "status"), "up\n")
    found = (users.theirs / "status").lstat()
    assert (target.read_text(), found.st_uid, found.st_mode & 0o777) == ("root's", OTHER, 0o644)
