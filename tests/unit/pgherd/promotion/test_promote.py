# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A promotion from its first question to its last record: the order, and every step that can fail."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pgherd.data import rejoin_marker
from pgherd.errors import Conflict, PgherdError, SqlError, Unreachable
from pgherd.model import Cluster, Node
from pgherd.ports.links import Links
from pgherd.promotion import apart, promote, seal
from pgherd.promotion.promote import Promotion
from scripted import ScriptedServer
from states import cluster
from test_seal import row

THREE = cluster(3)
ASK, LOCK, HELD, PROMOTE = "AS in_recovery", "pg_try_advisory_lock", "AS held", "pg_promote"
FOLLOWS = row(has_upstream=True, pointed_at="pg1")
NEEDED = {"max_connections": 400}
LOW, ENOUGH = '{"max_connections": 300}', '{"max_connections": 400}'
BROKEN = Unreachable("the session ended")
Steps = list[tuple[str, Any]]


class World:
    """Scripted servers, what was said, and whether PostgreSQL here was stopped."""

    def __init__(self, found: Cluster, scripts: dict[str, Steps]) -> None:
        self.servers = {name: ScriptedServer(name, steps) for name, steps in scripts.items()}
        self.lines: list[str] = []
        self.stopped = False
        self.promotion = Promotion(
            found, "pg2", "pg1", Links(self._open, self._stop, lambda _mine: NEEDED, 5.0), self.lines.append
        )

    def _open(self, name: str) -> Any:
        if name not in self.servers:
            raise Unreachable(f"connect to {name}: no route to host")
        return self.servers[name]

    def _stop(self) -> None:
        self.stopped = True

    def run(self, **how: Any) -> None:
        try:
            self.promotion.run(**how)
        finally:
            self.promotion.close()

    def said(self, name: str) -> str:
        """All statements on one server."""
        return " | ".join(text for text, _params in self.servers[name].said)


def meet() -> Steps:
    return [(ASK, [FOLLOWS])]


def lock(taken: Any = True, follows: str = "host=pg1") -> Steps:
    following = {"taken": taken, "conninfo": follows, "slot": "s"}
    return [(LOCK, taken if isinstance(taken, PgherdError) else [following])]


def standing() -> Steps:
    return [(ASK, [FOLLOWS])]


def sealing(**more: Any) -> Steps:
    return [(ASK, [FOLLOWS]), ("primary_conninfo = ''", []), ("reload", []), (ASK, [row(**more)])]


def ready(directory: str = "/nowhere") -> Steps:
    first = [("RESET default_transaction_read_only", []), ("reload", []), ("SET default_transaction_read_only", [])]
    return [*first, ("statement_timeout = 0", []), ("data_directory", [{"directory": directory}])]


def held(answer: Any = True) -> Steps:
    return [(HELD, answer if isinstance(answer, PgherdError) else [{"held": answer}])]


def promoted(answer: Any = True) -> Steps:
    return [(PROMOTE, answer if isinstance(answer, PgherdError) else [{"done": answer}])]


def replays(**more: Any) -> Steps:
    """It is looked at while it does not leave recovery."""
    return [(ASK, [row(**more)])]


def slot() -> Steps:
    return [("pg_replication_slots", [{"useless": False}])]


def back() -> Steps:
    """Let go: followed as before."""
    return [(ASK, [row()]), ("primary_conninfo = 'host=pg1'", []), ("primary_slot_name = 's'", []), ("reload", [])]


def repointed() -> Steps:
    return [("primary_conninfo = 'host=pg2", []), ("primary_slot_name = 'repmgr_slot_3'", []), ("reload", [])]


def recorded() -> Steps:
    return [("type = 'primary'", []), ("type = 'standby'", [])]


@pytest.fixture(autouse=True)
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rejoin_marker, "MARK", str(tmp_path / "note"))
    monkeypatch.setattr(promote, "LIMIT", 5.0)
    monkeypatch.setattr(seal, "STOP", 0.05)
    return tmp_path / "note"


def begin() -> Steps:
    return meet() + lock() + standing() + sealing()


def test_the_order_of_a_promotion() -> None:
    world = World(
        THREE,
        {
            "pg2": begin() + ready() + held() + promoted() + held() + slot() + recorded(),
            "pg3": begin() + held() + held() + repointed(),
        },
    )
    world.run()
    steps = [line.split(" after ")[0] for line in world.lines]
    order = "connected considered locked sealed compared promoted repointed recorded"
    assert steps == [f"promote: {step}" for step in order.split()]
    assert all(server.closed for server in world.servers.values())
    assert not world.stopped


@pytest.mark.parametrize(
    ("what", "pg2", "pg3", "why"),
    [
        ("too few answer", meet(), None, "2 are needed"),
        ("it is primary already", [(ASK, [row(in_recovery=False)])], meet(), "primary already"),
        ("another is", meet(), [(ASK, [row(in_recovery=False, timeline=2)])], "pg3 is primary"),
    ],
)
def test_what_is_refused_touches_nothing(what: str, pg2: Steps, pg3: Steps | None, why: str) -> None:
    world = World(THREE, {"pg2": pg2, **({"pg3": pg3} if pg3 else {})})
    with pytest.raises(Conflict, match=why):
        world.run()
    assert all("ALTER" not in world.said(name) for name in world.servers), what


def test_an_old_primary_that_answers_stops_it() -> None:
    world = World(THREE, {"pg1": [(ASK, [row(in_recovery=False)])], "pg2": meet(), "pg3": meet()})
    with pytest.raises(Conflict, match="the primary pg1 answers"):
        world.run(patience=5.0)


@pytest.mark.parametrize(
    ("what", "pg2", "pg3", "why"),
    [
        ("another holds the first lock", meet() + lock(False), meet(), "a promotion on pg2 is running already"),
        (
            "another holds the second lock",
            meet() + lock() + back(),
            meet() + lock(False),
            "a promotion on pg3 is running already",
        ),
        ("too few locks", meet() + lock() + back(), meet() + lock(BROKEN), "2 locked nodes"),
        ("its own lock fails", meet() + lock(BROKEN), meet() + lock() + back(), "2 locked nodes"),
        (
            "one was promoted meanwhile",
            meet() + lock() + standing() + back(),
            [*meet(), *lock(), *([(ASK, [row(in_recovery=False)])] * 2)],
            "pg3, which was promoted",
        ),
        (
            "a receiver does not end",
            begin() + back(),
            [*meet(), *lock(), *standing(), *sealing()[:-1], (ASK, BROKEN), *back()],
            "2 sealed nodes",
        ),
        (
            "a lock is lost before",
            begin() + ready() + held() + back(),
            begin() + held(False) + back(),
            "2 nodes locked",
        ),
        ("its own lock is lost", begin() + ready() + held(False) + back(), begin() + held() + back(), "2 nodes locked"),
        (
            "a session ends before",
            begin() + ready() + held() + back(),
            begin() + held(BROKEN) + back(),
            "2 nodes locked",
        ),
        (
            "it cannot write its settings",
            [*begin(), ("RESET", SqlError("alter", "pg2", "disk full", "53100")), *back()],
            begin() + back(),
            "disk full",
        ),
    ],
)
def test_what_fails_before_promotes_nothing_and_lets_all_go(what: str, pg2: Steps, pg3: Steps, why: str) -> None:
    world = World(THREE, {"pg2": pg2, "pg3": pg3})
    with pytest.raises(PgherdError, match=why):
        world.run()
    assert PROMOTE not in world.said("pg2"), what
    assert not world.stopped
    assert all(server.closed for server in world.servers.values())


def lone(follows: str = "") -> Steps:
    """It followed nobody before it was sealed."""
    return meet() + lock(follows=follows) + standing() + sealing()


OWN, OWN_WAL = "it has WAL of its own", "it has WAL of its own on timeline 2"


@pytest.mark.parametrize(
    ("what", "lone_ones", "compared", "own", "allowed"),
    [
        ("all were pointed somewhere, which compares them", "", "", OWN, True),
        ("one was not", "pg3", "pg3", "", True),
        ("it was not, and is a twin", "pg3", "pg3", OWN, False),
        ("this one was not", "pg2", "pg3", "", True),
        ("it is a twin itself", "pg2", "pg3", OWN, False),
        ("none was, as after a promoter that died", "pg2 pg3", "pg3", "", True),
    ],
)
def test_a_twin_counts_for_nobody(
    what: str, lone_ones: str, compared: str, own: str, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have waited for its clone while the primary died; it holds nothing of what that acknowledged."""
    asked: list[tuple[int, str, int]] = []

    def parted(position: int, _timeline: int, _mine: Any, theirs: Any, now: int) -> str:
        asked.append((position, theirs.name, now))
        return own

    monkeypatch.setattr(apart, "parted", parted)
    begins = {name: lone("" if name in lone_ones else "host=pg1") for name in ("pg2", "pg3")}
    rest = (ready() + held() + promoted() + held() + slot() + recorded(), held() + held() + repointed())
    let_go = [[] if name in lone_ones else back() for name in begins]
    steps = zip(begins.values(), rest if allowed else let_go)
    world = World(THREE, dict(zip(begins, [first + then for first, then in steps])))
    if allowed:
        world.run()
    else:
        with pytest.raises(Conflict, match=r"wanted 2 sealed nodes, .*pg3 and pg2 are not of one history .it has WAL"):
            world.run()
    assert [name for _position, name, _now in asked] == ([compared] if compared else []), what
    assert (PROMOTE in world.said("pg2")) is allowed


@pytest.mark.parametrize(
    ("what", "own", "how", "allowed"),
    [
        ("it is the twin", OWN_WAL, {}, False),
        ("a person insists", OWN_WAL, {"accept_loss": True}, True),
        ("nobody can tell, and nobody counts", "nothing tells whose its WAL is", {}, True),
    ],
)
def test_where_nobody_counts_a_twin_does_not_take_the_others_place(
    what: str, own: str, how: dict[str, bool], allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under async durability one node is enough, and so it is for a person who accepts losses."""
    monkeypatch.setattr(apart, "parted", lambda *_: own)
    dropped = OWN_WAL in own
    pg3 = [(ASK, [row(has_upstream=False)])] if dropped else [*held(), *held(), *repointed()]
    steps = {
        "pg2": lone()
        + ready()
        + held()
        + promoted()
        + held()
        + (slot() if not dropped else [])
        + recorded()[: 1 if dropped else 2],
        "pg3": begin() + pg3,
    }
    world = World(cluster(3, durability="async"), steps if allowed else {"pg2": lone(), "pg3": begin() + back()})
    if allowed:
        world.run(**how)
    else:
        with pytest.raises(Conflict, match="a node of the others' history"):
            world.run(**how)
    assert (PROMOTE in world.said("pg2")) is allowed, what
    assert ("primary_conninfo = 'host=pg2" in world.said("pg3")) is (allowed and not dropped), what


def test_a_twin_is_neither_the_furthest_nor_pointed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough are left without it. It is for its agent, which has it cloned."""
    monkeypatch.setattr(apart, "parted", lambda *_: OWN)
    far = [*meet(), *lock(follows=""), *standing(), *sealing(receive_lsn="0/9000000", replay_lsn="0/9000000")]
    world = World(
        cluster(4, sync_standbys=2),
        {
            "pg2": begin() + ready() + held() + promoted() + held() + slot() + recorded(),
            "pg3": begin() + held() + held() + repointed(),
            "pg4": [*far, (ASK, [row(receive_lsn="0/9000000", has_upstream=False)])],
        },
    )
    world.run()
    assert "nobody holds more than pg2" in " ".join(world.lines)
    assert "primary_conninfo = 'host=pg2" not in world.said("pg4")


@pytest.mark.parametrize(("what", "limit", "late"), [("in a hurry", 0.5, True), ("with more time", 10.0, False)])
def test_one_that_was_primary_is_needed_and_late(
    what: str, limit: float, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a standby by now, and answers as slowly as all on this machine."""
    monkeypatch.setattr(promote, "LIMIT", 0.5)
    found = cluster(2, durability="async")
    world, opens = World(found, {"pg2": meet(), "pg1": meet()}), threading.Event()

    def slowly(name: str) -> Any:
        assert name != "pg1" or opens.wait(30)
        return world.servers[name]

    attempt = Promotion(found, "pg2", "pg1", Links(slowly, world._stop, limit=limit), lambda _line: None)
    if not late:
        threading.Timer(0.7, opens.set).start()
    verdict = attempt.consider()
    opens.set()
    assert verdict.allowed is not late, what
    assert attempt.late == (["pg1"] if late else [])
    assert attempt._sessions
    attempt._sessions.wait(["pg1"], 30.0)
    attempt.close()


def test_what_an_attempt_before_held_is_not_let_go_by_the_next() -> None:
    """By then another may have sealed it."""
    failing = [*begin(), ("RESET", SqlError("alter", "pg2", "disk full", "53100")), *back()]
    world = World(THREE, {"pg2": failing + meet() + meet() + lock(False), "pg3": begin() + back() + meet() + meet()})
    with pytest.raises(PgherdError):
        world.promotion.run(handover="stopped")
    world.promotion.prepare(back=True)
    with pytest.raises(Conflict, match="is running already"):
        world.promotion.run(handover="stopped")
    assert LOCK in world.servers["pg2"].said[-1][0]
    assert ASK in world.servers["pg3"].said[-1][0]


def test_f02_a_primary_that_answers_late_stops_it_before_the_promotion() -> None:
    """A restart that was only slower than what it was waited for."""
    begun = begin() + ready() + held() + back()
    world = World(THREE, {"pg1": [(ASK, [row(in_recovery=False)])], "pg2": begun, "pg3": begin() + held() + back()})
    sealed, met = threading.Event(), threading.Event()
    open_at_once = world._open

    def open_(name: str) -> Any:
        if name == "pg1":
            sealed.wait(10)
        return open_at_once(name)

    def say(line: str) -> None:
        if "compared" in line:
            sealed.set()
            sessions = world.promotion._sessions
            assert sessions
            sessions.wait(["pg1"], 10)
        if "given up" in line:
            met.set()

    world.promotion = Promotion(THREE, "pg2", "pg1", Links(open_, world._stop, limit=5.0), say)
    with pytest.raises(Conflict, match="pg1, which is back"):
        world.run()
    assert met.is_set()
    assert PROMOTE not in world.said("pg2")


def test_a_candidate_that_is_behind_catches_up_first() -> None:
    world = World(
        THREE,
        {
            "pg2": [
                *begin(),
                ("primary_conninfo = 'host=pg3", []),
                ("primary_slot_name = ''", []),
                ("reload", []),
                (ASK, [row(has_upstream=True, receive_lsn="0/5800000")]),
                (ASK, [row(has_upstream=True, receive_lsn="0/6000000")]),
                *sealing(receive_lsn="0/6000000"),
                *ready(),
                *held(),
                *promoted(),
                *held(),
                *slot(),
                *recorded(),
            ],
            "pg3": meet() + lock() + standing() + sealing(receive_lsn="0/6000000") + held() + held() + repointed(),
        },
    )
    world.run()
    assert any("pg3 holds more" in line for line in world.lines)


def test_one_that_does_not_catch_up_is_not_promoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promote, "CATCH_UP", -1.0)
    pointing: Steps = [("host=pg3", []), ("slot", []), ("reload", []), (ASK, [row(has_upstream=True)])]
    world = World(
        THREE,
        {
            "pg2": begin() + pointing + back(),
            "pg3": meet() + lock() + standing() + sealing(receive_lsn="0/6000000") + back(),
        },
    )
    with pytest.raises(Unreachable, match="did not hand its WAL over"):
        world.run()
    assert PROMOTE not in world.said("pg2")


@pytest.mark.parametrize(
    ("what", "pg2", "pg3"),
    [
        ("a lock is lost while it promotes", promoted() + held(), held(False)),
        ("a session ends while it promotes", promoted() + held(), held(BROKEN)),
        ("its own session ends", promoted(BROKEN), []),
        ("a lock is lost while it replays", promoted(False) + held(), held(False)),
        (
            "a limit is too low for the rest of its WAL",
            promoted(False) + held() + replays(replay_paused=True, limits=LOW),
            held(),
        ),
    ],
)
def test_what_fails_after_stops_it_and_marks_its_data(what: str, pg2: Steps, pg3: Steps, note: Path) -> None:
    """Its timeline must never be taken for a newer truth."""
    world = World(THREE, {"pg2": begin() + ready() + held() + pg2, "pg3": begin() + held() + pg3})
    with pytest.raises(PgherdError):
        world.run()
    assert world.stopped, what
    assert note.read_text() == "promoted without its locks\n"
    assert "host=pg2" not in world.said("pg3")


def test_one_that_was_stopped_before_it_left_recovery_may_start_again(note: Path, tmp_path: Path) -> None:
    (tmp_path / "standby.signal").touch()
    world = World(
        THREE,
        {
            "pg2": begin() + ready(str(tmp_path)) + held() + promoted(BROKEN),
            "pg3": begin() + held(),
        },
    )
    with pytest.raises(Unreachable):
        world.run()
    assert world.stopped
    assert note.read_text().startswith(rejoin_marker.STOPPED)


def test_long_replay_is_waited_for_under_the_locks() -> None:
    world = World(
        THREE,
        {
            "pg2": begin()
            + ready()
            + held()
            + promoted(False)
            + held()
            + replays()
            + promoted()
            + held()
            + slot()
            + recorded(),
            "pg3": begin() + held() + held() + held() + repointed(),
        },
    )
    world.run()
    assert not world.stopped


def test_one_that_cannot_replay_is_refused_before_anything_is_touched() -> None:
    """PostgreSQL pauses for ever, and resuming shuts it down."""
    world = World(THREE, {"pg2": [(ASK, [row(replay_paused=True, limits=LOW)])], "pg3": meet()})
    with pytest.raises(Conflict, match="max_connections is 300 and has to be 400"):
        world.run()
    assert "ALTER" not in world.said("pg2") + world.said("pg3")
    assert not world.stopped


def test_a_pause_that_a_person_made_is_no_hindrance() -> None:
    """A promotion ends it."""
    first = [(ASK, [row(has_upstream=True, pointed_at="pg1", replay_paused=True, limits=ENOUGH)])]
    world = World(
        THREE,
        {
            "pg2": first + begin()[1:] + ready() + held() + promoted() + held() + slot() + recorded(),
            "pg3": begin() + held() + held() + repointed(),
        },
    )
    world.run()


def test_replay_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promote, "REPLAY", -1.0)
    world = World(
        THREE,
        {
            "pg2": begin() + ready() + held() + promoted(False) + held() + replays(),
            "pg3": begin() + held() + held(),
        },
    )
    with pytest.raises(Unreachable, match="has not left recovery"):
        world.run()
    assert world.stopped


def test_a_slot_that_cannot_be_made_holds_up_nobody() -> None:
    full = SqlError("create", "pg2", "all replication slots are in use", "53400")
    world = World(
        THREE,
        {
            "pg2": [
                *begin(), *ready(), *held(), *promoted(), *held(),
                ("pg_replication_slots", []), ("pg_create_physical", full), *recorded(),
            ],
            "pg3": [*begin(), *held(), *held(), ("host=pg2", []), ("primary_slot_name = ''", []), ("reload", [])],
        },
    )  # fmt: skip
    world.run()


def test_a_failing_record_is_said_and_no_more() -> None:
    world = World(
        THREE,
        {
            "pg2": begin() + ready() + held() + promoted() + held() + slot() + [("type = 'primary'", BROKEN)],
            "pg3": begin() + held() + held() + repointed(),
        },
    )
    world.run()
    assert any("not recorded" in line for line in world.lines)


def test_one_promotion_at_a_time_in_a_process() -> None:
    world = World(THREE, {})
    with promote._ONE, pytest.raises(Conflict, match="in this process"):
        world.run()


def test_an_unlisted_one_does_not_count_among_those_needed() -> None:
    """By hand, and yet without loss: both listed standbys must be sealed beside it."""
    found = cluster(4)
    nodes = tuple(
        node if node.name != "pg2" else type(node)("pg2", 2, "postgres", "pg2", "pg1", 0) for node in found.nodes
    )
    found = type(found)("demo", nodes)
    world = World(
        found,
        {
            "pg2": meet() + lock() + back(),
            "pg3": meet() + lock() + back(),
            "pg4": meet() + lock(BROKEN),
        },
    )
    with pytest.raises(Conflict, match="2 locked nodes"):
        world.run(handover="fenced")


LISTED = cluster(3)
UNLISTED = replace(
    LISTED,
    nodes=(
        Node("pg1", 1, "postgres", "pg1", "pg2", 0),
        Node("pg2", 2, "postgres", "pg2"),
        *(Node(f"pg{number}", number, "postgres", f"pg{number}", "pg2") for number in (3, 4)),
    ),
)


@pytest.mark.parametrize(("found", "needed", "sealed"), [(LISTED, 2, "pg1 pg2 pg3"), (UNLISTED, 3, "pg2 pg3")])
def test_an_old_primary_that_is_a_standby_now_counts_if_it_is_listed(found: Cluster, needed: int, sealed: str) -> None:
    """Else all that it had acknowledged must be found on the listed ones."""
    world = World(found, {name: [(ASK, [row()])] for name in ("pg1", "pg2", "pg3")})
    verdict = world.promotion.consider(patience=5.0)
    world.promotion.close()
    assert (verdict.needed, sorted(verdict.seal)) == (needed, sealed.split())


MEMBERS = '<m>{"pg2": "a", "pg3": "a3"}</m>'


def anew(shown: str) -> Steps:
    """pg3 answered as the one that counts; sealed, and by its newest table, it is *shown* to be another."""
    following = row(has_upstream=True, pointed_at="pg1", shown="a3", members=MEMBERS)
    sealed = row(shown=shown, members=MEMBERS)
    begin_ = [(ASK, [following]), *lock(), (ASK, [following]), (ASK, [following])]
    return [*begin_, ("primary_conninfo = ''", []), ("reload", []), (ASK, [sealed])]


def mine() -> Steps:
    following = row(has_upstream=True, pointed_at="pg1", shown="a", members=MEMBERS)
    begin_ = [(ASK, [following]), *lock(), (ASK, [following]), (ASK, [following])]
    return [*begin_, ("primary_conninfo = ''", []), ("reload", []), (ASK, [row(shown="a", members=MEMBERS)])]


def test_who_does_not_count_when_it_is_sealed_is_not_counted() -> None:
    world = World(THREE, {"pg2": mine() + back(), "pg3": anew("b3") + back()})
    with pytest.raises(Conflict, match="pg3 is not the data that counted under its name"):
        world.run()


def test_a_node_that_does_not_stand_for_its_name_is_pointed_under_another() -> None:
    """It is sealed and not needed; what is pointed under its name would confirm commits."""
    more = replace(THREE, nodes=(*THREE.nodes, Node("pg4", 4, "postgres", "pg4", "pg1")), sync_standbys=2)
    new = [
        (r"primary_conninfo = .*application_name=''\(new\) pg3''", []),
        ("primary_slot_name = 'repmgr_slot_3'", []),
        ("reload", []),
    ]
    listed = [("application_name=pg4'", []), ("primary_slot_name = 'repmgr_slot_4'", []), ("reload", [])]
    slots = [("pg_replication_slots", [{"useless": False}])] * 2
    records = [("type = 'primary'", []), ("type = 'standby'", []), ("type = 'standby'", [])]
    world = World(
        more,
        {
            "pg2": mine() + ready() + held() + promoted() + held() + slots + records,
            "pg3": anew("b3") + held() + held() + new,
            "pg4": anew("a4") + held() + held() + listed,
        },
    )
    world.run()


def test_what_has_lost_wal_is_not_counted() -> None:
    found = World(THREE, {"pg2": meet(), "pg3": meet()})
    links = Links(found._open, found._stop)
    found.promotion = Promotion(THREE, "pg2", "pg1", links, found.lines.append, {"pg3": (9, 1)})
    with pytest.raises(Conflict, match="pg3 has lost WAL that it had confirmed"):
        found.run()
