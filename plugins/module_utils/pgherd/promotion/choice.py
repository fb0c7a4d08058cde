# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether a switchover may be begun now, and to whom: what is looked at before anything is touched."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from ..errors import Unreachable
from ..model import Cluster
from ..observe.identity import unfit
from ..observe.node_state import Survey
from ..observe.open_sessions import OpenSessions
from ..observe.primary import chain, only_primary
from ..ports.links import Links
from ..programs.postgres import shortage
from ..quorum import acknowledgers, majority, seals_needed, voters

# Seconds that nodes have to answer.
PATIENCE = 5.0

CHECKS = """
SELECT (SELECT count(*)::int FROM pg_prepared_xacts) AS prepared,
       (SELECT count(*)::int FROM pg_stat_progress_basebackup) AS copies,
       (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity
         WHERE backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()) AS oldest,
       CASE WHEN current_setting('archive_mode') <> 'off' THEN
           (SELECT count(*)::int FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready') ELSE 0 END AS unarchived
"""


@dataclass(frozen=True)
class SwitchoverLimits:
    """What a planned switchover puts up with: bytes that the target may be behind, seconds that a transaction may have
    been running, WAL files that may wait to be archived."""

    lag: int = 16 * 1024 * 1024
    transaction: float = 60.0
    unarchived: int = 16


@dataclass(frozen=True)
class SwitchoverFacts:
    """What was found on the way to a switchover. The counts are of the primary; *paused* is of the target's replay."""

    survey: Survey
    primary: str
    prepared: int = 0
    copies: int = 0
    oldest: float = 0.0
    unarchived: int = 0
    paused: bool = False


def candidates(cluster: Cluster, survey: Survey, primary: str) -> list[str]:
    """Electable standbys that stream from *primary*, the best first: most WAL, then priority, then the lower ID."""
    strange = unfit(cluster, survey.states)
    standing = [
        name
        for name, state in survey.states.items()
        if name in cluster.electable_names
        and state.in_recovery
        and name not in strange
        and chain(cluster, survey, name) == primary
    ]

    def key(name: str) -> tuple[int, int, int]:
        return (-survey.states[name].position, -cluster.node(name).priority, cluster.node(name).id)

    return sorted(standing, key=key)


def problems(cluster: Cluster, to: str, found: SwitchoverFacts, limits: SwitchoverLimits) -> list[str]:
    """Why *to* should not take over now, in sentences with what to do; none when it may."""
    states, primary = found.survey.states, found.primary
    if to not in states:
        return [f"{to} does not answer: {found.survey.silent.get(to, 'no reason known')}."]
    said = []
    head = chain(cluster, found.survey, to)
    if to not in cluster.electable_names:
        said.append(f"{to} is not electable: its priority is 0, or it is elsewhere or below another standby by design.")
    strange = unfit(cluster, found.survey.states)
    if to in strange:
        said.append(f"{strange[to]}: wait until it is admitted; pgherd status says what it lacks.")
    if head != primary:
        said.append(f"{to} does not stream from {primary}.")
    behind = states[primary].position - states[to].position
    if behind > limits.lag:
        said.append(f"{to} is {behind} bytes behind, more than {limits.lag}: wait, or allow more.")
    said += _replays(to, found)
    if found.copies:
        said.append(f"A base backup is being taken from {primary} and would break off: wait for it.")
    if found.oldest > limits.transaction:
        said.append(f"A transaction on {primary} has been running for {found.oldest:.0f} s and would be lost.")
    if found.unarchived > limits.unarchived:
        said.append(
            f"{found.unarchived} WAL files wait to be archived on {primary}: see why its archive_command is slow."
        )
    return said + _no_room(cluster, to, found)


def _replays(to: str, found: SwitchoverFacts) -> list[str]:
    """Whether *to* replays what it gets."""
    states = found.survey.states
    short = shortage(states[to].limits, states[found.primary].limits)
    if short:
        return [f"{to} cannot replay what {found.primary} writes: {short}. Run the site playbook."]
    return [f"Replay is paused on {to}: SELECT pg_wal_replay_resume() there."] if found.paused else []


def _no_room(cluster: Cluster, to: str, found: SwitchoverFacts) -> list[str]:
    """Whether a promotion can seal enough, and whether commits could be acknowledged after it: the old primary counts for
    the latter, since it comes back."""
    short = too_few(cluster, found.survey, found.primary)
    if short:
        return [short]
    needed = acknowledgers(cluster)
    left = [name for name in cluster.electable_names if name != to and name in found.survey.states]
    if len(left) >= needed:
        return []
    return [f"Only {len(left)} of {needed} standbys that must confirm commits would be left: bring another one back."]


def _standing(cluster: Cluster, survey: Survey, primary: str) -> int:
    """How many of the listed standbys of *primary* answer."""
    states, strange = survey.states, unfit(cluster, survey.states)
    standing = [name for name in voters(cluster, primary) if name in states and states[name].in_recovery]
    return len([name for name in standing if name not in strange])


def counts_itself(cluster: Cluster, survey: Survey, primary: str) -> bool:
    """Whether those that answer besides *primary* are too few to promote its successor, so that it has to answer as a standby
    first, and is sealed and counted like one. It can be: it then has all its commits and can acknowledge none."""
    here, needed, _what = _counted(cluster, survey, primary)
    return here < needed


def too_few(cluster: Cluster, survey: Survey, primary: str) -> str:
    """Why a successor of *primary* could not be promoted even when that has come back as a standby; '' when one can."""
    here, needed, what = _counted(cluster, survey, primary)
    if acknowledgers(cluster):
        # One that is not listed is not counted.
        back = primary in cluster.electable_names and here + 1 >= seals_needed(cluster, "")
    else:
        back = here + 1 >= needed
    if here >= needed or back:
        return ""
    return f"Only {here} of {needed} {what} answer: bring another one back."


def _counted(cluster: Cluster, survey: Survey, primary: str) -> tuple[int, int, str]:
    """How many of those that a successor's promotion counts answer besides *primary*, how many it needs (see
    election.decide()), and what they are."""
    if acknowledgers(cluster):
        needed = seals_needed(cluster, primary)
        return _standing(cluster, survey, primary), needed, "standbys that a promotion must seal"
    return len(survey.without(primary).states), majority(cluster), "nodes that a promotion must see"


def look(cluster: Cluster, links: Links, to: str = "") -> tuple[SwitchoverFacts, str]:
    """Ask all nodes; what was found, and the target: *to*, or the best one where that is ''. Raises Conflict without
    exactly one primary, Unreachable without a candidate."""
    # Sessions may take as long as is waited for them.
    with closing(OpenSessions([node.name for node in cluster.nodes], links.patient().patient())) as sessions:
        sessions.wait([node.name for node in cluster.nodes], PATIENCE)
        survey = sessions.survey()
        primary = only_primary(cluster, survey, "switch over")
        best = candidates(cluster, survey, primary)
        target = to or (best[0] if best else "")
        if not target:
            raise Unreachable(f"switch over: no electable standby streams from {primary}.", "See: pgherd status")
        checks = sessions.servers[primary].rows(CHECKS)[0]
        paused = False
        if target in sessions.servers and survey.states[target].in_recovery:
            rows = sessions.servers[target].rows("SELECT pg_get_wal_replay_pause_state() <> 'not paused' AS paused")
            paused = bool(rows[0]["paused"])
    return SwitchoverFacts(survey, primary, paused=paused, **checks), target
