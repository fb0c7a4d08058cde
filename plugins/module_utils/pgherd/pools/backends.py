# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which of its backends a pgpool should use, from what all servers say. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import Conflict
from ..observe.primary import Finding
from ..observe.topology import Topology
from ..plan import Plan, Step
from ..programs.pgpool import NodeInfo
from ..render.backend_list import Backend, label


@dataclass(frozen=True)
class Streaks:
    """What one look cannot show. By node's name: *misses*, how often in a row it has not answered; *silent*, for how many
    seconds; *idle*, for how many seconds it has been a standby whose chain of streams does not end at the primary.
    *timeline*: the newest ever seen of this cluster."""

    misses: Mapping[str, int] = field(default_factory=dict)
    silent: Mapping[str, float] = field(default_factory=dict)
    idle: Mapping[str, float] = field(default_factory=dict)
    timeline: int = 0


@dataclass(frozen=True)
class BackendChange:
    """What to do with one backend, and what was seen that asks for it."""

    action: str
    number: int
    node: str
    why: str


# How often in a row a node must not answer, and for how many seconds a standby must not stream, to be taken out.
MISSES = 2
IDLE = 10.0
# For how many seconds a primary must not answer to be taken out though no other is in its place: long enough for a
# restart where it stands, short enough for reads, which pgpool does not serve while its primary is unreachable.
ALONE = 10.0


def decide(
    names: Mapping[int, str], table: Mapping[int, NodeInfo], truth: Topology, streaks: Streaks
) -> list[BackendChange]:
    """What to change in a pgpool whose backends are *table*, so that it uses exactly the nodes that serve.

    *names* are the cluster's data nodes by backend number; numbers of others are left alone. The rules, each of which
    gives its reason:

    - pgpool is told the primary when it takes another, or none, for it. That ends all its sessions, so that none hangs on
      the old one, and leaves the primary alone in use: the others come in again at the next looks. (A detached primary
      would be missed and replaced too, but its sessions end only if its number is the lowest: kill_failover_children()
      compares with a macro that no longer means it.)
    - Out goes a node that has not answered MISSES times in a row; a writable node that is not the primary, or is on an
      older timeline than was ever seen and cannot acknowledge commits, at once; a standby that has not streamed for IDLE
      seconds while there is a primary.
    - The one that pgpool takes for the primary stays until another is, or for ALONE seconds: without it pgpool takes no
      writes.
    - In comes the primary, and a standby whose chain of streams ends at the primary.
    - When no node answers at all, the fault is nearer than all of them: nothing changes.

    pgpool hangs where a server hangs that it still uses while it looks for a primary, so what goes goes before anything
    that makes it look.
    """
    here = {number: name for number, name in names.items() if number in table}
    if not any(_answers(truth, name) for name in names.values()):
        return []
    finding = truth.find_primary(streaks.timeline)
    head = finding.name
    taken = next((number for number, node in table.items() if node.role == "primary"), None)
    for number, name in here.items():
        # One that is detached and still has the role: pgpool is looking for another just now.
        if name == head and table[number].attached and (taken is None or table[taken].attached) and taken != number:
            found = "none" if taken is None else here.get(taken, table[taken].host)
            return [BackendChange("promote", number, name, f"it is the primary, and pgpool takes {found} for it")]
    changes = []
    for number, name in here.items():
        attached = table[number].attached
        reason = _out(table[number], name, truth, streaks, finding) if attached else _in(name, truth, head)
        if reason:
            changes.append(BackendChange("detach" if attached else "attach", number, name, reason))
    return sorted(changes, key=lambda change: _turn(change, table[change.number], head))


def _turn(change: BackendChange, seen: NodeInfo, primary: str) -> int:
    if change.action == "attach":
        return 2 if change.node == primary else 3
    return 1 if seen.role == "primary" else 0


def searches(change: BackendChange, seen: NodeInfo, primary: str) -> bool:
    """Whether pgpool looks for a primary because of this change, and so may find it without being told."""
    return change.node == primary or (change.action == "detach" and seen.role == "primary")


def _out(seen: NodeInfo, name: str, truth: Topology, streaks: Streaks, found: Finding) -> str:
    node, primary = truth.node(name), found.name
    postgres = node.postgres if node else None
    mistaken = seen.role == "primary" and primary not in ("", name)
    if postgres is None:
        misses, silent = streaks.misses.get(name, 0), streaks.silent.get(name, 0.0)
        if misses < MISSES or (seen.role == "primary" and silent < ALONE and not mistaken):
            return ""
        return f"it has not answered for {silent:.1f} s: {node.why if node and node.why else 'no reason known'}"
    if name in found.stale:
        return f"it is a stale primary: on timeline {postgres.timeline}, and there is {found.newest}"
    if not postgres.in_recovery:
        return f"it is writable, and {primary} is the primary" if primary and name != primary else ""
    if mistaken:
        return f"pgpool takes it for the primary, which is {primary}"
    idle = 0.0 if not primary or name in truth.streaming_standbys() else streaks.idle.get(name, 0.0)
    return f"it has not streamed from {primary} for {idle:.0f} s" if idle >= IDLE else ""


def _in(name: str, truth: Topology, primary: str) -> str:
    if name == primary:
        return "it is the primary"
    return f"it streams from {truth.upstream(name)}" if primary and name in truth.streaming_standbys() else ""


def _answers(truth: Topology, name: str) -> bool:
    node = truth.node(name)
    return node is not None and node.postgres is not None


def foresee(table: Mapping[int, NodeInfo], changes: Sequence[BackendChange]) -> dict[int, NodeInfo]:
    """The table as pgpool will have it after *changes*: a promotion leaves nothing else attached."""
    after = dict(table)
    for change in changes:
        if change.action == "promote":
            after = {number: replace(node, status="down", role="standby") for number, node in after.items()}
            after[change.number] = replace(after[change.number], status="up", role="primary")
        else:
            status = "up" if change.action == "attach" else "down"
            after[change.number] = replace(after[change.number], status=status)
    return after


def serves(name: str, truth: Topology) -> bool:
    """Whether a pgpool that starts now should use the node: as decide() lets it in, or, while there is no primary, any
    standby that answers, for reads."""
    primary = truth.live_primary()
    if primary:
        return bool(_in(name, truth, primary.name))
    node = truth.node(name)
    return node is not None and node.postgres is not None and node.postgres.in_recovery


def plan(pgpool: str, table: Mapping[int, NodeInfo], changes: Sequence[BackendChange]) -> Plan:
    """The changes as a Plan for an executor with ``attach``, ``detach`` and ``promote`` (pgpool.Pcp)."""
    before = {label(change.number, change.node): table[change.number].status for change in changes}
    words = {"attach": "attached", "detach": "detached", "promote": "attached, primary"}
    after = {label(change.number, change.node): words[change.action] for change in changes}
    steps = [
        Step(
            change.action,
            f"{change.action} {label(change.number, change.node)}: {change.why}",
            {"number": change.number},
        )
        for change in changes
    ]
    return Plan(f"backends of {pgpool}", before, after, tuple(steps))


def has_enough_backends(table: Mapping[int, NodeInfo], minimum: int = 1) -> bool:
    """Whether pgpool uses at least *minimum* backends."""
    return sum(node.attached for node in table.values()) >= minimum


def has_write_node(table: Mapping[int, NodeInfo]) -> bool:
    """Whether pgpool has a primary and uses it: a detached one keeps its role until another is found."""
    return any(node.attached and node.role == "primary" for node in table.values())


def demand(
    state: str, wanted: Sequence[Backend], names: Mapping[int, str], table: Mapping[int, NodeInfo], truth: Topology
) -> list[BackendChange]:
    """What makes each of the *wanted* backends ``attached`` or ``detached``, as asked and not as observed.

    Raises Conflict for one that should be attached and does not serve.
    """
    primary = truth.live_primary()
    changes = []
    for item in wanted:
        seen, name = table.get(item.number), names[item.number]
        used = seen is not None and seen.attached
        if state == "detached" and used:
            changes.append(BackendChange("detach", item.number, name, "it is asked for"))
        elif state == "attached" and not used:
            why = _in(name, truth, primary.name if primary else "")
            if not why:
                node = truth.node(name)
                found = node.why if node and node.postgres is None else "it neither is the primary nor streams from it"
                raise Conflict(
                    f"attach {label(item.number, name)}",
                    "the primary or a standby that streams from it",
                    found or "no answer",
                    "Mend the server first: a backend that does not stream would serve old rows.",
                )
            changes.append(BackendChange("attach", item.number, name, why))
    return changes
