# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether a switchover may be begun now, and to whom: what is looked at before anything is touched."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from ..errors import Unreachable
from ..model import Cluster
from .links import Links, Meeting
from .memory import chain, only_primary
from .quorum import acknowledgers, seals_needed, voters
from .voice import Round

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
class Limits:
    """What a planned switchover puts up with: bytes that the target may be behind, seconds that a transaction may have
    been running, WAL files that may wait to be archived."""

    lag: int = 16 * 1024 * 1024
    transaction: float = 60.0
    unarchived: int = 16


@dataclass(frozen=True)
class Found:
    """What was found on the way to a switchover. The counts are of the primary; *paused* is of the target's replay."""

    round: Round
    primary: str
    prepared: int = 0
    copies: int = 0
    oldest: float = 0.0
    unarchived: int = 0
    paused: bool = False


def candidates(cluster: Cluster, round_: Round, primary: str) -> list[str]:
    """Electable standbys that stream from *primary*, the best first: most WAL, then priority, then the lower ID."""
    standing = [
        name
        for name, voice in round_.voices.items()
        if name in cluster.electable_names and voice.in_recovery and chain(cluster, round_, name) == primary
    ]

    def key(name: str) -> tuple[int, int, int]:
        return (-round_.voices[name].position, -cluster.node(name).priority, cluster.node(name).id)

    return sorted(standing, key=key)


def problems(cluster: Cluster, to: str, found: Found, limits: Limits) -> list[str]:
    """Why *to* should not take over now, in sentences with what to do; none when it may."""
    voices, primary = found.round.voices, found.primary
    if to not in voices:
        return [f"{to} does not answer: {found.round.silent.get(to, 'no reason known')}."]
    said = []
    head = chain(cluster, found.round, to)
    if to not in cluster.electable_names:
        said.append(f"{to} is not electable: its priority is 0, or it is elsewhere or below another standby by design.")
    if head != primary:
        said.append(f"{to} does not stream from {primary}.")
    behind = voices[primary].position - voices[to].position
    if behind > limits.lag:
        said.append(f"{to} is {behind} bytes behind, more than {limits.lag}: wait, or allow more.")
    if found.paused:
        said.append(f"Replay is paused on {to}: SELECT pg_wal_replay_resume() there.")
    if found.copies:
        said.append(f"A base backup is being taken from {primary} and would break off: wait for it.")
    if found.oldest > limits.transaction:
        said.append(f"A transaction on {primary} has been running for {found.oldest:.0f} s and would be lost.")
    if found.unarchived > limits.unarchived:
        said.append(
            f"{found.unarchived} WAL files wait to be archived on {primary}: see why its archive_command is slow."
        )
    return said + _no_room(cluster, to, found)


def _no_room(cluster: Cluster, to: str, found: Found) -> list[str]:
    """Whether a promotion can seal enough, and whether commits could be acknowledged after it: the old primary counts for
    the latter, since it comes back."""
    short = too_few(cluster, found.round, found.primary)
    if short:
        return [short]
    needed = acknowledgers(cluster)
    left = [name for name in cluster.electable_names if name != to and name in found.round.voices]
    if len(left) >= needed:
        return []
    return [f"Only {len(left)} of {needed} standbys that must confirm commits would be left: bring another one back."]


def _standing(cluster: Cluster, round_: Round, primary: str) -> int:
    """How many of the listed standbys of *primary* answer."""
    voices = round_.voices
    return len([name for name in voters(cluster, primary) if name in voices and voices[name].in_recovery])


def counts_itself(cluster: Cluster, round_: Round, primary: str) -> bool:
    """Whether those that answer besides *primary* are too few to be sealed for its successor, so that it has to be sealed
    with them. It can be, once it answers as a standby: it then has all its commits and can acknowledge none."""
    return _standing(cluster, round_, primary) < seals_needed(cluster, primary)


def too_few(cluster: Cluster, round_: Round, primary: str) -> str:
    """Why a successor of *primary* could not be promoted even when that has come back as a standby; '' when one can."""
    here, needed = _standing(cluster, round_, primary), seals_needed(cluster, primary)
    # One that is not listed is not counted.
    back = primary in cluster.electable_names and here + 1 >= seals_needed(cluster, "")
    if here >= needed or back:
        return ""
    return f"Only {here} of {needed} standbys that a promotion must seal answer: bring another one back."


def look(cluster: Cluster, links: Links, to: str = "") -> tuple[Found, str]:
    """Ask all nodes; what was found, and the target: *to*, or the best one where that is ''. Raises Conflict without
    exactly one primary, Unreachable without a candidate."""
    with closing(Meeting([node.name for node in cluster.nodes], links)) as meeting:
        meeting.wait([node.name for node in cluster.nodes], PATIENCE)
        round_ = meeting.round()
        primary = only_primary(cluster, round_, "switch over")
        best = candidates(cluster, round_, primary)
        target = to or (best[0] if best else "")
        if not target:
            raise Unreachable(f"switch over: no electable standby streams from {primary}.", "See: pgherd status")
        checks = meeting.servers[primary].rows(CHECKS)[0]
        paused = False
        if target in meeting.servers and round_.voices[target].in_recovery:
            rows = meeting.servers[target].rows("SELECT pg_get_wal_replay_pause_state() <> 'not paused' AS paused")
            paused = bool(rows[0]["paused"])
    return Found(round_, primary, paused=paused, **checks), target
