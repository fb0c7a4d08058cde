# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a process works with where it is, a host or a pod, for whoever works for one node. What runs for ever is in chosen.py."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import Conflict
from ..model import HOST, POD

if TYPE_CHECKING:
    from ..model import Cluster
    from ..ports.here import Here, Say
    from ..ports.links import Links
    from ..ports.services import Services

# A pod's image has "pod" there.
VARIABLE = "PGHERD_PLACE"


def in_a_pod() -> bool:
    """Whether this process is in a pod."""
    return os.environ.get(VARIABLE) == POD


def is_pod(cluster: Cluster, me: str) -> bool:
    """Whether *me*, for whom this process works, is a pod. Raises Conflict where this is another place."""
    found = POD if in_a_pod() else HOST
    wanted = next((item.place for item in cluster.hosts if item.name == me), found)
    if wanted != found:
        raise Conflict(
            f"Work for {me}",
            f"the place {wanted}, as the cluster's description has it",
            f"the place {found}",
            f"A pod's image has {VARIABLE}={POD}, and nothing else has. Where the description is wrong, set place for {me} in "
            "the inventory and run the site playbook.",
        )
    return wanted == POD


def commands() -> str:
    """The socket at which this place's agent takes commands."""
    if in_a_pod():
        from .pod.here import COMMANDS
    else:
        from .host.runtime import COMMANDS
    return COMMANDS


def services(version: int = 0) -> Services:
    """The services here, with PostgreSQL of major *version* on a node."""
    if in_a_pod():
        from .pod.here import SERVICES
        from .pod.services import PodServices

        return PodServices(SERVICES)
    from .host.systemd import services

    return services(version)


def links_from(cluster: Cluster, me: str) -> Links:
    """Sessions on all nodes from the node *me* here, and what stops its PostgreSQL."""
    if is_pod(cluster, me):
        from .pod.here import links_from
    else:
        from .host.here import links_from
    return links_from(cluster, me)


def here(cluster: Cluster, me: str, say: Say = lambda _line: None, told: int = 0) -> Here:
    """The node *me* here; *say* takes one line for people. For *told*, and what is raised, see layout.version_of."""
    if is_pod(cluster, me):
        from .pod.here import here
    else:
        from .host.here import here
    return here(cluster, me, say, told)
