# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The start guard: what a data directory may start as, given what the others say."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pgherd.errors import Conflict, Unreachable
from pgherd.failover import start
from pgherd.failover.guard import Local, decide, furthest
from pgherd.failover.links import Links
from pgherd.failover.voice import Round
from pgherd.model import Cluster
from scripted import ScriptedRunner, ScriptedServer
from test_seal import row
from voices import SYSTEM, cluster, primary, round_, standby, streaming, witness

THREE = cluster(3)
FIVE = cluster(5, sync_standbys=2)
BOTH = cluster(3, sync_standbys=2)
WITNESSED = cluster(3, witness=True)
ASYNC = cluster(3, witness=True, durability="async")
WAS_PRIMARY = Local(False, SYSTEM, 1)
PG2, PG3 = standby("pg2"), standby("pg3")
Case = tuple[str, Cluster, Round, str]


@pytest.mark.parametrize(
    ("what", "found", "seen", "why"),
    [
        ("F24: all start at once", THREE, round_(PG2, PG3), "pg2, pg3 can acknowledge"),
        ("F24: one never returns", THREE, round_(PG2), "pg2 can acknowledge"),
        ("two standbys of four stay away", FIVE, round_(PG2, PG3), "pg2, pg3 can acknowledge"),
        ("the only other of two", cluster(2), round_(PG2), "pg2 can acknowledge"),
        ("ANY 2 of three: the silent one has not been promoted alone", BOTH, round_(PG2), "pg2 can acknowledge"),
        ("the only electable one", cluster(1, witness=True), round_(), "nobody else"),
        ("asynchronous, a majority", ASYNC, round_(PG2, witness()), "pg2"),
        ("one left behind on an older timeline", THREE, round_(primary("pg3", 0), PG2), "pg2 can acknowledge"),
        ("a foreign one among ours", THREE, round_(PG2, primary("pg3", 5, system_id="1")), "pg2 can acknowledge"),
    ],
)
def test_it_starts_as_it_is(what: str, found: Cluster, seen: Round, why: str) -> None:
    decision = decide(found, "pg1", WAS_PRIMARY, seen)
    assert not decision.as_standby, (what, decision.why)
    assert why in decision.why


@pytest.mark.parametrize(
    ("what", "found", "seen", "why", "provisional"),
    [
        ("F23: another is primary", THREE, round_(primary("pg2", 2), PG3), "pg2 is primary", False),
        ("the newest of two primaries", THREE, round_(primary("pg2", 2), primary("pg3", 3)), "pg3", False),
        ("F23: a standby is further", THREE, round_(streaming("pg3", timeline=2)), "pg3 is on timeline 2", False),
        ("nobody answers", THREE, round_(), "nobody knows whether one of pg2, pg3", True),
        ("nobody but the witness", WITNESSED, round_(witness()), "pg2, pg3", True),
        ("three of five are silent", FIVE, round_(PG2), "pg3, pg4, pg5", True),
        ("the other of two is silent", cluster(2), round_(), "pg2", True),
        ("ANY 2 of three: both are silent", BOTH, round_(), "pg2, pg3", True),
        ("one is sealed", THREE, round_(standby("pg2", follows="")), "pg2, pg3", True),
        ("one is locked", THREE, round_(replace(PG2, locked=1)), "pg2, pg3", True),
        ("one was pointed at another", THREE, round_(standby("pg3", follows="pg2")), "pg2, pg3", True),
        ("what is left is an old primary", THREE, round_(primary("pg2", 0)), "pg2, pg3", True),
        ("what is left is foreign", FIVE, round_(PG2, PG3, *(standby(f"pg{n}", system_id="1") for n in (4,))), "", None),
        ("asynchronous, no majority", ASYNC, round_(), "pg2, pg3, w1", True),
    ],
)  # fmt: skip
def test_it_starts_as_a_standby(what: str, found: Cluster, seen: Round, why: str, provisional: bool | None) -> None:
    decision = decide(found, "pg1", WAS_PRIMARY, seen)
    if provisional is None:
        assert not decision.as_standby, what
        return
    assert decision.as_standby, (what, decision.why)
    assert re.search(why, decision.why), decision.why
    assert decision.provisional == provisional


def test_a_standby_and_a_witness_may_always_start() -> None:
    assert not decide(THREE, "pg2", Local(True, SYSTEM, 1), round_()).as_standby
    assert not decide(WITNESSED, "w1", Local(False, "9", 1), round_()).as_standby


def test_one_that_a_person_promoted_may_start_when_nobody_is_further() -> None:
    found = replace(THREE, nodes=(*THREE.nodes, replace(THREE.nodes[2], name="pg4", id=4, address="pg4", priority=0)))
    assert not decide(found, "pg4", replace(WAS_PRIMARY, timeline=2), round_(PG2, PG3)).as_standby
    assert decide(found, "pg4", WAS_PRIMARY, round_(streaming("pg3", timeline=2))).as_standby


def test_data_of_another_cluster_do_not_start() -> None:
    with pytest.raises(Conflict, match="Start pg1"):
        decide(THREE, "pg1", replace(WAS_PRIMARY, system_id="1"), round_(PG2, PG3))
    with pytest.raises(Conflict, match="cluster_wipe"):
        decide(THREE, "pg2", Local(True, "1", 1), round_(primary("pg1")))


@pytest.mark.parametrize(
    ("seen", "holder", "position"),
    [
        pytest.param(round_(), "", 0, id="nobody"),
        pytest.param(round_(PG2, standby("pg3", 0x5000100)), "pg3", 0x5000100, id="the furthest"),
        pytest.param(round_(standby("pg2", 0x2FFFF00)), "", 0, id="nothing behind the checkpoint"),
        pytest.param(
            round_(standby("pg2", 0x5002000, replay_lsn="0/5000080")),
            "pg2",
            0x5000080,
            id="half a record at a page's end",
        ),
        pytest.param(
            round_(standby("pg2", 0x5002010, replay_lsn="0/5000080")),
            "pg2",
            0x5002010,
            id="whole, and not replayed yet",
        ),
        pytest.param(round_(standby("pg2", 0x5002000, replay_lsn=None)), "", 0, id="nothing replayed since its start"),
        pytest.param(round_(standby("pg2", 0x5000100, timeline=2)), "", 0, id="another timeline"),
        pytest.param(round_(standby("pg2", 0x5000100, system_id="1")), "", 0, id="another cluster"),
        pytest.param(round_(primary("pg2", 1)), "", 0, id="a primary received nothing"),
    ],
)
def test_who_has_received_most(seen: Round, holder: str, position: int) -> None:
    assert furthest("pg1", replace(WAS_PRIMARY, redo=0x3000000), seen) == (holder, position)


def started(scripts: Mapping[str, list[dict[str, Any]]], local: Local = WAS_PRIMARY) -> Any:
    """start._decide() with nodes that answer one row for each time they are asked."""
    left = {name: list(rows) for name, rows in scripts.items()}

    def open_(name: str) -> Any:
        if not left.get(name):
            raise Unreachable(f"connect to {name}: no route to host")
        return ScriptedServer(name, [("AS in_recovery", [left[name].pop(0)])])

    return start._decide(THREE, "pg1", local, Links(open_, lambda: None))[0]


def test_it_asks_again_while_the_answer_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are starting too."""
    looks = iter([[], [], [row(has_upstream=True, pointed_at="pg1")]])

    def open_(name: str) -> Any:
        rows = next(looks, []) if name == "pg2" else []
        if not rows:
            raise Unreachable("connect: refused")
        return ScriptedServer(name, [("AS in_recovery", rows)])

    monkeypatch.setattr(start, "PATIENCE", 20.0)
    began = time.monotonic()
    decision, _round = start._decide(THREE, "pg1", WAS_PRIMARY, Links(open_, lambda: None))
    assert not decision.as_standby
    assert time.monotonic() - began < 15


def test_its_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "PATIENCE", 0.1)
    assert started({}).provisional


def test_a_standby_asks_nobody() -> None:
    assert not started({}, replace(WAS_PRIMARY, standby=True)).as_standby


CONTROL = f"""Database system identifier:           {SYSTEM}
Latest checkpoint's TimeLineID:       1
Latest checkpoint's REDO location:    0/4000028
"""
RECEIVED = row(has_upstream=True, pointed_at="pg1", receive_lsn="0/5000100", replay_lsn="0/5000100")
BROKEN = (1, "", "pg_waldump: error: error in WAL record at 0/4000100: invalid magic number 3A24\n")


def begun(read: tuple[int, str, str]) -> tuple[Any, list[str]]:
    """start.decide() for a primary that crashed, whose standbys have its WAL to 0/5000100, and what it asked pg_waldump."""
    runner = ScriptedRunner([("pg_controldata", CONTROL), ("pg_waldump", read)])

    def open_(name: str) -> Any:
        return ScriptedServer(name, [("AS in_recovery", [RECEIVED])])

    decision = start.decide(THREE, "pg1", 17, Links(open_, lambda: None), runner)
    return decision, [" ".join(call.argv) for call in runner.calls[1:]]


def test_it_starts_when_its_wal_is_whole() -> None:
    decision, asked = begun((0, "", ""))
    assert not decision.as_standby
    assert "--start 0/4000028 --end 0/5000100" in asked[0]
    assert "--timeline 1 " in asked[0]


def test_a_primary_that_has_lost_wal_starts_as_a_standby() -> None:
    """F29: recovery would end early without a word, and the standbys would confirm what they do not have."""
    decision, _asked = begun(BROKEN)
    assert decision.as_standby
    assert decision.why == (
        "pg2 has received its WAL up to 0/5000100, and here it ends before: error in WAL record at 0/4000100: invalid "
        "magic number 3A24"
    )


def test_its_answer_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "data_directory", lambda _cluster, _version: str(tmp_path))
    decision = started({"pg2": [row(in_recovery=False, timeline=2)]})
    start.prepare(THREE, "pg1", 15, decision)
    assert (tmp_path / "standby.signal").exists()
    text = (tmp_path / "postgresql.auto.conf").read_text()
    # Its WAL has not been compared with pg2's yet.
    assert "primary_conninfo = ''" in text
    assert "primary_slot_name = 'repmgr_slot_1'" in text
