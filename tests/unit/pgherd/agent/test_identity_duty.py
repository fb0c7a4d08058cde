# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the agent does about who its server is, statement by statement; and what a clone writes before its first start."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from here import here_of
from pgherd.agent import identity_duty
from pgherd.agent.identity_duty import IdentityDuty
from pgherd.data import incarnation, rejoin_marker
from pgherd.data.incarnation import Note
from pgherd.data.outside import InTheWay
from pgherd.errors import Conflict, SqlError
from pgherd.nodes import node_apply
from pgherd.objects.identity import SETTING, IdentityExecutor, admit, look, plan
from pgherd.observe.node_state import NodeState
from pgherd.ports.links import Links
from scripted import ScriptedRunner, ScriptedServer
from states import cluster, primary, streaming, survey

THREE = cluster(3)
TABLE = {"pg1": "pg1a", "pg2": "pg2a", "pg3": "pg3a"}
SWAPPED = {**TABLE, "pg2": "b"}
AT = 0x5000000
OWN, NEW = Note("pg2a", "", ""), Note("b", "", "", ("pg2a",))
CONNINFO = "host=pg1 application_name='(new) pg2'"


def known(said: NodeState, own: str = "", *replaces: str, members: Any = ..., **more: Any) -> NodeState:
    return replace(
        said,
        incarnation=own or f"{said.name}a",
        replaces=replaces,
        members=TABLE if members is ... else members,
        **more,
    )


HEAD = known(primary("pg1"), flushed={"pg3": f"0/{AT:X}"})
PG3 = known(streaming("pg3"), called="pg3")
PG2 = known(streaming("pg2"), called="pg2")
LOCK = ("pg_try_advisory_lock", [{"taken": True, "conninfo": CONNINFO, "slot": "s"}])
LISTED = [{"taken": True, "conninfo": CONNINFO.replace("(new) ", ""), "slot": "s"}]
RELOAD, UNLOCK = ("pg_reload_conf", []), ("pg_advisory_unlock", [])


class Told:
    """A duty on *me* with the note that its directory has, and a script of its sessions."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, me: str, note: Note, script: list[Any], world: Any = THREE
    ) -> None:
        self.said: list[str] = []
        self.note, self.server = note, ScriptedServer(me, script)
        links = Links(lambda name: self.server if name == me else pytest.fail(name), lambda: None)
        here = here_of(world, me, links, say=self.said.append)
        monkeypatch.setattr(incarnation, "current", lambda _directory: self.note)
        monkeypatch.setattr(incarnation, "taken", self._taken)
        self.duty = IdentityDuty(here)

    def _taken(self, _directory: str) -> Note:
        self.note = Note(self.note.id, "", "")
        return self.note


@pytest.mark.parametrize(
    ("what", "mine", "others", "note", "script", "words"),
    [
        ("it is what it was", PG2, [HEAD, PG3], OWN, [], []),
        ("a release before made no table", replace(PG2, members=None), [primary("pg1")], OWN, [], []),
        (
            "it shows nothing yet",
            replace(PG2, incarnation="", members={}),
            [known(primary("pg1"), members={})],
            OWN,
            [("ALTER SYSTEM SET pgherd.incarnation = 'pg2a'", []), RELOAD],
            [],
        ),
        (
            "cloned anew by us: another name, until it is admitted",
            PG2,
            [HEAD, PG3],
            NEW,
            [
                ("ALTER SYSTEM SET pgherd.incarnation = 'b replaces pg2a'", []),
                ("pg_try_advisory_lock", LISTED),
                (r"primary_conninfo = 'host=pg1 application_name=''\(new\) pg2''", []),
                RELOAD,
                UNLOCK,
            ],
            ["identity: pg2 streams as (new) pg2"],
        ),
        (
            "it waits",
            known(streaming("pg2"), "b", "pg2a", called="(new) pg2"),
            [HEAD, PG3],
            NEW,
            [],
            [],
        ),
        (
            "admitted, and another knows",
            known(streaming("pg2"), "b", "pg2a", members=SWAPPED, called="(new) pg2"),
            [HEAD, PG3],
            NEW,
            [
                ("ALTER SYSTEM SET pgherd.incarnation = 'b'", []),
                LOCK,
                ("ALTER SYSTEM SET primary_conninfo = 'host=pg1 application_name=pg2'", []),
                RELOAD,
                UNLOCK,
            ],
            ["identity: b stands for pg2 now", "identity: pg2 streams as pg2"],
        ),
        (
            "admitted, and nobody else knows",
            known(streaming("pg2"), "b", "pg2a", members=SWAPPED, called="(new) pg2"),
            [replace(HEAD, flushed={}), PG3],
            NEW,
            [],
            [],
        ),
        (
            "the old one stood there: nothing changes by it",
            known(streaming("pg2"), "b", "pg2a", members=SWAPPED, called="(new) pg2"),
            [replace(HEAD, flushed={})],
            replace(NEW, timeline=1, upstream="pg1"),
            [("pgherd.incarnation = 'b'", []), LOCK, ("application_name=pg2'", []), RELOAD, UNLOCK],
            ["identity: b stands for pg2 now", "identity: pg2 streams as pg2"],
        ),
        (
            "made anew before anybody was admitted",
            known(streaming("pg2"), "b", "pg2a", members={}, called="pg2"),
            [known(primary("pg1"), members={})],
            NEW,
            [("pgherd.incarnation = 'b'", []), RELOAD],
            ["identity: b stands for pg2 now"],
        ),
        (
            "it has not replayed that the old one was admitted",
            known(streaming("pg2", AT - 1), "b", "pg2a", members={}, called="(new) pg2"),
            [HEAD, PG3],
            NEW,
            [],
            [],
        ),
        ("a promotion is at work", replace(PG2, locked=1), [HEAD], NEW, [], []),
        (
            "it is sealed: whoever has sealed it points it",
            known(replace(streaming("pg2", follows=""), receiver=""), "b", "pg2a", called=""),
            [HEAD, PG3],
            NEW,
            [],
            [],
        ),
    ],
)
def test_own(
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    mine: NodeState,
    others: list[NodeState],
    note: Note,
    script: list[Any],
    words: list[str],
) -> None:
    told = Told(monkeypatch, "pg2", note, script)
    told.duty.tick(1.0, mine, survey(mine, *others), "pg1")
    assert told.said == words, what


def test_a_primary_admits_and_takes_its_own_place(monkeypatch: pytest.MonkeyPatch) -> None:
    fence = ("SET default_transaction_read_only = off", [])
    script = [
        ("pgherd.incarnation = 'c'", []),
        RELOAD,
        fence,
        ("INSERT INTO pgherd.member", []),
        fence,
        ("UPDATE pgherd.member", []),
    ]
    told = Told(monkeypatch, "pg1", Note("c", "", "", ("x",)), script)
    mine = known(primary("pg1"), "c", "x", members={"pg1": "c", "pg2": "pg2a"})
    new = known(streaming("pg2"), "b", "pg2a")
    for now in (1.0, 2.0, 3.0):
        told.duty.tick(now, mine, survey(mine, new, PG3), "pg1")
        mine = known(primary("pg1"), "c", members={"pg1": "c", "pg2": "pg2a", "pg3": "pg3a"})
    assert told.said[-2:] == [
        "identity: pg3a is admitted as pg3",
        "identity: b is admitted as pg2 in the place of pg2a",
    ]


def test_who_is_not_the_real_primary_admits_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch, "pg1", Note("pg1a", "", ""), [])
    mine = known(primary("pg1"), members={})
    told.duty.tick(1.0, mine, survey(mine, PG2), "pg3")
    assert told.said == []


def test_the_directory_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    told = Told(monkeypatch, "pg2", OWN, [])
    monkeypatch.setattr(incarnation, "current", lambda _directory: looks.append(0.0) or OWN)
    for now in (1.0, 2.0, 3.0):
        told.duty.tick(now, PG2, survey(PG2, HEAD), "pg1")
    assert len(looks) == 1
    told.duty.away()
    told.duty.tick(4.0, PG2, survey(PG2, HEAD), "pg1")
    told.duty.tick(4.0 + identity_duty.INTERVAL + 1, PG2, survey(PG2, HEAD), "pg1")
    assert len(looks) == 3


def test_what_fails_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = SqlError("ALTER SYSTEM", "pg2", "unrecognized configuration parameter", "42704")
    told = Told(monkeypatch, "pg2", OWN, [("ALTER", refused), ("ALTER", refused)])
    bare = replace(PG2, incarnation="", members=None)
    for now in (1.0, 2.0):
        told.duty.tick(now, bare, survey(bare, HEAD), "pg1")
    assert len(told.said) == 1
    assert "unrecognized" in told.said[0]


def test_a_swap_is_from_one_to_the_other() -> None:
    server = ScriptedServer("pg1", [("SET", []), (r"UPDATE .* AND incarnation = %s", [])])
    admit(server, "pg2", "b", "a")
    assert server.said[-1][1] == ("b", "pg2", "a")


def test_the_tables_are_made_once() -> None:
    schema, table = ("pg_namespace", [{"there": True, "ours": True}]), ("to_reg", [{"there": True, "ours": True}])
    have = [("pg_database", [{}]), schema, table, table, ("to_reg", [{"there": True}])]
    full = ScriptedServer("pg1", have)
    assert not plan(look(lambda _database: full)).changed
    some = ScriptedServer("pg1", [*have[:3], ("to_reg", []), ("to_reg", [])])
    todo = plan(look(lambda _database: some))
    assert todo.describe() == ["make table pgherd.member, the cluster's id"]
    made = ScriptedServer(
        "pg1", [("synchronous_commit = local", []), ("CREATE TABLE pgherd.member .*;INSERT INTO", [])]
    )
    todo.apply(IdentityExecutor(lambda _database: made))
    none = ScriptedServer("pg1", [("pg_database", [])])
    assert plan(look(lambda _database: none)).changed


@pytest.mark.parametrize("at", [0, 1])
def test_another_s_schema_or_table_is_refused(at: int) -> None:
    """What its owner has put there would be run as a superuser."""
    script = [
        ("to_regnamespace", [{"there": True, "ours": at != 0}]),
        ("relhastriggers", [{"there": True, "ours": False}]),
    ]
    server = ScriptedServer("pg1", [("pg_database", [{}]), *script[: at + 1]])
    with pytest.raises(Conflict, match="DROP SCHEMA pgherd CASCADE"):
        look(lambda _database: server)


def test_a_place_lost_with_a_timeline_is_claimed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """b stood for pg2; the swap was on a timeline that is gone, and a is admitted still."""
    script = [(f"{SETTING} = 'b replaces pg2a'", []), LOCK, ("primary_conninfo", []), RELOAD, UNLOCK]
    told = Told(monkeypatch, "pg2", Note("b", "", "", past=("pg2a",)), script)
    again: list[str] = []
    monkeypatch.setattr(incarnation, "again", lambda _directory, old: again.append(old) or NEW)
    mine = replace(known(streaming("pg2"), "b"), called="pg2")
    told.duty.tick(1.0, mine, survey(mine, HEAD), "pg1")
    assert again == ["pg2a"]


def test_a_sealed_node_is_not_renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was sealed after the look; whoever did that is gone."""
    sealed = ("pg_try_advisory_lock", [{"taken": True, "conninfo": "", "slot": ""}])
    told = Told(monkeypatch, "pg2", OWN, [sealed, UNLOCK])
    mine = replace(PG2, called="(new) pg2")
    told.duty.tick(1.0, mine, survey(mine, HEAD), "pg1")
    assert told.said == []


def test_nobody_is_renamed_without_a_primary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock would be in a promotion's way."""
    told = Told(monkeypatch, "pg2", OWN, [])
    mine = replace(PG2, called="(new) pg2")
    told.duty.tick(1.0, mine, survey(mine), "")
    assert told.said == []


def filled(path: Path, conninfo: str) -> Path:
    """A standby's data directory, as far as it matters here."""
    (path / "global").mkdir(parents=True)
    (path / "global/pg_control").write_bytes(b"")
    (path / "standby.signal").touch()
    (path / "postgresql.auto.conf").write_text(f"primary_conninfo = '{conninfo}'\n")
    return path


def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: str, wipe: bool, world: Any = THREE) -> list[str]:
    """Clone pg2 into tmp_path/data; the lines that were put behind the copy's settings."""
    data, staged = tmp_path / "data", filled(tmp_path / "staged", "host=pg1 application_name=pg2")
    config = tmp_path / "repmgr.conf"
    config.touch()
    control = "Latest checkpoint's TimeLineID: 2\nMin recovery ending loc's timeline: 3\n"
    runner = ScriptedRunner([("pg_controldata", control)] if wipe else [])
    monkeypatch.setattr(rejoin_marker, "MARK", str(tmp_path / "note"))
    stopped: list[str] = []
    service = SimpleNamespace(stop=lambda unit, timeout: stopped.append(rejoin_marker.marked()))
    executor = node_apply.NodeExecutor(
        here_of(world, "pg2", runner=runner, services=service, data=str(data), repmgr=str(config)), 0.1
    )
    staging = executor._staging
    staging.data = str(staged)

    def adopt() -> None:
        staged.rename(data)

    def prepare(*_args: Any) -> None:
        # Nobody starts what goes, and what somebody has started since it was looked at has ended.
        assert stopped == (["clone from pg1"] if wipe else [])
        if data.exists():
            shutil.rmtree(data)

    does: dict[str, Any] = {"end_orphans": lambda: None, "prepare": prepare, "adopt": adopt}
    for name, what in does.items():
        monkeypatch.setattr(staging, name, what)
    monkeypatch.setattr(staging, "_owner", nullcontext)
    monkeypatch.setattr(executor, "_wait", lambda *_: None)
    monkeypatch.setattr(node_apply, "Repmgr", lambda *_: SimpleNamespace(clone=lambda *_: None))
    server = ScriptedServer("pg1", [("query_to_xml", [{"members": f"<m>{members}</m>"}])] if members else [])
    monkeypatch.setattr(node_apply, "slot_session", lambda *_: nullcontext(server))
    asked = ScriptedServer("pg1", [("pg_tablespace_location", [])])
    monkeypatch.setattr(node_apply, "repmgr_session", lambda *_: nullcontext(asked))
    executor.clone("pg1", wipe)
    assert rejoin_marker.marked() == ""
    return (data / "postgresql.auto.conf").read_text().splitlines()


def test_a_copy_never_starts_under_a_name_that_is_another_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = filled(tmp_path / "data", "host=pg1 application_name=pg2")
    old = incarnation.current(str(data)).id
    lines = clone(tmp_path, monkeypatch, f'{{"pg2": "{old}"}}', True)
    own = incarnation.current(str(data))
    assert (own.replaces, own.timeline, own.upstream) == ((old,), 3, "pg1")
    assert lines == [
        "primary_conninfo = 'host=pg1 application_name=''(new) pg2'''",
        f"pgherd.incarnation = '{own.id} replaces {old}'",
    ]


def test_nothing_is_noted_of_data_that_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B15: where the copy has no room."""
    data = filled(tmp_path / "data", "host=pg1")
    old = incarnation.current(str(data))
    (tmp_path / "ts2/notes").mkdir(parents=True)
    executor = node_apply.NodeExecutor(here_of(THREE, "pg2", data=str(data)), 0.1)
    monkeypatch.setattr(executor._staging, "_owner", nullcontext)
    monkeypatch.setattr(executor, "_wait", lambda *_: None)
    rows = [{"location": str(tmp_path / "ts2"), "name": "ts2"}]
    server = ScriptedServer("pg1", [("pg_tablespace_location", rows)])
    monkeypatch.setattr(node_apply, "repmgr_session", lambda *_: nullcontext(server))
    monkeypatch.setattr(rejoin_marker, "MARK", str(tmp_path / "note"))
    with pytest.raises(InTheWay, match="ts2 is, holds notes: move that away"):
        executor.clone("pg1", wipe=True)
    assert rejoin_marker.marked() == ""
    assert incarnation.current(str(data)) == old


def test_what_was_a_primary_stood_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = filled(tmp_path / "data", "host=pg1")
    old = incarnation.current(str(data)).id
    monkeypatch.setattr(node_apply, "control_data", lambda *_: pytest.fail("its timeline says nothing"))
    (data / "standby.signal").unlink()
    executor = node_apply.NodeExecutor(here_of(THREE, "pg2", data=str(data)), 0.1)
    executor._directory = str(data)
    executor._leave()
    shutil.rmtree(data)
    following = incarnation.following(str(data))
    assert (following.replaces, following.timeline, following.upstream) == ((old,), 0, "")


@pytest.mark.parametrize(("world", "members"), [(THREE, "{}"), (cluster(3, durability="async"), "")])
def test_a_first_copy_has_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: Any, members: str) -> None:
    lines = clone(tmp_path, monkeypatch, members, False, world)
    own = incarnation.current(str(tmp_path / "data")).id
    assert lines == ["primary_conninfo = 'host=pg1 application_name=pg2'", f"pgherd.incarnation = '{own}'"]
