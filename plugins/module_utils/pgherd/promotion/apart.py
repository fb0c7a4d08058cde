# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which sealed nodes are not of the candidate's history: a twin may wait for its clone while the primary dies."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..data.twins import Served, parted
from ..observe.node_state import NodeState
from ..observe.open_sessions import each
from ..ports.sql import Server

# Seconds more than a question takes that reading and summing up the end of the WAL may take.
READ = 5.0


def of_other_history(
    me: str, sealed: Mapping[str, NodeState], lone: Collection[str], servers: Mapping[str, Server], limit: float
) -> dict[str, str]:
    """Of which of the *sealed* nodes the WAL and that of *me* are not of one history, and why. That is asked where one of the two
    is *lone*, following nobody before it was sealed: what followed somebody was compared before it was pointed there. What
    cannot be compared in *limit* + READ seconds does not count either. *servers*: their sessions."""

    def compare(name: str, _server: Server) -> str:
        less, more = sorted((sealed[me], sealed[name]), key=lambda state: state.reached)
        one, other = servers[less.name], servers[more.name]
        return parted(less.position, less.timeline, Served(one), other, more.timeline)

    found: dict[str, str] = {}
    for name in sealed:
        if name != me and (name in lone or me in lone):
            # One after the other: each takes the session of *me*.
            done, failed = each(servers, [name], compare, limit + READ)
            found.update(
                {
                    one: f"{one} and {me} are not of one history ({why})"
                    for one, why in {**done, **failed}.items()
                    if why
                }
            )
    return found
