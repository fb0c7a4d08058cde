# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Sealing: the lock, the wait, and what a standby says of itself, statement by statement."""

from __future__ import annotations

from typing import Any

import pytest
from pgherd.errors import Conflict, Unreachable
from pgherd.observe.node_state import QUERY, SEAL_LOCK, parse_state
from pgherd.ports import wait
from pgherd.promotion import command, seal
from scripted import ScriptedServer
from states import SYSTEM


def row(**more: Any) -> dict[str, Any]:
    """A sealed standby's answer to QUERY."""
    return {
        "in_recovery": True,
        "timeline": 1,
        "system_id": SYSTEM,
        "write_lsn": None,
        "wal_waits": False,
        "receive_lsn": "0/5000000",
        "replay_lsn": "0/5000000",
        "has_upstream": False,
        "pointed_at": "",
        "settled": True,
        "upstream": "",
        "receiver": "",
        "locked": 0,
        "read_only": False,
        "repmgrd": True,
        "upstream_seen_age": 9,
        "stop_asked": "",
        "senders": "{}",
        "strangers": "[]",
        "slots": "{}",
        "logical": "{}",
        **more,
    }


ASK = "AS in_recovery"
ORDERS = [
    ("AS in_recovery", [row(has_upstream=True)]),
    ("ALTER SYSTEM SET primary_conninfo = ''", []),
    ("pg_reload_conf", []),
]


@pytest.fixture(autouse=True)
def _time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock takes a second."""
    ticks = iter(range(1000))
    monkeypatch.setattr(wait.time, "monotonic", lambda: float(next(ticks)))


def sealed(*answers: dict[str, Any]) -> Any:
    server = ScriptedServer("pg2", [*ORDERS, *((ASK, [answer]) for answer in answers)])
    return seal.seal("pg2", server, lambda _seconds: None)


def test_the_lock_says_whom_the_node_follows() -> None:
    taken = [{"taken": True, "conninfo": "host=pg1", "slot": "repmgr_slot_2"}]
    server = ScriptedServer("pg2", [(f"pg_try_advisory_lock.{SEAL_LOCK}.", taken)])
    assert seal.lock("pg2", server) == seal.Following("host=pg1", "repmgr_slot_2")


def test_a_lock_that_another_holds() -> None:
    server = ScriptedServer("pg2", [("lock", [{"taken": False, "conninfo": "", "slot": ""}])])
    with pytest.raises(Conflict, match="another promotion"):
        seal.lock("pg2", server)


def test_it_waits_for_the_receiver_to_end() -> None:
    """What it received until then counts."""
    found = sealed(
        row(has_upstream=True, receiver="streaming"),
        row(receiver="streaming", receive_lsn="0/6000000"),
        row(receive_lsn="0/7000000"),
    )
    assert (found.sealed, found.position) == (True, 0x7000000)


def test_it_waits_until_a_restarted_standby_has_read_its_own_wal() -> None:
    """Before, its position is somewhere in the midst of it."""
    found = sealed(row(receive_lsn=None, settled=False), row(receive_lsn=None, replay_lsn="0/6000000"))
    assert found.position == 0x6000000


@pytest.mark.parametrize(
    ("answer", "why"),
    [(row(receiver="streaming"), "receiver has not ended"), (row(settled=False), "has not read its own WAL")],
)
def test_it_gives_up(answer: dict[str, Any], why: str) -> None:
    with pytest.raises(Unreachable, match=why):
        sealed(answer, answer, answer)


def test_held_asks_for_all_three() -> None:
    """The lock, nobody to follow, and no receiver."""
    three = "primary_conninfo.* = ''.*NOT EXISTS.*pg_stat_wal_receiver.*pid = pg_backend_pid"
    server = ScriptedServer("pg2", [(three, [{"held": False}])])
    assert not seal.still_locked("pg2", server)


def test_a_node_is_moved_under_the_lock() -> None:
    steps = [
        ("pg_try_advisory_lock", [{"taken": True, "conninfo": "", "slot": ""}]),
        ("primary_conninfo", []),
        ("primary_slot_name", []),
        ("reload", []),
        ("pg_advisory_unlock", []),
    ]
    seal.move("pg2", ScriptedServer("pg2", steps), "host=pg1", "")


@pytest.mark.parametrize(
    ("looks", "taken", "pointed"),
    [
        (["there"], None, False),
        (["free"], True, True),
        (["locked", "locked", "free"], True, True),
        # The promotion has pointed it there itself.
        (["locked", "there"], None, False),
        (["locked"] * 20, False, Conflict),
    ],
)
def test_a_node_is_pointed_once_no_promotion_is_at_work_on_it(
    looks: list[str], taken: bool | None, pointed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait.time, "sleep", lambda _seconds: None)
    steps: list[tuple[str, Any]] = []
    for look in looks:
        steps.append(("AS found", [{"found": "host=pg1" if look == "there" else ""}]))
        steps += [] if look == "there" else [(ASK, [row(locked=int(look == "locked"))])]
    if taken is not None:
        steps.append(("pg_try_advisory_lock", [{"taken": taken, "conninfo": "", "slot": ""}]))
    if taken:
        steps += [(said, []) for said in ("primary_conninfo", "primary_slot_name", "reload", "pg_advisory_unlock")]
    server = ScriptedServer("pg2", steps)
    if pointed is Conflict:
        with pytest.raises(Conflict, match="another promotion"):
            command._point("pg2", server, "host=pg1", "")
    else:
        assert command._point("pg2", server, "host=pg1", "") is pointed
    server.finish()


def test_a_locked_node_is_not_moved() -> None:
    server = ScriptedServer("pg2", [("lock", [{"taken": False, "conninfo": "", "slot": ""}])])
    with pytest.raises(Conflict):
        seal.move("pg2", server, "host=pg1", "")


def test_the_question_reads_the_timeline_from_the_wal_files() -> None:
    """The control file of a sealed standby lags behind (tried on PostgreSQL 15)."""
    assert "coalesce(w.received_tli," in QUERY
    assert "pg_ls_waldir()" in QUERY
    # What a rewind has left of a timeline that is no more has no history (tried on PostgreSQL 17, tests/more/test_cures.py).
    assert "left(name, 8) || '.history' IN (SELECT name FROM pg_ls_waldir())" in QUERY


def test_a_voice_from_its_row() -> None:
    found = parse_state(
        "pg2", row(senders='{"pg3": "12:00"}', slots='{"repmgr_slot_3": ["0/5", true], "new": [null, false]}')
    )
    assert found.senders == {"pg3": "12:00"}
    assert found.slots == {"repmgr_slot_3": ("0/5", True), "new": (None, False)}
