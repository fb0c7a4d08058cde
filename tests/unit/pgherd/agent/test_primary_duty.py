# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Of two primaries that meet when a cut ends, one yields, never both; one whose disk stands still lets itself be killed."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from here import here_of
from pgherd.agent import primary_duty
from pgherd.agent.primary_duty import PrimaryDuty
from pgherd.agent.work import Work
from pgherd.data.postmaster import HEAR, HEAR_ASKED
from pgherd.observe.tracker import Tracker
from pgherd.ports.links import Links
from pgherd.promotion import handover
from states import cluster, primary, standby, streaming, survey

THREE = cluster(3)


def old(second: int) -> Any:
    """The primary that was cut off; what its standbys said at *second* has arrived when the cut ends."""
    return primary("pg3", 1, senders=dict.fromkeys(("pg1", "pg2"), f"2031-01-01 00:00:{second:02}"))


def duty_of(me: str, links: Links) -> PrimaryDuty:
    """The primary's duty on *me*."""
    return PrimaryDuty(here_of(THREE, me, links), Tracker(THREE, me), Work(print))


def looks(me: str, *rounds: tuple[float, tuple[Any, ...]]) -> str:
    """What *me* does about itself after these looks, which are *rounds*."""
    duty = duty_of(me, Links(lambda name: pytest.fail(f"asked {name}"), lambda: None))
    tracker = duty._tracker
    action = ""
    for now, states in rounds:
        seen = survey(*states)
        tracker.look(now, seen)
        if not seen.states[me].in_recovery:
            action = duty.look(now, seen.states[me], seen).verdict.action
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
    assert looks("pg3", *cut, (8.0, meeting)) == "rival", what


def test_a_stray_yields_to_one_that_is_followed() -> None:
    followed = streaming("pg2", follows="pg3")
    beside = (primary("pg1", 2), followed, old(1))
    assert looks("pg1", (0.0, (standby("pg1", follows="pg3"), followed)), (1.0, beside)) == "rival"


def test_one_that_gives_way_to_two_that_are_alike_follows_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    """It came back below the first of them, a stray perhaps, and its WAL was rewound to that."""
    begun: list[str] = []
    duty = duty_of("pg1", Links(lambda name: pytest.fail(f"asked {name}"), lambda: None))
    monkeypatch.setattr(duty._work, "begin", lambda name, _run: begun.append(name))
    monkeypatch.setattr(duty._fencing, "want", lambda _what, _connected: False)
    cut = (primary("pg1"), primary("pg2", 2), primary("pg3", 2))
    for now in range(8):
        duty._tracker.look(float(now), survey(*cut))
        found = duty.look(float(now), cut[0], survey(*cut))
    assert (found.verdict.action, found.rival) == ("rival", "")
    duty.act(found)
    assert begun == ["demote"]


def dead(second: int, write_lsn: str = "0/5000000", waits: bool = True) -> Any:
    """A primary whose commits wait, and whose standbys answer."""
    senders = dict.fromkeys(("pg2", "pg3"), f"2031-01-01 00:00:{second:02}")
    return replace(primary("pg1", senders=senders), write_lsn=write_lsn, wal_waits=waits)


@pytest.mark.parametrize(
    ("what", "looked", "action"),
    [
        ("F26: no WAL is written", [dead(now) for now in range(12)], "disk"),
        ("not for long yet", [dead(now) for now in range(10)], ""),
        ("F27: some is", [dead(now, f"0/50000{now // 4}0") for now in range(40)], ""),
        ("nobody waits for it", [dead(now, waits=False) for now in range(40)], ""),
        ("somebody did for a moment", [dead(now, waits=now != 5) for now in range(12)], ""),
    ],
)
def test_a_disk_that_stands_still(what: str, looked: list[Any], action: str) -> None:
    assert looks("pg1", *[(float(now), (state,)) for now, state in enumerate(looked)]) == action, what


def test_a_host_that_thaws_has_not_waited_for_its_disk() -> None:
    """F05: what waited when it froze waits for a moment after it."""
    frozen = [(0.0, (dead(0),)), (1.0, (dead(1),)), (31.0, (dead(2),)), (31.5, (dead(3),))]
    assert looks("pg1", *frozen) == ""


@pytest.mark.parametrize(
    ("what", "heir", "hear"), [("a switchover", "pg1", HEAR_ASKED), ("it was left behind", "", HEAR)]
)
def test_a_postmaster_that_was_well_is_not_killed_for_being_slow(
    monkeypatch: pytest.MonkeyPatch, what: str, heir: str, hear: float
) -> None:
    """On a busy machine it took more than three seconds to begin its shutdown."""
    given: list[float] = []
    monkeypatch.setattr(primary_duty, "mark", lambda _text: None)
    monkeypatch.setattr(primary_duty, "unmark", lambda: None)
    monkeypatch.setattr(primary_duty.datadir, "make_standby", lambda *_: None)
    monkeypatch.setattr(primary_duty, "stop_postmaster", lambda _directory, _timeout, hear: given.append(hear) or True)
    duty = duty_of("pg3", Links(lambda name: pytest.fail(f"asked {name}"), lambda: None))
    service = SimpleNamespace(stop=lambda _unit, timeout: None, start=lambda _unit: None)
    duty._here = replace(duty._here, services=service)  # type: ignore[arg-type]
    duty._give(heir)
    assert given == [hear], what


def test_a_switchover_waits_for_longer_than_a_postmaster_is_given_to_hear() -> None:
    assert handover.STOP > HEAR_ASKED
