# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Before a primary whose disk stands still lets itself be killed: could another take its place? Storage that all share
stands still for all, and then nobody is to go."""

from __future__ import annotations

from ..model import Cluster
from ..ports.sql import Server
from .links import LIMIT, Links, Meeting, counted, each
from .quorum import seals_needed, voters


def hindrance(cluster: Cluster, me: str, links: Links) -> str:
    """Why none of the listed standbys could be promoted in the place of *me*, in words; '' where so many as a promotion has
    to seal can write to their disks now."""
    names = voters(cluster, me)
    meeting = Meeting(names, links)
    try:
        meeting.wait(names, LIMIT)
        standing = [name for name, voice in meeting.round().voices.items() if voice.in_recovery and not voice.locked]
        able, failed = each(meeting.servers, sorted(standing), _writes)
    finally:
        meeting.close()
    needed = seals_needed(cluster, me)
    if len(able) >= needed:
        return ""
    return f"{needed} standbys that can write are needed, found {counted(list(able), failed)}"


def _writes(_name: str, server: Server) -> bool:
    """Have the server write a file and flush it, the one that sealing will write. A standby has no fence to lose."""
    server.run("ALTER SYSTEM RESET default_transaction_read_only")
    return True
