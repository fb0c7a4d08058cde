# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent of a host, run by its unit."""

from __future__ import annotations

from collections.abc import Callable

from ...agent.loop import run
from ...agent.part import log
from ...model import Cluster
from ...ports.here import Here
from ..agents import parts_by
from .runtime import COMMANDS, ask_for_restart


def main(path: str, name: str, told: int = 0, fits: Callable[[Cluster], object] = lambda _cluster: None) -> int:
    """Run the agent of the host called *name* until SIGTERM or SIGINT, by the description in the file *path*; for *told* see
    layout.version_of. *fits* raises for a description that is not for this place."""

    def node(cluster: Cluster) -> Here:
        from .here import here

        return here(cluster, name, log, told)

    # The site playbook writes it before nodes are cloned, and says when it is to be gone by.
    return run(path, name, parts_by(name, node, COMMANDS, ask_for_restart, fits))
