# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a node may do about its data: start them as they are or as a standby, make the cluster's first ones, have them cloned, or
nothing. Pure, and the one decision about that: before each start, for the playbooks, and wherever else it is asked.

A standby may always start. What was a primary starts writable only when enough others say that none of them can have
been promoted meanwhile, and when its WAL reaches as far as they have received it; otherwise it starts as a standby, and
the agents find out who is to be primary. A new cluster is made by one node alone, where nobody holds data or may hold some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..data.datadir import BROKEN, CLUSTER, NONE, OTHER, Local
from ..model import Cluster, lsn_to_int
from ..observe.identity import unfit
from ..observe.node_state import NodeState, Survey
from ..observe.primary import acknowledging
from ..quorum import acknowledgers, could_promote, seals_needed, voters
from .evidence import NOTHING, PATH, Evidence
from .first import broken, empty, fresh, strange
from .verdict import INITIALIZE, STANDBY, START, WAIT, StartVerdict, refuse


def words(me: str, data: str) -> tuple[str, ...]:
    """The options by which the guard is called on the node *me*, whose data are in *data*."""
    return ("--host", me, "--data", data)


def sentence(me: str, decision: StartVerdict) -> str:
    """What the guard says of it."""
    return f"guard: {me} starts {'as a standby' if decision.as_standby else 'as it is'}: {decision.why}"


def decide(cluster: Cluster, me: str, local: Local, survey: Survey, evidence: Evidence = NOTHING) -> StartVerdict:
    """What *me* may do about its data *local*, given what servers say, its own among them where that runs, and what is known
    besides."""
    others = {
        name: state for name, state in survey.states.items() if name != me and cluster.node(name).kind == "postgres"
    }
    if local.data == OTHER:
        return strange(me)
    if cluster.node(me).kind == "witness" and local.data in (NONE, CLUSTER):
        return StartVerdict(INITIALIZE if local.data == NONE else START, f"{me} is a witness")
    if local.data == BROKEN:
        primaries = [state.system_id for state in others.values() if not state.in_recovery]
        return broken(me, local, [state.system_id for state in others.values()], primaries)
    if local.data == NONE:
        return empty(cluster, me, others, evidence)
    if evidence.elsewhere:
        return _elsewhere(me, evidence.elsewhere)
    mine = survey.states.get(me)
    if mine and not mine.in_recovery:
        return _running(cluster, me, mine, others, evidence)
    found = _beside(me, local, others) if evidence.by_playbook and not local.standby else None
    found = found or _same_cluster(me, local, others)
    found = found or (
        _restored(me, local, others) if evidence.restored else _by_itself(cluster, me, local, others, evidence)
    )
    return found or _was_primary(cluster, me, local, survey, others, evidence)


def _was_primary(
    cluster: Cluster,
    me: str,
    local: Local,
    survey: Survey,
    others: Mapping[str, NodeState],
    evidence: Evidence,
) -> StartVerdict:
    """Data that say nothing of themselves: it takes the others."""
    same = {name: state for name, state in others.items() if state.system_id == local.system_id}
    # One that was left behind on an older timeline is nobody to follow. One that acknowledges was not: me was promoted beside it.
    sure = acknowledging(cluster, survey.without(me))
    primaries = [
        name
        for name, state in same.items()
        if not state.in_recovery and (state.timeline >= local.timeline or name in sure)
    ]
    if primaries:
        newest = max(primaries, key=lambda name: (name in sure, same[name].timeline))
        return StartVerdict(STANDBY, f"{newest} is primary (timeline {same[newest].timeline})")
    stopped = {
        name: item
        for name, item in evidence.stopped.items()
        if name not in survey.states and item.system_id == local.system_id
    }
    known = {
        **{name: item.timeline for name, item in stopped.items()},
        **{name: state.timeline for name, state in same.items()},
    }
    ahead = [name for name, timeline in known.items() if timeline > local.timeline]
    if ahead and evidence.by_playbook:
        return _stays(me, local, f"{ahead[0]} has the newer timeline {known[ahead[0]]}: start that one.")
    if ahead:
        return StartVerdict(STANDBY, f"{ahead[0]} is on timeline {known[ahead[0]]}, {me} on {local.timeline}")
    if evidence.empty and not same and {node.name for node in cluster.data_nodes} - {me} <= set(evidence.empty):
        return StartVerdict(START, "no other node holds data")
    followers = [name for name, item in stopped.items() if item.standby and cluster.node_at(item.follows) == me]
    return (evidence.by_playbook and _unasked(cluster, me, local, others, evidence)) or _alone(
        cluster, me, same, survey, followers
    )


def _by_itself(
    cluster: Cluster, me: str, local: Local, others: Mapping[str, NodeState], evidence: Evidence
) -> StartVerdict | None:
    """About data that say so themselves; None where it takes the others."""
    if local.restoring and not local.standby:
        return refuse(
            f"Start {me}",
            "data of a running cluster",
            "a restored backup (recovery.signal), whose recovery would end by itself",
            f"If it is to be the primary, say so: touch {PATH}, then start it (docs/backup.md). Else name it in cluster_wipe.",
        )
    if local.standby:
        return StartVerdict(START, f"{me} is a standby")
    if local.recovering:
        return StartVerdict(STANDBY, f"{me}'s data are a standby's ({local.state}), and standby.signal is missing")
    return fresh(cluster, me, others, evidence) if local.fresh else None


def _elsewhere(me: str, seen: Sequence[str]) -> StartVerdict:
    """Whatever they are, they are not started a second time."""
    return StartVerdict(
        WAIT,
        f"a server with the data of {me} runs elsewhere and streams, as {', '.join(seen)} can see. Two servers on one directory, "
        f"or on a copy of it, lose rows. Find the pod, or the host, that still runs as {me}, and end it.",
    )


# What a run of the playbook leaves to people, and of a server that runs.


def _running(
    cluster: Cluster, me: str, mine: NodeState, others: Mapping[str, NodeState], evidence: Evidence
) -> StartVerdict:
    """A primary that runs goes on, where it is the cluster's; nothing is written to another."""
    held = {**{name: item.system_id for name, item in evidence.stopped.items() if item.system_id}}
    held.update({name: state.system_id for name, state in others.items()})
    same = [name for name, system_id in held.items() if system_id == mine.system_id]
    for name in same:
        state = others.get(name)
        if state and not state.in_recovery and state.timeline > mine.timeline:
            return StartVerdict(
                WAIT,
                f"{me} runs as a primary (timeline {mine.timeline}), but {name} is primary now (timeline {state.timeline}).",
            )
    foreign = [node.name for node in cluster.data_nodes if node.name in held and node.name not in same]
    most = len(foreign) - len(same)
    if most > 1 or (most == 1 and me != cluster.first_primary.name):
        return StartVerdict(WAIT, f"{me} runs another cluster than {', '.join(foreign)}.")
    return StartVerdict(START, f"{me} runs")


def _beside(me: str, local: Local, others: Mapping[str, NodeState]) -> StartVerdict | None:
    """A run of the playbook puts no primary that was stopped beside another, whichever of the two is right."""
    for name, state in others.items():
        if not state.in_recovery:
            return _stays(me, local, f"{name} is primary now (timeline {state.timeline}).")
    return None


def _unasked(
    cluster: Cluster, me: str, local: Local, others: Mapping[str, NodeState], evidence: Evidence
) -> StartVerdict | None:
    """Nor does it start one that would be a standby for want of others who can say something, whom only people can bring back."""
    # Stopped with whole data of this cluster, it can be started and asked.
    stopped = [name for name, item in evidence.stopped.items() if item.system_id == local.system_id and item.timeline]
    without = [name for name in cluster.electable_names if name not in (me, *others, *stopped)]
    silent = [name for name in without if name in evidence.silent]
    rest = [name for name in without if name not in silent]
    # R is the same, whichever of the listed ones was primary.
    enough = seals_needed(cluster, cluster.electable_names[0])
    if len(without) < enough or set(without) <= set(evidence.empty) or not (silent or acknowledgers(cluster)):
        return None
    why = [f"{', '.join(silent)} cannot be asked whether one of them has been promoted"] if silent else []
    if rest and len(silent) < enough:
        why.append(f"{', '.join(rest)} has no data that could tell")
    cure = "Bring them back first."
    if not silent:
        cure = f"If it certainly was the last primary, say so: touch {PATH}, and start it by its unit (docs/safety.md)."
    return StartVerdict(WAIT, f"{me} was a primary and stays stopped, because {', and '.join(why)}. {cure}")


def _stays(me: str, local: Local, why: str) -> StartVerdict:
    return StartVerdict(WAIT, f"{me} was a primary (timeline {local.timeline}) and stays stopped, because {why}")


# What PostgreSQL writes of WAL before a record is whole ends at a page (XLogBackgroundFlush(), WalSndSendPhysical()).
PAGE = 8192


def furthest(me: str, local: Local, survey: Survey) -> tuple[str, int]:
    """Who of those that followed *me* on its timeline has received most of its WAL, and up to where *me* must have it too, in
    bytes; ('', 0) where that is nothing behind the last checkpoint.

    A standby receives nothing that its primary had not flushed. A primary whose WAL ends before that has lost it, to a disk
    that lied, a torn segment, an old copy of its data; on starting it would write other WAL in its place, and standbys would
    confirm what they do not have. What was received may end in the middle of a record at a page's end, and then counts up to
    the last record that was replayed.
    """
    said = [("", 0)]
    for name, state in survey.states.items():
        if name != me and state.in_recovery and (state.system_id, state.timeline) == (local.system_id, local.timeline):
            replayed = lsn_to_int(state.replay_lsn) if state.replay_lsn else 0
            said.append((name, state.position if state.position % PAGE else replayed))
    name, position = max(said, key=lambda item: item[1])
    return (name, position) if position > local.redo else ("", 0)


def _same_cluster(me: str, local: Local, others: Mapping[str, NodeState]) -> StartVerdict | None:
    foreign = [name for name, state in others.items() if state.system_id != local.system_id]
    if not foreign or 2 * len(foreign) <= len(others):
        return None
    return refuse(
        f"Start {me}",
        f"data of the cluster that {', '.join(foreign)} hold (system identifier {others[foreign[0]].system_id})",
        local.system_id,
        "If its data may go, name the host in cluster_wipe.",
    )


def _restored(me: str, local: Local, others: Mapping[str, NodeState]) -> StartVerdict:
    primaries = [name for name, state in others.items() if not state.in_recovery and state.system_id == local.system_id]
    if primaries:
        return refuse(
            f"Start {me} with a restored backup",
            "no other primary of the cluster",
            f"{', '.join(primaries)} is primary",
            "Stop the servers and agents of the other nodes first; see docs/backup.md.",
        )
    if local.standby:
        return refuse(
            f"Start {me} with a restored backup",
            "data without standby.signal",
            "a standby's",
            "If they are a restored backup that was started before, stop it, remove standby.signal, and say so again.",
        )
    return StartVerdict(START, f"{me}'s data are a restored backup, as a person says")


def _still_mine(cluster: Cluster, me: str, state: NodeState) -> bool:
    """Whether a node is known not to have helped another's promotion: one that is being sealed is about to, and one that
    was pointed at another has."""
    elsewhere = cluster.node_at(state.pointed_at) not in ("", me) and state.name in voters(cluster, me)
    return state.in_recovery and not state.sealed and not state.locked and not elsewhere


def _alone(
    cluster: Cluster, me: str, others: Mapping[str, NodeState], survey: Survey, followers: Sequence[str]
) -> StartVerdict:
    """Nobody who answers is primary or further: is anybody missing who could be? *followers* are stopped, and by their files
    standbys of *me*."""
    if me not in cluster.electable_names:
        return StartVerdict(START, f"{me} was promoted by hand, and nobody who answers is further")
    # Who came in another's place cannot say what that one has helped to promote.
    others_place = unfit(cluster, others)
    accounted = [name for name, state in others.items() if _still_mine(cluster, me, state) and name not in others_place]
    accounted += followers
    if not acknowledgers(cluster):
        accounted += [name for name in survey.states if name != me and cluster.node(name).kind == "witness"]
    behind_back = could_promote(cluster, me, accounted)
    if behind_back:
        return StartVerdict(
            STANDBY, f"nobody knows whether one of {', '.join(behind_back)} was promoted", provisional=True
        )
    said = ", ".join(sorted(set(accounted) & set(voters(cluster, me)))) or "nobody else"
    return StartVerdict(START, f"no other primary is possible: {said} can acknowledge commits, and knows none")
