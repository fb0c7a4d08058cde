# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent as each place puts it together in the same way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..agent.command_socket import CommandSocket
from ..agent.part import Part
from ..agent.secrets import secret_file
from ..model import MONITOR_PASSFILE, Cluster
from ..ports.here import Here

if TYPE_CHECKING:
    from ..agent.command_part import CommandPart


def parts(
    cluster: Cluster,
    name: str,
    node: Callable[[Cluster], Here],
    commands: CommandSocket[CommandPart],
    restart: Callable[[], None],
) -> list[Part]:
    """The parts of the agent beside what is called *name*: on a *node*, which listens with *commands*; beside a pgpool,
    which it has *restart*; beside a Barman. What others need is not loaded."""
    wanted: list[Part] = []
    if any(item.name == name for item in cluster.nodes):
        from ..agent import node_part

        wanted += node_part.parts(node(cluster), commands)
    for pgpool in cluster.pgpools:
        if pgpool.name == name:
            from ..agent.pgpool_part import PgpoolPart

            wanted.append(PgpoolPart.here(cluster, pgpool, secret_file(MONITOR_PASSFILE), restart))
    for barman in cluster.barmans:
        if barman.name == name:
            from ..agent.barman_part import BarmanPart

            wanted.append(BarmanPart.here(cluster, barman))
    return wanted


def parts_by(
    name: str,
    node: Callable[[Cluster], Here],
    commands: str,
    restart: Callable[[], None],
    fits: Callable[[Cluster], object],
) -> Callable[[Cluster], list[Part]]:
    """What makes these parts by one description after the other, with one listener at the socket *commands* for all of them.
    *fits* raises for a description that is not for this place."""
    listener: CommandSocket[CommandPart] = CommandSocket(commands)

    def wanted(cluster: Cluster) -> list[Part]:
        fits(cluster)
        return parts(cluster, name, node, listener, restart)

    return wanted
