# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What looking again and again shows, and a single look cannot. Pure: time is given, nothing is asked.

Ages of others' messages are counted by this host's monotonic clock from when a value was seen to change: clocks of other
hosts may be an hour off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import Conflict
from ..model import Cluster
from .quorum import acknowledgers, majority, voters
from .voice import Round, Voice, node_at

# Seconds within which a standby's answer counts as fresh; standbys answer every second.
FRESH = 2.5
# Seconds for which it is remembered why a node did not answer.
HEARD = 3.0
# What a node finds of itself when its server does not answer, as a primary, and as a standby: see lasts().
OF_DOWN, OF_PRIMARY, OF_STANDBY = ("down",), ("alone", "together", "stalled"), ("sealed", "lost", "stuck", "leaderless")


@dataclass
class Memory:
    """Since when what is so, in monotonic seconds; '' and {} before the first look."""

    cluster: Cluster
    me: str
    _replies: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)
    _reasons: dict[str, tuple[tuple[float, str], ...]] = field(default_factory=dict)
    _voices: Mapping[str, Voice] = field(default_factory=dict)
    _looked: float = 0.0
    _before: float = 0.0
    #: The last primary that was seen, and when.
    primary: str = ""

    def look(self, now: float, round_: Round) -> None:
        """Take in one round."""
        # After a freeze nothing is fresh, not even what has changed: that may have come in before it and lain in a socket.
        looked, self._looked = self._looked, now
        self._before = looked
        thawed = bool(looked) and now - looked > FRESH
        self._voices = round_.voices
        for name, voice in round_.voices.items():
            for sender, reply in voice.senders.items():
                known = self._replies.get((name, sender))
                if known is None or known[0] != reply:
                    at = now - FRESH - 0.001 if thawed else now
                    self._replies[name, sender] = (reply, at)
        gone = [
            key for key in self._replies
            if key[0] not in round_.voices or key[1] not in round_.voices[key[0]].senders
        ]  # fmt: skip
        for key in gone:
            del self._replies[key]
        for name, why in round_.silent.items():
            before = (item for item in self._reasons.get(name, ()) if item[1] != why and now - item[0] <= HEARD)
            self._reasons[name] = (*before, (now, why))
        if thawed:
            # A longer one than the fence allows has it fence at once.
            self._since["alone"] = min(self._since.get("alone", now), looked)
            # What stood still stood still with this node.
            self._since.pop("stalled", None)
        mine = round_.voices.get(self.me)
        if mine:
            # What it found of itself as something else says nothing of the next time that it is that.
            for what in (*OF_DOWN, *(OF_PRIMARY if mine.in_recovery else OF_STANDBY)):
                self._since.pop(what, None)

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
        voice = self._voices.get(standby)
        if voice is None:
            return True
        return voice.in_recovery and not voice.sealed and node_at(self.cluster, voice.pointed_at) in (name, "")

    def lasts(self, what: str, now: float, holds: bool) -> float:
        """For how many seconds *what* has held without a break; 0.0 when it does not."""
        if not holds:
            self._since.pop(what, None)
            return 0.0
        # A look takes its time where hosts are silent: what is missed now has been so since the look before.
        begun = self._before if what == "alone" and self._before else now
        return now - self._since.setdefault(what, begun)


def primaries(cluster: Cluster, round_: Round, system_id: str) -> list[Voice]:
    """The data nodes of this cluster that run outside recovery."""
    return [
        voice
        for name, voice in round_.voices.items()
        if cluster.node(name).kind == "postgres" and not voice.in_recovery and system_id in ("", voice.system_id)
    ]


def only_primary(cluster: Cluster, round_: Round, attempted: str) -> str:
    """The node that runs outside recovery. Raises Conflict for what is *attempted* when there is not exactly one."""
    found = [voice.name for voice in primaries(cluster, round_, "")]
    if len(found) != 1:
        raise Conflict(attempted, "one primary", " and ".join(found) or "none that answers", "See: pgherd status")
    return found[0]


def real_primary(cluster: Cluster, memory: Memory, now: float, round_: Round, system_id: str) -> Voice | None:
    """The primary that counts: one with W standbys behind it before one without, then the newest timeline. None of them
    does when a listed standby has WAL of a newer timeline and W standbys are not behind any: following a left-behind
    primary would throw away what its successor has acknowledged."""
    needed = acknowledgers(cluster)
    newest = max(
        (
            voice.timeline
            for name, voice in round_.voices.items()
            if name in cluster.electable_names and voice.in_recovery and system_id in ("", voice.system_id)
        ),
        default=0,
    )

    def key(voice: Voice) -> tuple[bool, int, int]:
        backed = len(memory.backed(now, voice.name))
        return (bool(needed) and backed >= needed, voice.timeline, backed)

    best = max(primaries(cluster, round_, system_id), key=key, default=None)
    return best if best and (key(best)[0] or best.timeline >= newest) else None


def enough(cluster: Cluster, backed: Mapping[str, object] | tuple[str, ...], answering: int) -> bool:
    """Whether a primary may go on: W standbys behind it, or under async durability a majority of all nodes."""
    needed = acknowledgers(cluster)
    return len(backed) >= needed if needed else answering >= majority(cluster)


def chain(cluster: Cluster, round_: Round, name: str) -> str:
    """The node at the head of the streams that *name* follows; '' where the chain is broken or a circle."""
    names = {alias: node.name for node in cluster.nodes for alias in (node.name, node.address, node.ip) if alias}
    seen: set[str] = set()
    while name and name not in seen:
        seen.add(name)
        voice = round_.voices.get(name)
        if voice is None:
            return ""
        if not voice.in_recovery:
            return name
        name = names.get(voice.upstream, voice.upstream) if voice.streaming else ""
        if name and name not in names.values():
            return ""
    return ""
