# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A node leaves the cluster: what the cluster is without it, what speaks against that, and the steps. Pure.

Order is what keeps the count (quorum.py) true; way() has it, as stages of the kind that counting.py knows. First
synchronous_standby_names lose the node, and the standbys that are left are seen to hold all that was acknowledged until
then. Only after that the agents are told of the smaller cluster, where fewer have to be sealed. Who comes to be listed by
it is named last, when every agent counts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ConfigError, Conflict
from ..inventory.check import cluster_problems, leaver_problems, tree_problems
from ..inventory.pods import split
from ..model import POD, Cluster, Node
from ..observe.node_state import Survey
from ..observe.primary import chain
from ..plan import Plan, Step
from ..programs.repmgr import Record
from ..quorum import acknowledgers
from .counting import Count, Stage, Transition

# leave: before the other hosts are told; forget: after that.
STAGES = ("leave", "forget")


@dataclass(frozen=True)
class RemovalFacts:
    """What was found. *names* are in the primary's synchronous_standby_names now, and *needed* is how many of them it asks
    for (0 where that is not known); *records* are its repmgr.nodes; *reached* are the nodes whose hosts this run can
    configure."""

    survey: Survey
    primary: str
    names: tuple[str, ...]
    records: tuple[Record, ...]
    reached: tuple[str, ...]
    needed: int = 0


def known(cluster: Cluster, name: str) -> Node:
    """The node called *name*. Raises ConfigError, with the name that was probably meant."""
    problems = leaver_problems(cluster, name)
    if problems:
        raise ConfigError(problems)
    return cluster.node(name)


def rest(cluster: Cluster, name: str, primary: str) -> Cluster:
    """The cluster without the node called *name*. Who was below it by design is below its upstream; where it was the first
    day's primary, *primary* takes that place."""
    gone = cluster.node(name)
    to = gone.upstream or primary

    def moved(node: Node) -> Node:
        if node.name == to and not gone.upstream:
            return replace(node, upstream="")
        return replace(node, upstream=to) if node.upstream == name else node

    return replace(cluster, nodes=tuple(moved(node) for node in cluster.nodes if node.name != name))


def gained(cluster: Cluster, smaller: Cluster) -> tuple[str, ...]:
    """Nodes that are electable in the *smaller* cluster and were not before: they are directly below the first one now."""
    before = {node.name for node in cluster.electable}
    return tuple(node.name for node in smaller.electable if node.name not in before)


def way(cluster: Cluster, smaller: Cluster) -> Transition:
    """By whom agents count and whom PostgreSQL names, from the *cluster* to the *smaller* one: the names lose who leaves, then
    agents go by the smaller cluster, then who is new is named. All nodes that stay are told of each stage; those that are
    not reached may be told later where nobody is new, as none of them is named or counted that was not before."""
    now, end = _count(cluster), _count(smaller)
    both = Count(_both(cluster, smaller), end.needed)
    stages = (Stage(now, both), Stage(end, both, held=True), Stage(end, end))
    return Transition(Stage(now, now), stages, tuple(node.name for node in smaller.nodes))


def _count(cluster: Cluster) -> Count:
    # Under async durability nobody waits for anybody.
    return Count(cluster.electable_names, acknowledgers(cluster) or 1)


def _both(cluster: Cluster, smaller: Cluster) -> tuple[str, ...]:
    """Those that are electable in both clusters: they may acknowledge commits until every agent is told."""
    new = gained(cluster, smaller)
    return tuple(name for name in smaller.electable_names if name not in new)


def models(cluster: Cluster, name: str, primary: str) -> dict[str, Any]:
    """The *cluster*, what it is without *name*, and the way() there, as plain data; and advice(). Raises Conflict where the
    *primary* is none of the nodes that stay."""
    known(cluster, name)
    others = [node.name for node in cluster.data_nodes if node.name != name]
    if primary not in others:
        raise Conflict(f"Remove {name}", f"a primary among {', '.join(others)}", repr(primary))
    smaller = rest(cluster, name, primary)
    return {
        "cluster": cluster.to_dict(),
        "rest": smaller.to_dict(),
        "way": way(cluster, smaller).to_dict(),
        "advice": advice(cluster, name, smaller),
    }


def advice(cluster: Cluster, name: str, smaller: Cluster) -> str:
    """What a person has to change in the inventory, in one line."""
    lines = [
        f"{node.name}: {f'upstream: {node.upstream}' if node.upstream else 'no upstream'}"
        for node in smaller.nodes
        if node.upstream != cluster.node(node.name).upstream
    ]
    also = f", and give others their new place ({'; '.join(lines)})" if lines else ""
    return (
        f"{name} has left cluster {cluster.name}. Take it out of the inventory{also}: the site playbook then changes "
        f"nothing, and with it in there it would join {name} again. Its data are left where they are."
    )


def problems(cluster: Cluster, name: str, found: RemovalFacts) -> list[str]:
    """Why *name* cannot leave now, in sentences with what to do; none when it can. *name* is known()."""
    gone, primary = cluster.node(name), found.primary
    if name == primary:
        return [f"{name} is the primary: hand over first, ansible-playbook pgherd.cluster.switchover."]
    if not gone.upstream and primary not in {node.name for node in cluster.electable}:
        return [
            f"{name} is the first day's primary, and {primary}, which is primary now, is not electable and cannot take its "
            "place: hand over to an electable node first."
        ]
    smaller = rest(cluster, name, primary)
    above = _above(cluster, gone)
    if above:
        return [f"{name} is a pod, and pods of a StatefulSet leave from the highest number down: remove {above} first."]
    said = tree_problems(smaller.nodes) or cluster_problems(smaller)
    if said:
        return [f"Without {name}: {sentence}" for sentence in said]
    if primary not in found.reached:
        said.append(f"The host of the primary {primary} is not reached, and it has to be told: bring it back first.")
    return said + _uncounted(cluster, smaller, found) + _unmovable(cluster, gone, found)


def _above(cluster: Cluster, gone: Node) -> str:
    """The pod with the highest number of its StatefulSet, where that is above the node's own; '' for none."""
    mine = split(gone.name) if gone.place == POD else None
    if mine is None:
        return ""
    found = [
        (numbered[1], node.name) for node in cluster.nodes if (numbered := split(node.name)) and numbered[0] == mine[0]
    ]
    highest = max(found)
    return highest[1] if highest[0] > mine[1] else ""


def _uncounted(cluster: Cluster, smaller: Cluster, found: RemovalFacts) -> list[str]:
    """Whether commits could be acknowledged at every moment, and nobody counts otherwise than the others."""
    needed, new = acknowledgers(cluster), gained(cluster, smaller)
    unnamed = [name for name in _both(cluster, smaller) if needed and name not in found.names]
    if unnamed:
        return [f"{', '.join(unnamed)} is electable and does not confirm commits yet: run the site playbook first."]
    if needed and found.needed not in (0, needed):
        return [f"Commits wait for {found.needed} standbys and not for {needed} yet: run the site playbook first."]
    said = []
    if needed:
        able = _able(cluster, smaller, found.primary)
        here = [one for one in able if one in found.survey.states[found.primary].senders]
        if len(here) < needed:
            missing = ", ".join(one for one in able if one not in here) or "there is no other"
            said.append(
                f"Only {len(here)} of {needed} standbys that must confirm commits would be left: bring another one back "
                f"({missing})."
            )
    if needed and len(new) > 1:
        said.append(
            f"{', '.join(new)} would become electable at once, and two promotions could miss each other: give all but one "
            "priority 0 first, and run the site playbook."
        )
    untold = [node.name for node in smaller.nodes if node.name not in found.reached]
    if needed and new and untold:
        said.append(
            f"{', '.join(new)} would become electable, and every host has to know that: {', '.join(untold)} is not reached."
        )
    return said


def _able(cluster: Cluster, smaller: Cluster, primary: str) -> tuple[str, ...]:
    """The standbys that may acknowledge commits of *primary* in both clusters."""
    return tuple(name for name in _both(cluster, smaller) if name != primary)


def _unmovable(cluster: Cluster, gone: Node, found: RemovalFacts) -> list[str]:
    """Those below it that cannot be asked to follow another."""
    below = [row.node_name for row in found.records if row.upstream_id == gone.id and row.type == "standby"]
    names = {node.name for node in cluster.data_nodes}
    return [
        f"{one} follows {gone.name} and does not answer, so it cannot be let follow another: bring it back, or remove it "
        "first."
        for one in below
        if one in names and one not in found.survey.states
    ]


def moves(cluster: Cluster, name: str, found: RemovalFacts) -> dict[str, str]:
    """By node that follows *name*, or is pointed at it, whom it is to follow: its upstream by design where that streams
    from the primary past both, else the primary."""
    smaller = rest(cluster, name, found.primary)
    moved = {}
    for one, state in found.survey.states.items():
        below = cluster.node_at(state.upstream if state.streaming else state.pointed_at) == name
        if one == name or not state.in_recovery or not below:
            continue
        designed = smaller.node(one).upstream
        beside = found.survey.without(name, one)
        good = bool(designed) and chain(cluster, beside, designed) == found.primary
        moved[one] = designed if good else found.primary
    return moved


def plan(cluster: Cluster, name: str, found: RemovalFacts, stages: Sequence[str] = STAGES) -> Plan:
    """The way of the node called *name* out of *cluster*, as far as *stages* go. Raises Conflict when it cannot leave."""
    gone = known(cluster, name)
    said = problems(cluster, name, found)
    if said:
        raise Conflict(f"Remove {name}", "a cluster that is safe without it", " ".join(said).rstrip("."))
    row = any(record.node_id == gone.id and record.node_name == name for record in found.records)
    holders = [one for one, state in found.survey.states.items() if one != name and gone.slot in state.slots]
    moved, steps = moves(cluster, name, found), []
    if "leave" in stages:
        steps += _confirm(cluster, gone, found) if row or moved or name in found.names else []
        for one, to in moved.items():
            step = Step("follow", f"let {one} follow {to} in the place of {name}", {"node": one, "upstream": to})
            steps.append(step)
    if "forget" in stages:
        if row:
            args = {"node": name, "primary": found.primary}
            steps.append(Step("unregister", f"unregister {name}", args))
        if holders:
            what = f"drop slot {gone.slot} on {', '.join(holders)}"
            steps.append(Step("drop_slot", what, {"slot": gone.slot, "reader": name, "nodes": tuple(holders)}))
    before = {"registered": row, "slot_on": holders, "followers": sorted(moved)}
    after = dict(before)
    if "leave" in stages:
        after["followers"] = []
    if "forget" in stages:
        after.update(registered=False, slot_on=[])
    return Plan(f"{name} in {cluster.name}", before, after, tuple(steps))


def _confirm(cluster: Cluster, gone: Node, found: RemovalFacts) -> list[Step]:
    needed = acknowledgers(cluster)
    if not needed or gone.name not in {node.name for node in cluster.electable}:
        return []
    able = _able(cluster, rest(cluster, gone.name, found.primary), found.primary)
    what = f"see {needed} of {', '.join(able)} hold all that {found.primary} has acknowledged, without {gone.name}"
    args = {"primary": found.primary, "leaving": gone.name, "able": able, "needed": needed}
    return [Step("confirm", what, args)]
