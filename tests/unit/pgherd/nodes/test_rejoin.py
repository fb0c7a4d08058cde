# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What goes between two states of a data directory, and the way from one to the other."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from here import here_of
from pgherd.data import datadir, incarnation, rejoin_marker
from pgherd.data.outside import InTheWay
from pgherd.data.twins import OWN, UNTOLD
from pgherd.duties.standby import Down, decide_down
from pgherd.errors import Conflict, PgherdError, Unreachable
from pgherd.layout import debian
from pgherd.nodes import rejoin
from pgherd.nodes.rejoin import Rejoin
from pgherd.places.host.systemd import SystemdServices
from pgherd.places.host.units import units
from pgherd.ports.links import Links
from pgherd.ports.services import FAILED, RUNNING
from scripted import ScriptedRunner, ScriptedServer
from states import cluster, standby


def test_settings_are_put_in_place(tmp_path: Path) -> None:
    auto = tmp_path / "postgresql.auto.conf"
    auto.write_text("# by hand\nprimary_conninfo = 'host=pg1'\nwork_mem = '8MB'\n  primary_slot_name='x'\n")
    datadir.write_settings(str(tmp_path), {"primary_conninfo": "host=pg2 user='a b'", "primary_slot_name": None})
    assert auto.read_text() == "# by hand\nwork_mem = '8MB'\nprimary_conninfo = 'host=pg2 user=''a b'''\n"
    assert auto.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["postgresql.auto.conf"]


def test_settings_where_there_are_none(tmp_path: Path) -> None:
    datadir.write_settings(str(tmp_path), {"a.b": "c"})
    assert (tmp_path / "postgresql.auto.conf").read_text() == "a.b = 'c'\n"


# What ALTER SYSTEM writes for the value, and reads (tried on 15).
@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("", "log_line_prefix = ''"),
        ("a'b", "log_line_prefix = 'a''b'"),
        ("a\\b", "log_line_prefix = 'a\\\\b'"),
        (r"password='it\'s'", r"log_line_prefix = 'password=''it\\''s'''"),
        ("'", "log_line_prefix = ''''"),
    ],
)
def test_a_setting_is_read_as_it_was_written(tmp_path: Path, value: str, line: str) -> None:
    datadir.write_settings(str(tmp_path), {"log_line_prefix": value})
    assert (tmp_path / "postgresql.auto.conf").read_text() == f"{line}\n"
    assert datadir.written(str(tmp_path)) == {"log_line_prefix": value}


def test_the_last_line_of_a_setting_counts(tmp_path: Path) -> None:
    (tmp_path / "postgresql.auto.conf").write_text("# work_mem = '1'\nwork_mem = '2'\n  work_mem=3\na.b = on\n")
    assert datadir.written(str(tmp_path)) == {"work_mem": "3", "a.b": "on"}
    assert datadir.written(str(tmp_path / "none")) == {}


def test_a_standby_of_somebody_and_of_nobody(tmp_path: Path) -> None:
    """A fence that was left behind goes too."""
    auto = tmp_path / "postgresql.auto.conf"
    auto.write_text("default_transaction_read_only = 'on'\n")
    datadir.make_standby(str(tmp_path), "host=pg1", "s")
    assert (tmp_path / "standby.signal").exists()
    assert auto.read_text() == "primary_conninfo = 'host=pg1'\nprimary_slot_name = 's'\n"
    datadir.make_standby(str(tmp_path), "", "")
    assert auto.read_text() == "primary_conninfo = ''\nprimary_slot_name = ''\n"


CONTROL = """pg_control version number:            1300
Database system identifier:           7000000000000000001
Database cluster state:               {state}
Latest checkpoint location:           0/3000060
Latest checkpoint's TimeLineID:       1
Latest checkpoint's REDO location:    0/3000028
Minimum recovery ending location:     0/3000090
Min recovery ending loc's timeline:   {timeline}
Bytes per WAL segment:                16777216
"""


@pytest.mark.parametrize(("timeline", "newest"), [(0, 1), (1, 1), (2, 2)])
@pytest.mark.parametrize("signal", ["", "standby.signal", "recovery.signal"])
def test_who_a_data_directory_is(tmp_path: Path, timeline: int, newest: int, signal: str) -> None:
    """A crash soon after a promotion leaves the newer timeline in one of the two places only."""
    if signal:
        (tmp_path / signal).touch()
    runner = ScriptedRunner([("pg_controldata", CONTROL.format(timeline=timeline, state="in production"))])
    found = datadir.local(debian(15, str(tmp_path)), runner)
    assert (found.standby, found.system_id, found.timeline) == (
        signal == "standby.signal",
        "7000000000000000001",
        newest,
    )
    assert found.restoring == (signal == "recovery.signal")
    assert (found.redo, found.checkpoint, found.checkpoint_timeline) == (0x3000028, 0x3000060, 1)


def test_a_standby_is_no_restored_backup(tmp_path: Path) -> None:
    """A promotion leaves recovery.signal behind, and copies of that primary would have it too."""
    for _twice in range(2):
        datadir.make_standby(str(tmp_path), "host=pg1", "slot")
        (tmp_path / "recovery.signal").touch()
    datadir.make_standby(str(tmp_path), "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["postgresql.auto.conf", "standby.signal"]


MINE = "port=5432 application_name=pg2"


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        (None, ""),
        ("", ""),
        (f"primary_conninfo = 'user=repmgr host=pg1 {MINE}'\n", "pg1"),
        (f"primary_conninfo = 'host=''pg1.example.com'' {MINE}'\n", "pg1.example.com"),
        ("primary_conninfo = 'host=pg1 application_name=''pg2'''\n", "pg1"),
        (f"primary_conninfo = 'host=pg1 {MINE}'\nport = 5433\nprimary_conninfo = 'host=pg3 {MINE}'\n", "pg3"),
        (f"primary_conninfo = 'host=pg1 {MINE}'\nprimary_conninfo = ''\n", ""),
        (f"# primary_conninfo = 'host=pg1 {MINE}'\n", ""),
        ("primary_conninfo = 'host=pg1 application_name=''(new) pg2'' port=1'\n", ""),
        ("primary_conninfo = 'host=pg1 port=5432'\n", ""),
    ],
)
def test_whom_a_stopped_server_follows(tmp_path: Path, settings: str | None, host: str) -> None:
    """By the line that counts, the last one, and under its own name: one that is new there cannot say what the last did."""
    if settings is not None:
        (tmp_path / "postgresql.auto.conf").write_text(settings)
    assert datadir.follows(str(tmp_path), "pg2") == host


@pytest.mark.parametrize(
    ("state", "recovering", "clean"),
    [
        ("in production", False, False),
        ("shut down", False, True),
        ("shutting down", False, False),
        ("in archive recovery", True, False),
        ("shut down in recovery", True, True),
        ("in crash recovery", False, False),
    ],
)
def test_what_state_data_are_in(tmp_path: Path, state: str, recovering: bool, clean: bool) -> None:
    runner = ScriptedRunner([("pg_controldata", CONTROL.format(timeline=1, state=state))])
    found = datadir.local(debian(15, str(tmp_path)), runner)
    assert (found.recovering, found.clean) == (recovering, clean)


def test_the_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejoin_marker, "MARK", str(tmp_path / "note"))
    assert rejoin_marker.marked() == ""
    rejoin_marker.mark("clone from pg1")
    assert rejoin_marker.marked() == "clone from pg1"
    (tmp_path / "note").write_text("")
    assert rejoin_marker.marked() == "unfinished"
    rejoin_marker.unmark()
    rejoin_marker.unmark()
    assert rejoin_marker.marked() == ""


class Host:
    """A host with a stopped server, whose data were left in *state*; what is done there is written down in order."""

    def __init__(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        note: str = "",
        kept: PgherdError | None = None,
        state: str = "shut down in recovery",
        foreign: str = "",
        starts: bool = True,
        own: str = "",
    ) -> None:
        self.done: list[str] = []
        self.state_ = state
        self.rewinds = 0, ""
        self.in_the_way, self.copies = False, True
        self._starts = starts
        self._note, self.directory = tmp_path / "note", tmp_path / "main"
        (self.directory / "pg_wal").mkdir(parents=True)
        (self.directory / "global").mkdir()
        (self.directory / "global/pg_control").write_bytes(bytes(8192))
        (self.directory / "PG_VERSION").write_text("15")
        (self.directory / "standby.signal").touch()
        if note:
            self._note.write_text(note)
        monkeypatch.setattr(rejoin_marker, "MARK", str(self._note))
        monkeypatch.setattr(rejoin, "NodeExecutor", lambda *args: self)
        monkeypatch.setattr(rejoin, "foreign", lambda *args: foreign)
        self.compared: list[tuple[int, int, int]] = []

        def parted(position: int, timeline: int, _mine: Any, _theirs: Any, now: int) -> str:
            self.compared.append((position, timeline, now))
            self.done += ["compare"] if own else []
            return own

        monkeypatch.setattr(rejoin, "parted", parted)
        monkeypatch.setattr(rejoin, "ask", lambda name, server: standby(name))
        monkeypatch.setattr(rejoin, "said", lambda *args: "FATAL: could not load the certificate")
        runner = ScriptedRunner([])
        runner._answer = lambda said, matches: self._run(said)  # type: ignore[method-assign]
        links = Links(self._server, lambda: None)
        self.rejoin = Rejoin(here_of(cluster(3), "pg2", links, runner, self, self._say, 15, data=str(self.directory)))
        monkeypatch.setattr(self.rejoin._keeper, "run", lambda *args, **how: self._keep(kept, **how))

    def _run(self, said: str) -> Any:
        if "pg_rewind" not in said:
            return CONTROL.format(timeline=2, state=self.state_)
        # What pg_rewind recovers by itself ends as a primary's recovery does.
        assert "--no-ensure-shutdown" in said
        assert "shut down" in self.state_
        self.done.append("rewind")
        return (self.rewinds[0], "", self.rewinds[1])

    def _say(self, line: str) -> None:
        pass

    def _keep(self, fails: PgherdError | None, stray: bool = False, since: int | None = None) -> bool:
        self.done.append("keep all of its own" if stray else "keep" if since is None else f"keep since {since:X}")
        if fails:
            raise fails
        return False

    def _server(self, name: str) -> Any:
        if name == "pg2" and not self._starts:
            raise Unreachable("connect to pg2: refused")
        server = ScriptedServer(name, [])
        row = {"id": "7000000000000000001", "name": "000000010000000000000003", "setting": "16777216", "useless": False}
        rows = [row]
        server._answer = lambda said, matches: rows  # type: ignore[method-assign]
        return server

    def stop(self, name: str, timeout: float) -> None:
        """Of the service: a server that runs is shut down, as what it is."""
        if self.done and self.done[-1] == "start as a standby of nobody":
            self.state_ = "shut down in recovery"

    def log(self, name: str) -> str:
        """Of the service."""
        return SystemdServices(ScriptedRunner([]), units(15)).log(name)

    def state(self, name: str) -> str:
        """Of the service."""
        return RUNNING if self._starts else FAILED

    def start(self, name: str, wait: bool) -> None:
        """Of the service. The guard refuses data with a note."""
        assert rejoin_marker.marked() == ""
        assert (self.directory / "standby.signal").exists()
        nobody = "primary_conninfo = ''" in (self.directory / "postgresql.auto.conf").read_text()
        self.done.append("start as a standby of nobody" if nobody else "start")

    def may_clone(self, target: str, wipe: bool) -> None:
        """Of the node's executor."""
        if self.in_the_way:
            raise InTheWay(f"clone from {target}", "room", "none")

    def copy(self, target: str, wipe: bool) -> None:
        """Of the node's executor, which marks what it wipes."""
        if not self.copies:
            raise Unreachable(f"copy {target}: no route to host")
        rejoin_marker.mark(f"clone from {target}")
        (self.directory / "global").mkdir(parents=True, exist_ok=True)
        (self.directory / "pg_wal").mkdir(exist_ok=True)
        (self.directory / "global/pg_control").write_bytes(bytes(8192))
        self.done.append(f"clone from {target}")


@pytest.mark.parametrize(
    ("what", "note", "steps"),
    [
        ("nothing noted", "", ["keep", "rewind", "start"]),
        ("stopped for it", f"{rejoin_marker.STOPPED} to come back below pg1", ["keep", "rewind", "start"]),
        ("promoted without its locks", rejoin_marker.STRAY, ["keep all of its own", "clone from pg1", "start"]),
        ("half-rewound", "rewind to pg1", ["clone from pg1", "start"]),
        ("half-cloned", "clone from pg1", ["clone from pg1", "start"]),
    ],
)
def test_the_way_back(what: str, note: str, steps: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, monkeypatch, note)
    host.rejoin.run("pg1")
    assert host.done == steps, what
    assert rejoin_marker.marked() == ""


@pytest.mark.parametrize(
    ("what", "members", "gone", "called"),
    [
        ("no table", None, "", "pg2"),
        ("it is admitted", "own", "", "pg2"),
        ("another is", "other", "", "''(new) pg2''"),
        ("it replaces one, and has not taken its place", "own", "old", "''(new) pg2''"),
    ],
)
def test_it_says_who_it_is_before_it_starts(
    what: str, members: str | None, gone: str, called: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rewind has brought the settings of its source."""
    host = Host(tmp_path, monkeypatch)
    (host.directory / "postgresql.auto.conf").write_text("pgherd.incarnation = 'another'\n")
    own = incarnation.current(str(host.directory))
    if gone:
        own = incarnation.replaced(str(host.directory), gone, 1, "pg1")
    known = None if members is None else {"pg2": own.id if members == "own" else members}
    monkeypatch.setattr(rejoin, "ask", lambda name, server: replace(standby(name), members=known))
    host.rejoin.run("pg1")
    written = (host.directory / "postgresql.auto.conf").read_text()
    assert f"application_name={called}" in written, what
    assert written.count("pgherd.incarnation") == 1
    assert f"pgherd.incarnation = '{own.shown}'" in written


@pytest.mark.parametrize("state", ["in production", "in archive recovery", "in crash recovery", "shutting down"])
def test_no_recovery_is_ended_for_a_rewind(state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B00: a server that was not shut down is started under the guard as a standby, and shut down as one."""
    host = Host(tmp_path, monkeypatch, state=state)
    host.rejoin.run("pg1")
    assert host.done == ["start as a standby of nobody", "keep", "rewind", "start"]
    assert rejoin_marker.marked() == ""


def test_what_does_not_start_is_no_reason_for_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, monkeypatch, state="in production", starts=False)
    with pytest.raises(PgherdError, match="it fails to start: FATAL: could not load the certificate"):
        host.rejoin.run("pg1")
    assert host.done == ["start as a standby of nobody"]


def test_data_that_are_not_the_primarys_are_cloned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a release before this has left: a checkpoint of its own where the primary has other records."""
    host = Host(tmp_path, monkeypatch, foreign="its WAL ends otherwise")
    host.rejoin.run("pg1")
    assert host.done == ["keep since 3000028", "clone from pg1", "start"]


TWIN = f"{OWN} 2: up to 0/3000090 it is not what pg1 has there"


@pytest.mark.parametrize("state", ["shut down", "shut down in recovery", "in production"])
def test_a_twin_is_cloned_whatever_asked_for_it(state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pg_rewind would take it for the same; all that it has is compared once it is read, and kept."""
    host = Host(tmp_path, monkeypatch, state=state, own=TWIN)
    host.rejoin.run("pg1")
    read = ["start as a standby of nobody"] if state == "in production" else []
    assert host.done == [*read, "compare", "keep all of its own", "clone from pg1", "start"]
    assert host.compared == [(0x3000090, 2, 1)]


@pytest.mark.parametrize("note", ["", f"{rejoin_marker.STOPPED} to come back below pg1"])
@pytest.mark.parametrize(
    ("why", "alone"), [(TWIN, True), (f"{UNTOLD} 2, up to 0/4000000: pg1 has that no longer", False)]
)
def test_a_twin_is_not_started_again_when_its_clone_fails(
    note: str, why: str, alone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stand in the next election, and count. What nobody can tell of may be needed: a promotion compares it."""
    host = Host(tmp_path, monkeypatch, note=note)
    host.in_the_way = True
    for _twice in range(2):
        with pytest.raises(InTheWay):
            host.rejoin.run("pg1", why)
    # Its WAL is copied once, and not while the clone would fail on what is here.
    assert host.done == []
    host.in_the_way, host.copies = False, False
    for _twice in range(2):
        with pytest.raises(Unreachable):
            host.rejoin.run("pg1", why)
    assert host.done == ["keep all of its own"]
    noted = rejoin_marker.marked()
    assert noted.startswith(why if alone else rejoin_marker.STOPPED)
    started = decide_down(Down("pg2", FAILED, "", unfinished=noted, for_seconds=600.0)).action
    assert started == ("" if alone else "start")
    host.copies = True
    host.rejoin.run("pg1", "" if alone else why)
    assert host.done == ["keep all of its own", "clone from pg1", "start"]
    assert rejoin_marker.marked() == ""


def test_data_that_are_broken_are_cloned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, monkeypatch)
    host.rejoin.run("pg1", "could not locate a valid checkpoint record")
    assert host.done == ["keep", "clone from pg1", "start"]


@pytest.mark.parametrize(
    ("what", "whose", "steps"),
    [
        ("a base backup of this cluster", "7000000000000000001", ["clone from pg1", "start"]),
        ("one of another", "1", []),
        ("nobody knows what", "", []),
    ],
)
def test_data_that_are_not_whole(
    what: str, whose: str, steps: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only they have cannot be kept: so they go only where that is nothing."""
    host = Host(tmp_path, monkeypatch)
    (host.directory / "global/pg_control").unlink()
    monkeypatch.setattr(rejoin, "backup_of", lambda _directory: whose)
    if steps:
        host.rejoin.run("pg1", "there is no global/pg_control")
    else:
        with pytest.raises(Conflict, match=r"Use the data of pg2: .* such as an interrupted copy .* cluster_wipe"):
            host.rejoin.run("pg1", "there is no global/pg_control")
    assert host.done == steps, what


@pytest.mark.parametrize(
    ("what", "left", "steps"),
    [
        ("nothing", "", ["clone from pg1", "start"]),
        ("the root of a file system", "lost+found", ["clone from pg1", "start"]),
        ("an unfinished clone", ".pgherd-clone base", ["clone from pg1", "start"]),
        ("there is no directory", "no directory", ["clone from pg1", "start"]),
        ("a cluster that has lost that one file", "base global pg_wal standby.signal", []),
        ("somebody's files", "notes", []),
        ("files in the root of a file system", "lost+found notes", []),
    ],
)
def test_data_without_pg_version(
    what: str, left: str, steps: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are nothing to be cloned over: what only they have cannot be kept."""
    host = Host(tmp_path, monkeypatch)
    shutil.rmtree(host.directory)
    if left != "no directory":
        host.directory.mkdir()
        for name in left.split():
            (host.directory / name).mkdir()
    if steps:
        host.rejoin.run("pg1", "there is no PG_VERSION")
    else:
        with pytest.raises(Conflict, match=r"pg2: the data directory holds files, but no cluster.*cluster_wipe"):
            host.rejoin.run("pg1", "there is no PG_VERSION")
        assert sorted(os.listdir(host.directory)) == sorted(left.split())
    assert host.done == steps, what


def test_data_that_cannot_be_seen_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, monkeypatch)
    shutil.rmtree(host.directory)
    host.directory.touch()
    with pytest.raises(PgherdError, match="nothing says that the data are broken"):
        host.rejoin.run("pg1", "there is no PG_VERSION")
    assert host.done == []


@pytest.mark.parametrize("note", ["", f"{rejoin_marker.STOPPED} to come back below pg1", "clone from pg1"])
def test_data_stay_where_a_copy_would_fail(note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B15: and what is noted of them stays true."""
    host = Host(tmp_path, monkeypatch, note, foreign="its WAL ends otherwise")
    host.in_the_way = True
    with pytest.raises(InTheWay):
        host.rejoin.run("pg1")
    assert not [step for step in host.done if not step.startswith("keep")]
    assert rejoin_marker.marked().startswith(note or rejoin_marker.STOPPED)


def test_a_rewind_that_reaches_nobody_is_no_reason_for_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, monkeypatch)
    host.rewinds = 1, 'pg_rewind: error: connection to server at "pg1" (10.0.0.1), port 5432 failed: timeout expired'
    with pytest.raises(PgherdError, match="pg_rewind does not reach pg1"):
        host.rejoin.run("pg1")
    assert host.done == ["keep", "rewind"]
    assert rejoin_marker.marked().startswith(rejoin_marker.STOPPED)


def test_a_rewind_that_fails_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, monkeypatch)
    host.rewinds = 1, "pg_rewind: fatal: could not find common ancestor of the source and target cluster's timelines"
    host.rejoin.run("pg1")
    assert host.done == ["keep", "rewind", "clone from pg1", "start"]


@pytest.mark.parametrize("note", ["", rejoin_marker.STRAY])
def test_nothing_goes_that_could_not_be_kept(note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, monkeypatch, note, PgherdError("keep WAL: No space left on device."))
    with pytest.raises(PgherdError, match="No space left"):
        host.rejoin.run("pg1")
    assert [step for step in host.done if not step.startswith("keep")] == []
    assert rejoin_marker.marked().startswith(note or rejoin_marker.STOPPED)
