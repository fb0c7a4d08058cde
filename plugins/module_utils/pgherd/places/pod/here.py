# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a pod is made of: the one place where its parts are put together, for process 1, the agent and the command."""

from __future__ import annotations

import os
from dataclasses import replace

from ...model import Cluster
from ...ports.here import Here, Say
from ...ports.links import Links
from ..composed import here_by, links_by
from .record import AskedRecord
from .services import PodServices

# The directory of what the pod's processes speak through; no other pod or user gets at it.
DIRECTORY = os.environ.get("PGHERD_RUNTIME", "/run/pgherd")
# Where process 1 listens, and where the agent does for repmgrd's commands.
SERVICES, COMMANDS = f"{DIRECTORY}/services", f"{DIRECTORY}/command"


def links_from(cluster: Cluster, me: str) -> Links:
    """Sessions on all nodes, and what stops PostgreSQL here."""
    return links_by(cluster, me, lambda: PodServices(SERVICES))


def here(cluster: Cluster, me: str, say: Say = lambda _line: None, told: int = 0) -> Here:
    """The node *me*. *say* takes one line for people; for *told*, and what is raised, see layout.version_of."""
    return replace(here_by(cluster, me, lambda _version: PodServices(SERVICES), say, told), record=AskedRecord())
