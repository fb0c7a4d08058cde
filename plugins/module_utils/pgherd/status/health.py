# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The one line of health that opens the picture and ends every playbook."""

from __future__ import annotations

from collections.abc import Sequence

from ..model import Cluster
from ..observe.topology import Topology
from .problem import Problem, duration
from .problems import exit_code

WORDS = ("HEALTHY", "DEGRADED", "CRITICAL", "UNKNOWN")
WORD_COLOURS = ("green", "yellow", "red", "yellow")
CODES = {"red": "31", "green": "32", "yellow": "33"}


def paint(text: str, colour: str, on: bool) -> str:
    """*text* in a terminal's *colour* (red, green, yellow or ''), where colours are *on*."""
    return f"\033[{CODES[colour]}m{text}\033[0m" if on and colour else text


def health_line(
    cluster: Cluster,
    topology: Topology,
    problems: Sequence[Problem],
    colour: bool = False,
    missing: Sequence[str] = (),
    waiting: Sequence[str] = (),
) -> str:
    """How the cluster is, in one line. *missing* are hosts that the caller could not reach, *waiting* what it left for when the
    primary has been restarted; they come last."""
    code = exit_code(problems)
    parts = [
        cluster.name,
        paint(WORDS[code], WORD_COLOURS[code], colour),
        f"primary {_primary(topology)}",
        f"standbys {len(topology.streaming_standbys())}/{len(cluster.data_nodes) - 1}",
        f"sync {_sync(topology)}",
        f"failover armed {len(topology.armed())}/{len(cluster.nodes)}",
    ]
    if cluster.barmans:
        parts.append(f"backup {_backup(topology, problems)}")
    if missing:
        parts.append(f"missing: {', '.join(missing)}")
    if waiting:
        parts.append(f"waits for a restart of the primary (-e cluster_restart_primary=true): {', '.join(waiting)}")
    return "  ".join(parts)


def _primary(topology: Topology) -> str:
    live, found = topology.live_primary(), topology.primaries()
    if live and live.postgres and len(found) == 1:
        return f"{live.name} (TL {live.postgres.timeline})"
    if found:
        return f"? ({', '.join(node.name for node in found)})"
    answered = any(True for _seen in topology.seen())
    return "none" if answered else "?"


def _sync(topology: Topology) -> str:
    needed, _allowed = topology.sync_needed()
    if not topology.live_primary():
        return "?"
    return f"{len(topology.sync_standbys())}/{needed}" if needed else "off"


def _backup(topology: Topology, problems: Sequence[Problem]) -> str:
    views = [host.view for host in topology.barmans if host.view and host.view.backups is not None]
    if not views:
        return "?"
    ends = [view.last_backup.end for view in views if view.last_backup and view.last_backup.end is not None]
    if not ends:
        return "none"
    late = any(problem.id in ("backup-old", "barman-check", "archive-behind") for problem in problems)
    return duration(topology.seen_at - max(ends)) + ("" if late else " ok")
