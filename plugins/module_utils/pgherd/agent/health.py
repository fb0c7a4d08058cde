# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the health endpoints answer, for load balancers and probes. Pure: from what was seen, at the time it is asked.

What is not known is no: 503, with the reason. So a host whose agent has seen nothing lately gets no traffic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..duties.fence import DEMOTIONS
from ..errors import ConfigError
from ..model import Cluster
from ..observe.node_state import NodeState
from ..observe.primary import enough
from ..observe.topology import Lag, Topology
from ..quorum import acknowledgers
from ..render.backend_list import number_of
from . import seen as limits
from .part import STUCK
from .reads import against
from .seen import AgentView, NodeSeen
from .standing import head_of

# As PostgreSQL writes sizes.
_UNITS = {"": 1, "B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


@dataclass(frozen=True)
class Health:
    """An answer: *ok* and why, and in *more* what that rests on. *known*: whether that is knowledge, or for want of it."""

    ok: bool
    why: str
    more: Mapping[str, Any] = field(default_factory=dict)
    known: bool = True


def primary(cluster: Cluster, seen: AgentView) -> Health:
    """Whether this host is the primary that may acknowledge writes: the real one, neither fenced nor about to be."""
    unknown = _about_node(cluster, seen)
    if unknown:
        return unknown
    look, mine = seen.node, _mine(seen)
    if look is None or mine is None:
        return _silent(seen)
    if mine.in_recovery:
        head = look.primary or "nobody that is seen"
        return Health(False, f"{seen.host} is a standby; the primary is {head}", {"primary": look.primary})
    standbys = f"{len(look.backed)} of {acknowledgers(cluster)} needed standbys stream"
    more = {"timeline": mine.timeline, "standbys": list(look.backed), "needed": acknowledgers(cluster)}
    if mine.read_only:
        return Health(False, f"{seen.host} is fenced: it refuses writes; {standbys}", more)
    if look.verdict.action in ("fence", *DEMOTIONS):
        what = "refuse writes" if look.verdict.action == "fence" else "be demoted"
        return Health(False, f"{seen.host} must {what}: {look.verdict.why}", more)
    if look.primary != seen.host:
        return Health(False, f"{look.primary or 'nobody'} is the real primary, not {seen.host}", more)
    good = enough(cluster, look.backed, len(look.survey.states))
    doubt = "" if good else f"; {standbys}, writes wait or are refused soon"
    return Health(True, f"{seen.host} is the primary on timeline {mine.timeline}{doubt}", more)


def replica(cluster: Cluster, seen: AgentView, most: Lag) -> Health:
    """Whether this host is a standby to be read from: one whose chain of streams ends at the primary, at *most* so far behind it;
    or while there is no primary, or it has just become that, one that followed the last (reads.py)."""
    unknown = _about_node(cluster, seen)
    if unknown:
        return unknown
    look, mine = seen.node, _mine(seen)
    if look is None or mine is None:
        return _silent(seen)
    if not mine.in_recovery:
        return Health(False, f"{seen.host} is not a standby")
    head = head_of(cluster, look.survey, seen.host)
    streams = bool(look.primary) and head == look.primary
    lag = {"lag_bytes": seen.lag.size, "lag_seconds": seen.lag.seconds}
    more = {"primary": look.primary, "streams": streams, **lag}
    why = f"{seen.host} streams from {look.primary}" if streams else _apart(cluster, look, head)
    left = "" if streams else against(cluster, look)
    if left:
        return Health(False, f"{why}: {left}", more)
    late = _late("bytes", seen.lag.size, most.size) or _late("s", seen.lag.seconds, most.seconds)
    if late:
        return Health(False, late.why, more, late.known)
    return Health(True, why if streams else f"{why}; {seen.host} serves what it has", more)


def _apart(cluster: Cluster, look: NodeSeen, head: str) -> str:
    """How it is that a standby does not stream from the primary."""
    if not look.primary:
        return "no primary is seen"
    if look.mine and look.mine.sealed:
        return f"{look.me} is sealed: it follows nobody, and {look.primary} is primary"
    found = f"ends at {head}" if head else "is broken"
    return f"its chain of streams {found}, and {look.primary} is primary"


def _late(unit: str, found: float | None, most: float | None) -> Health | None:
    if most is None:
        return None
    if found is None:
        return Health(False, f"its lag in {unit} is not known yet", {}, False)
    return Health(False, f"it is {found:.15g} {unit} behind, {most:.15g} are allowed") if found > most else None


def health(cluster: Cluster, seen: AgentView) -> Health:
    """Whether this host's main program answers, whatever its role is just now."""
    if seen.kind == "pgpool":
        return _pgpool(seen) or Health(True, "pgpool answers")
    if seen.kind == "barman":
        return _barman(seen) or Health(True, "Barman answers")
    if _stale(seen.now, seen.node.at if seen.node else None, limits.NODE):
        return _old(seen.now, seen.node.at if seen.node else None)
    words = seen.node.words if seen.node else ""
    return Health(True, "PostgreSQL answers", {"words": words}) if _mine(seen) else _silent(seen)


def ready(cluster: Cluster, seen: AgentView) -> Health:
    """Whether this host does what it is for: the primary takes writes, a standby is to be read from, a witness votes, a
    pgpool has the primary attached, a Barman host receives WAL."""
    if seen.kind == "pgpool":
        return _pgpool(seen) or _serves(cluster, seen)
    if seen.kind == "barman":
        receives = bool(seen.barman and seen.barman.receiving)
        said = "WAL is received" if receives else "WAL is not received"
        return _barman(seen) or Health(
            receives, said, {"receiving_wal": seen.barman.receiving_wal if seen.barman else ""}
        )
    mine = _mine(seen)
    if seen.kind == "witness":
        here = health(cluster, seen)
        if not here.ok or mine is None:
            return here
        return Health(mine.repmgrd, "repmgrd runs and votes" if mine.repmgrd else "repmgrd does not run")
    return replica(cluster, seen, Lag()) if mine and mine.in_recovery else primary(cluster, seen)


def live(cluster: Cluster, seen: AgentView) -> Health:
    """Whether the agent works: each of its parts has begun a tick lately. A clone or a recovery takes nothing from that."""
    late = {name: seen.now - begun for name, begun in seen.begun.items() if seen.now - begun > STUCK}
    if not late:
        return Health(True, "the agent looks, decides and acts")
    return Health(False, ", ".join(f"its part {name} has hung for {age:.0f} s" for name, age in sorted(late.items())))


def lag_limits(query: Mapping[str, str]) -> Lag:
    """The limits of ``lag=16MB`` (bytes without a unit) and ``seconds=5``. Raises ConfigError for anything else."""
    unknown = sorted(set(query) - {"lag", "seconds"})
    if unknown:
        raise ConfigError([f"There is no {unknown[0]} to ask for; it is lag (such as 16MB) and seconds (such as 5)."])
    size = re.fullmatch(r"(\d{1,15})\s*([kMGT]?B|)", query.get("lag", "0"))
    seconds = re.fullmatch(r"\d{1,9}(\.\d{1,9})?", query.get("seconds", "0"))
    if not size:
        raise ConfigError([f"lag is a size such as 16MB, not {query['lag']!r}."])
    if not seconds:
        raise ConfigError([f"seconds is a number such as 5, not {query['seconds']!r}."])
    return Lag(
        int(size.group(1)) * _UNITS[size.group(2)] if "lag" in query else None,
        float(seconds.group()) if "seconds" in query else None,
    )


def shown_primary(truth: Topology) -> str:
    """The primary that the nodes themselves show; '' for none."""
    found = truth.live_primary()
    return found.name if found else ""


def _about_node(cluster: Cluster, seen: AgentView) -> Health | None:
    """Why a question about a data node cannot be answered with yes here; None when it can be looked into."""
    if seen.kind != "postgres":
        return Health(False, f"{seen.host} is a {seen.kind} host and holds no data to ask for")
    at = seen.node.at if seen.node else None
    return _old(seen.now, at) if _stale(seen.now, at, limits.NODE) else None


def _mine(seen: AgentView) -> NodeState | None:
    return seen.node.mine if seen.node else None


def _silent(seen: AgentView) -> Health:
    words = seen.node.words if seen.node else ""
    return Health(
        False, f"PostgreSQL on {seen.host} does not answer" + (f": {words}" if words else ""), {"words": words}
    )


def _stale(now: float, at: float | None, limit: float) -> bool:
    return at is None or now - at > limit


def _old(now: float, at: float | None) -> Health:
    said = "nothing has been seen yet" if at is None else f"what was seen last is {now - at:.1f} s old"
    return Health(False, said, {}, False)


def _pgpool(seen: AgentView) -> Health | None:
    """Why pgpool does not answer, None when it does."""
    at = seen.pgpool.at if seen.pgpool else None
    if not seen.listens:
        return Health(False, "nothing listens on pgpool's port")
    if seen.pgpool is None or _stale(seen.now, at, limits.PGPOOL):
        return _old(seen.now, at)
    return Health(False, "pgpool does not answer") if seen.pgpool.why else None


def _serves(cluster: Cluster, seen: AgentView) -> Health:
    look = seen.pgpool
    if look is None:
        return _old(seen.now, None)
    taken = [node for node in look.table.values() if node.role == "primary" and node.attached]
    real = shown_primary(look.truth)
    attached = sum(node.attached for node in look.table.values())
    more = {"primary": real, "attached": attached, "backends": len(look.table)}
    if not real:
        return Health(False, "no primary is seen", more)
    if not any(node.number == number_of(cluster.node(real).id) for node in taken):
        return Health(False, f"pgpool has not attached the primary {real}", more)
    head = look.truth.live_primary()
    if head and head.postgres and head.postgres.read_only:
        return Health(False, f"the primary {real} is fenced: it refuses writes", more)
    return Health(True, f"pgpool serves, with the primary {real}", more)


def _barman(seen: AgentView) -> Health | None:
    """Why Barman does not answer, None when it does."""
    at = seen.barman.collected_at if seen.barman and seen.barman.version else None
    if seen.barman and "config" in seen.barman.unread:
        return Health(False, "Barman's configuration cannot be read")
    return _old(seen.clock, at) if _stale(seen.clock, at, limits.BARMAN) else None
