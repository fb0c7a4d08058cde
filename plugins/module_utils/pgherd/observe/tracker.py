# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What looking again and again shows, and a single look cannot. Pure: time is given, nothing is asked.

Ages of others' messages are counted by this host's monotonic clock from when a value was seen to change: clocks of other
hosts may be an hour off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..model import Cluster, lsn_to_int
from ..quorum import acknowledgers, voters
from .node_state import NodeState, Survey

# Seconds within which a standby's answer counts as fresh; standbys answer every second.
FRESH = 2.5
# What PostgreSQL writes of WAL before a record is whole ends at a page, see guard.py.
PAGE = 8192
# Seconds for which it is remembered why a node did not answer.
HEARD = 3.0
# What a node finds of itself when its server does not answer, as a primary, and as a standby: see lasts().
OF_DOWN, OF_PRIMARY, OF_STANDBY = (
    ("down",),
    ("alone", "together", "stalled"),
    ("sealed", "off_primary", "no_stream", "off_design", "leaderless", "stray"),
)


@dataclass
class Tracker:
    """Since when what is so, in monotonic seconds; '' and {} before the first look."""

    cluster: Cluster
    me: str
    _replies: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)
    _reasons: dict[str, tuple[tuple[float, str], ...]] = field(default_factory=dict)
    _states: Mapping[str, NodeState] = field(default_factory=dict)
    #: Up to where each standby has confirmed WAL, as far as this node has seen it: timeline, bytes.
    confirmed: dict[str, tuple[int, int]] = field(default_factory=dict)
    _system_id: str = ""
    _looked: float = 0.0
    _before: float = 0.0
    # Whether it has begun to count anew since it was last well.
    _excused: bool = False
    #: The last primary that was seen, and when.
    primary: str = ""

    def look(self, now: float, survey: Survey) -> None:
        """Take in one survey."""
        # After a freeze nothing is fresh, not even what has changed: that may have come in before it and lain in a socket.
        looked, self._looked = self._looked, now
        self._before = looked
        thawed = bool(looked) and now - looked > FRESH
        self._states = survey.states
        mine = survey.states.get(self.me)
        if mine and mine.system_id != self._system_id:
            # Another cluster on the same hosts: what was confirmed to the one before says nothing of it.
            self._system_id = mine.system_id
            self.confirmed.clear()
        self._confirm(primaries(self.cluster, survey, self._system_id))
        for name, state in survey.states.items():
            for sender, reply in state.senders.items():
                known = self._replies.get((name, sender))
                if known is None or known[0] != reply:
                    at = now - FRESH - 0.001 if thawed else now
                    self._replies[name, sender] = (reply, at)
        gone = [
            key for key in self._replies
            if key[0] not in survey.states or key[1] not in survey.states[key[0]].senders
        ]  # fmt: skip
        for key in gone:
            del self._replies[key]
        for name, why in survey.silent.items():
            before = (item for item in self._reasons.get(name, ()) if item[1] != why and now - item[0] <= HEARD)
            self._reasons[name] = (*before, (now, why))
        if thawed:
            self._since["alone"] = self._alone_since(now, looked)
            # What stood still stood still with this node.
            self._since.pop("stalled", None)
        if mine:
            self._excused = self._excused and not mine.in_recovery
            # What it found of itself as something else says nothing of the next time that it is that.
            for what in (*OF_DOWN, *(OF_PRIMARY if mine.in_recovery else OF_STANDBY)):
                self._since.pop(what, None)

    def take_over(self, before: Tracker) -> None:
        """Know what the one *before* saw, by another description, that keeps data: what was confirmed and by which cluster, the
        primary, how old answers are, and since when this node is alone. What follows from anything else begins anew."""
        names = {node.name for node in self.cluster.nodes}
        self.confirmed = {name: at for name, at in before.confirmed.items() if name in names}
        self._system_id = before._system_id
        self.primary = before.primary if before.primary in names else ""
        self._replies = {key: seen for key, seen in before._replies.items() if names.issuperset(key)}
        self._looked, self._before, self._excused = before._looked, before._before, before._excused
        if "alone" in before._since:
            self._since["alone"] = before._since["alone"]

    def _alone_since(self, now: float, looked: float) -> float:
        """Since when it is alone, at the first look after this process stood still. What it has not looked at may have been well.
        So where W have to confirm, and nothing is acknowledged by one that is cut off, it counts from now; once, since one that
        is late at every look would never fence. Under async durability it counts from before, which has it fence at once."""
        if acknowledgers(self.cluster) and not self._excused:
            self._excused = True
            return now
        return min(self._since.get("alone", now), looked)

    def _confirm(self, among: list[NodeState]) -> None:
        """Remember what the standbys of the primaries *among* these have confirmed, and forget nothing: a slot goes back when its
        reader does. WAL that ends with a page may end in the middle of a record, which a restart does not read. A standby that
        does not say itself that it is on the primary's timeline still reads an older one from it, and a position there is none
        on the newer."""
        for state in among:
            for name, lsn in state.flushed.items():
                position, standby = lsn_to_int(lsn), self._states.get(name)
                if standby is None or (standby.timeline, standby.system_id) != (state.timeline, state.system_id):
                    continue
                if position % PAGE:
                    self.confirmed[name] = max(self.confirmed.get(name, (0, 0)), (state.timeline, position))

    def heard(self, now: float, name: str) -> str:
        """Why *name* did not answer, by each look that failed lately; '' for none. Any thread may ask: one look on a busy
        machine says only that it took too long."""
        return "; ".join(why for at, why in self._reasons.get(name, ()) if now - at <= HEARD)

    def backed(self, now: float, name: str) -> tuple[str, ...]:
        """The listed standbys that stream from *name* and have answered it lately, less those that say themselves that they
        do not follow it: when a cut ends, answers come in that were on their way for its whole length, also of nodes that
        have been sealed or promoted meanwhile."""
        listed = voters(self.cluster, name)
        return tuple(
            sender
            for (primary, sender), (_reply, at) in sorted(self._replies.items())
            if primary == name and sender in listed and now - at <= FRESH and self._may_follow(sender, name)
        )

    def _may_follow(self, standby: str, name: str) -> bool:
        state = self._states.get(standby)
        if state is None:
            return True
        return state.in_recovery and not state.sealed and self.cluster.node_at(state.pointed_at) in (name, "")

    def lasts(self, what: str, now: float, holds: bool) -> float:
        """For how many seconds *what* has held without a break; 0.0 when it does not."""
        if not holds:
            self._since.pop(what, None)
            if what == "alone":
                self._excused = False
            return 0.0
        # A look takes its time where hosts are silent: what is missed now has been so since the look before.
        begun = self._before if what == "alone" and self._before else now
        return now - self._since.setdefault(what, begun)


def primaries(cluster: Cluster, survey: Survey, system_id: str) -> list[NodeState]:
    """The data nodes of this cluster that run outside recovery."""
    return [
        state
        for name, state in survey.states.items()
        if cluster.node(name).kind == "postgres" and not state.in_recovery and system_id in ("", state.system_id)
    ]
