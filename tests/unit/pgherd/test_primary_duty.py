# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Of two primaries that meet when a cut ends, one yields, never both; one whose disk stands still lets itself be killed."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from pgherd.agent import primary_duty
from pgherd.agent.primary_duty import PrimaryDuty
from pgherd.agent.work import Here, Work
from pgherd.failover.links import Links
from pgherd.failover.memory import Memory
from voices import cluster, primary, round_, standby, streaming

THREE = cluster(3)


def old(second: int) -> Any:
    """The primary that was cut off; what its standbys said at *second* has arrived when the cut ends."""
    return primary("pg3", 1, senders=dict.fromkeys(("pg1", "pg2"), f"2031-01-01 00:00:{second:02}"))


def duty_of(me: str, links: Links) -> PrimaryDuty:
    """The primary's duty on *me*."""
    here = Here(THREE, THREE.node(me), 17, Memory(THREE, me), links, None, None, print)  # type: ignore[arg-type]
    return PrimaryDuty(here, Work(print))


def looks(me: str, *rounds: tuple[float, tuple[Any, ...]]) -> str:
    """What *me* does about itself after these looks, which are *rounds*."""
    duty = duty_of(me, Links(lambda name: pytest.fail(f"asked {name}"), lambda: None))
    memory = duty._here.memory
    action = ""
    for now, voices in rounds:
        seen = round_(*voices)
        memory.look(now, seen)
        if not seen.voices[me].in_recovery:
            action = duty.look(now, seen.voices[me], seen).verdict.action
    return action


@pytest.mark.parametrize(
    ("what", "third"),
    [
        ("the third is sealed", standby("pg2", follows="")),
        ("the third is pointed at the new one", standby("pg2", follows="pg1")),
        ("the third streams from it", streaming("pg2", timeline=2, follows="pg1")),
    ],
)
def test_late_answers_count_for_nobody(what: str, third: Any) -> None:
    """F13: each of them found the other to be the real one, and stopped."""
    before = (standby("pg1", follows=""), standby("pg2", follows=""))
    meeting = (primary("pg1", 2), third, old(5))
    assert looks("pg1", (0.0, before), (1.0, meeting)) == "", what
    cut = [(float(now), (old(0),)) for now in range(8)]
    assert looks("pg3", *cut, (8.0, meeting)) == "yield", what


def test_a_stray_yields_to_one_that_is_followed() -> None:
    followed = streaming("pg2", follows="pg3")
    beside = (primary("pg1", 2), followed, old(1))
    assert looks("pg1", (0.0, (standby("pg1", follows="pg3"), followed)), (1.0, beside)) == "yield"


def dead(second: int, write_lsn: str = "0/5000000", waits: bool = True) -> Any:
    """A primary whose commits wait, and whose standbys answer."""
    senders = dict.fromkeys(("pg2", "pg3"), f"2031-01-01 00:00:{second:02}")
    return replace(primary("pg1", senders=senders), write_lsn=write_lsn, wal_waits=waits)


@pytest.mark.parametrize(
    ("what", "looked", "action"),
    [
        ("F26: no WAL is written", [dead(now) for now in range(12)], "resign"),
        ("not for long yet", [dead(now) for now in range(10)], ""),
        ("F27: some is", [dead(now, f"0/50000{now // 4}0") for now in range(40)], ""),
        ("nobody waits for it", [dead(now, waits=False) for now in range(40)], ""),
        ("somebody did for a moment", [dead(now, waits=now != 5) for now in range(12)], ""),
    ],
)
def test_a_disk_that_stands_still(what: str, looked: list[Any], action: str) -> None:
    assert looks("pg1", *[(float(now), (voice,)) for now, voice in enumerate(looked)]) == action, what


def test_a_host_that_thaws_has_not_waited_for_its_disk() -> None:
    """F05: what waited when it froze waits for a moment after it."""
    frozen = [(0.0, (dead(0),)), (1.0, (dead(1),)), (31.0, (dead(2),)), (31.5, (dead(3),))]
    assert looks("pg1", *frozen) == ""


@pytest.mark.parametrize(("shut", "killed"), [(True, ["/var/lib/postgresql/17/main"]), (False, [])])
def test_a_fence_that_cannot_be_written_is_no_fence(
    monkeypatch: pytest.MonkeyPatch, shut: bool, killed: list[str]
) -> None:
    """No statement_timeout ends a write that a disk does not take."""
    over, found = threading.Event(), list[str]()
    server = SimpleNamespace(run=lambda _statement: over.wait(10), close=lambda: None)
    monkeypatch.setattr(primary_duty.fence, "STANDS", 0.1)
    monkeypatch.setattr(primary_duty, "kill_postmaster", found.append)
    duty = duty_of("pg1", Links(lambda _name: server, lambda: None))  # type: ignore[arg-type,return-value]
    duty._fence(shut)
    over.set()
    assert found == killed
