# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Before a primary whose disk stands still lets itself be killed: could another take its place? Storage that all share
stands still for all, and then nobody is to go."""

from __future__ import annotations

from ..model import Cluster
from ..objects.orders import forget_read_only
from ..observe.identity import unfit
from ..observe.open_sessions import OpenSessions, counted, each
from ..ports.links import LIMIT, Links
from ..ports.sql import Server
from ..quorum import seals_needed, voters


def hindrance(cluster: Cluster, me: str, links: Links) -> str:
    """Why none of the listed standbys could be promoted in the place of *me*, in words; '' where so many as a promotion has
    to seal can write to their disks now."""
    names = voters(cluster, me)
    sessions = OpenSessions(names, links)
    try:
        sessions.wait(names, LIMIT)
        states = sessions.survey().states
        strange = unfit(cluster, states)
        standing = [
            name for name, state in states.items() if state.in_recovery and not state.locked and name not in strange
        ]
        able, failed = each(sessions.servers, sorted(standing), _writes)
    finally:
        sessions.close()
    needed = seals_needed(cluster, me)
    if len(able) >= needed:
        return ""
    return f"{needed} standbys that can write are needed, found {counted(list(able), failed)}"


def _writes(_name: str, server: Server) -> bool:
    """Have the server write a file and flush it, the one that sealing will write. A standby has no fence to lose."""
    forget_read_only(server)
    return True
