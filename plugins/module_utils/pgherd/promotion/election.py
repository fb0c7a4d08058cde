# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether a node may be promoted, and which of the sealed ones is furthest. Pure.

repmgrd's own vote counts who is visible, and compares what was received only; this one counts configured nodes, and
compares the newest timeline and position that each sealed node holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..model import Cluster
from ..observe.identity import Confirmed, newcomers, unfit
from ..observe.node_state import NodeState, Survey
from ..quorum import acknowledgers, majority, seals_needed

# Seconds: who has reached the primary within these still sees it.
RECENT = 2
# Seconds that a server whose host is alive has to come back, and one that recovers from a crash: that is over sooner than
# a failover, and the next ones' recovery would take as long.
RESTART, RECOVERY = 5.0, 15.0
# What libpq says when a host is there and its server is not, or not yet (backend_startup.c has the server's own words).
COMES_BACK = {
    "Connection refused": RESTART,
    "shutting down": RESTART,
    "starting up": RECOVERY,
    "in recovery mode": RECOVERY,
    "not yet accepting": RECOVERY,
}


@dataclass(frozen=True)
class ElectionVerdict:
    """Whether to go on, in words; when so, whom to *seal* (the candidate is one of them), how many listed ones at least, and
    who of them does not count (*unfit*, see identity.py)."""

    allowed: bool
    why: str
    seal: tuple[str, ...] = ()
    needed: int = 0
    unfit: tuple[str, ...] = ()


@dataclass(frozen=True)
class Missed:
    """For how many *seconds* the primary has been missed, and *why*, in the words of those looks."""

    seconds: float = float("inf")
    why: str = ""


LONG_AGO = Missed()


@dataclass(frozen=True)
class Candidacy:
    """May *me* be promoted in the place of *primary* ('' where nobody knows who was)?

    *primary_answers*: what a fresh session on the primary said just now, '' when it could not be opened. *handover*:
    the primary is ``stopped`` or ``fenced`` on purpose, and *me* has all that it wrote; others may have seen it a moment ago.
    *accept_loss*: a person has said that rows which only missing nodes hold may go. *missed*: it makes a difference while
    the primary's host shows that it is coming back. *short*: which limits of *me* are too low for the WAL that it holds, ''
    while it replays that. *confirmed*: up to where standbys have confirmed WAL, as far as is known.
    """

    me: str
    primary: str
    survey: Survey
    primary_answers: str = ""
    handover: str = ""
    accept_loss: bool = False
    missed: Missed = LONG_AGO
    confirmed: Confirmed = field(default_factory=dict)
    short: str = ""


def decide(cluster: Cluster, candidacy: Candidacy) -> ElectionVerdict:
    """The verdict, with every number that it rests on in its words."""
    me, states = candidacy.me, candidacy.survey.states
    mine = states.get(me)
    refusal = _about_me(cluster, candidacy, mine) or _about_primary(cluster, candidacy)
    if refusal or mine is None:
        return ElectionVerdict(False, refusal or f"{me} does not answer itself")
    counted = candidacy.primary if candidacy.handover else last_followed(cluster, candidacy.primary, candidacy.survey)
    strangers = [name for name, state in states.items() if _data(cluster, name) and state.system_id != mine.system_id]
    seal = tuple(
        name
        for name in cluster.electable_names
        if name != counted and name in states and states[name].in_recovery and name not in strangers
    )
    if me not in seal:
        seal = (*seal, me)
    ours = {name: state for name, state in states.items() if name not in strangers}
    why = {name: words for name, words in unfit(cluster, ours, candidacy.confirmed).items() if name in seal}
    if me in why and not candidacy.accept_loss:
        return ElectionVerdict(False, f"{why[me]}: another has to be promoted")
    return _counted(cluster, candidacy, seal, counted, why)


def last_followed(cluster: Cluster, primary: str, survey: Survey) -> str:
    """Who was primary last, for the count: *primary*, unless a listed standby of the newest timeline is pointed at a node
    that is not listed. A person has promoted that one then, whatever the candidate's metadata say: they come with its WAL,
    and primary_conninfo does not. One that has an upstream itself is a link in a cascade."""
    listed = [state for name, state in survey.states.items() if name in cluster.electable_names and state.in_recovery]
    newest = max((state.timeline for state in listed), default=0)
    for state in listed:
        name = cluster.node_at(state.pointed_at)
        if state.timeline < newest or not name or name in cluster.electable_names or not _data(cluster, name):
            continue
        theirs = survey.states.get(name)
        if theirs is None or not theirs.in_recovery or not theirs.has_upstream:
            return name
    return primary


def _about_me(cluster: Cluster, candidacy: Candidacy, mine: NodeState | None) -> str:
    node = cluster.node(candidacy.me)
    if mine is None:
        return f"{candidacy.me} does not answer itself: {candidacy.survey.silent.get(candidacy.me, 'no reason known')}"
    if not mine.in_recovery:
        return f"{candidacy.me} is a primary already"
    if candidacy.short:
        return cannot_replay(candidacy.me, candidacy.short)
    if candidacy.accept_loss or candidacy.handover:
        return "" if node.kind == "postgres" else f"{candidacy.me} is a witness and holds no data"
    if candidacy.me not in cluster.electable_names:
        return f"{candidacy.me} is not electable (priority {node.priority}, location {node.location})"
    return ""


def cannot_replay(me: str, short: str) -> str:
    """That PostgreSQL will not leave recovery on *me*, and resuming would have it shut down."""
    return f"{me} cannot replay the WAL that it holds: {short}; the site playbook raises that"


def _about_primary(cluster: Cluster, candidacy: Candidacy) -> str:
    mine = candidacy.survey.states[candidacy.me]
    if candidacy.primary_answers and candidacy.handover != "fenced":
        return f"the primary {candidacy.primary} answers: {candidacy.primary_answers}"
    gone = candidacy.missed.seconds
    why = "; ".join(filter(None, (candidacy.survey.silent.get(candidacy.primary, ""), candidacy.missed.why)))
    limit = max((seconds for words, seconds in COMES_BACK.items() if words in why), default=0.0)
    if gone < limit and not candidacy.handover and not candidacy.accept_loss:
        return f"{candidacy.primary} may be restarting where it is: {why}, for {gone:.1f} s"
    for name, state in candidacy.survey.states.items():
        if not _data(cluster, name) or state.system_id != mine.system_id:
            continue
        if not state.in_recovery and (state.timeline >= mine.timeline or name != candidacy.primary):
            return f"{name} is primary (timeline {state.timeline})"
        if not candidacy.handover and name != candidacy.me and sees_primary(cluster, candidacy.survey, state):
            return f"{name} reached the primary {state.upstream_seen_age} s ago"
    return ""


def sees_primary(cluster: Cluster, survey: Survey, state: NodeState) -> bool:
    """Whether a standby's repmgrd has reached the upstream just now, which says of itself no other than that it is primary:
    in a cascade the upstream is a standby, and lives on without one. The WAL receiver is no evidence: a primary whose
    postmaster hangs keeps its senders."""
    reached = state.in_recovery and state.repmgrd and 0 <= state.upstream_seen_age <= RECENT and bool(state.upstream)
    upstream = survey.states.get(cluster.node_at(state.upstream))
    return reached and not (upstream and upstream.in_recovery)


def _counted(
    cluster: Cluster, candidacy: Candidacy, seal: tuple[str, ...], primary: str, unfit_: Mapping[str, str]
) -> ElectionVerdict:
    needed = seals_needed(cluster, primary)
    missing = ", ".join(f"{name} ({why})" for name, why in candidacy.survey.silent.items() if name != candidacy.primary)
    tail = "".join(f"; {words}" for words in unfit_.values()) + (f"; missing: {missing}" if missing else "")
    listed = [name for name in seal if name in cluster.electable_names and name not in unfit_]
    if candidacy.accept_loss:
        return ElectionVerdict(True, f"{len(listed)} of {needed} needed standbys answer, loss accepted{tail}", seal)
    if not acknowledgers(cluster):
        here, wanted = len(candidacy.survey.states), majority(cluster)
        said = f"{here} of {len(cluster.nodes)} nodes answer, {wanted} are needed (asynchronous){tail}"
        return ElectionVerdict(here >= wanted, said, seal)
    by_hand = f" after {primary}, which is not listed" if primary and primary not in cluster.electable_names else ""
    said = f"{len(listed)} listed standbys answer ({', '.join(listed)}), {needed} are needed{by_hand}{tail}"
    return ElectionVerdict(len(listed) >= needed, said, seal, needed, tuple(unfit_))


def furthest(cluster: Cluster, me: str, sealed: Mapping[str, NodeState]) -> str:
    """Who of the sealed nodes holds most; *me* when nobody holds more."""
    best = max(sealed, key=lambda name: (sealed[name].reached, name == me, cluster.node(name).priority))
    return me if sealed[best].reached == sealed[me].reached else best


def rank(cluster: Cluster, me: str, survey: Survey) -> int:
    """How many electable standbys that answer come before *me*: more WAL, then priority, then the lower ID."""

    def key(name: str) -> tuple[int, int, int, int]:
        node, state = cluster.node(name), survey.states[name]
        return (-state.timeline, -state.position, -node.priority, node.id)

    strange = newcomers(cluster, survey.states)
    standing = [
        name
        for name, state in survey.states.items()
        if name in cluster.electable_names and state.in_recovery and name not in strange
    ]
    return sorted(standing, key=key).index(me) if me in standing else len(standing)


def _data(cluster: Cluster, name: str) -> bool:
    return cluster.node(name).kind == "postgres"
