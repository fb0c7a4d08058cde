# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The place of this process: the one that the cluster's description has for whom it works. What another one needs is not loaded.

That this is the place is seen too, by a variable that a pod's image has. A description that came to the wrong place would have
files written where nothing reads them, and another's services stopped.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..description import read
from ..errors import Conflict, PgherdError
from ..model import HOST, POD
from . import either

if TYPE_CHECKING:
    from ..model import Cluster
    from ..ports.here import Here, Say
    from ..ports.links import Links
    from .pod.services import PodServices

# A pod's image has "pod" there.
VARIABLE = "PGHERD_PLACE"


def _in_a_pod() -> bool:
    return os.environ.get(VARIABLE) == POD


def _is_pod(cluster: Cluster, me: str) -> bool:
    """Whether *me*, for whom this process works, is a pod. Raises Conflict where this is another place."""
    found = POD if _in_a_pod() else HOST
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
    return either.commands(_in_a_pod())


def links_from(cluster: Cluster, me: str) -> Links:
    """Sessions on all nodes from the node *me* here, and what stops its PostgreSQL."""
    return either.links_from(_is_pod(cluster, me), cluster, me)


def here(cluster: Cluster, me: str, say: Say, told: int = 0) -> Here:
    """The node *me* here; *say* takes one line for people. For *told*, and what is raised, see layout.version_of."""
    return either.here(_is_pod(cluster, me), cluster, me, say, told)


def pod_services() -> PodServices:
    """The services of the pod that this process is in. Raises PgherdError elsewhere."""
    if not _in_a_pod():
        raise PgherdError("speak with process 1: this is no pod.", "A host's services are systemd's.")
    from .pod.here import SERVICES
    from .pod.services import PodServices

    return PodServices(SERVICES)


def run_agent(path: str, name: str, told: int = 0) -> int:
    """Run the agent of this place, by the description in the file *path*; for *told* see layout.version_of."""
    if _is_pod(read(path).cluster, name):
        from .pod.agent import main
    else:
        from .host.agent import main
    return main(path, name, told, lambda cluster: _is_pod(cluster, name))


def run_pod(cluster: Cluster, name: str, limit: float, config: str = "") -> int:
    """Run the pod *name* as its process 1, by the description in the file *config*, '' for where a pod has it mounted. Raises
    PgherdError on a host."""
    _a_pod(cluster, name)
    from .pod.files import CONFIG
    from .pod.first import main

    return main(cluster, name, limit, config or CONFIG)


def own_secrets(config: str, name: str, secrets: str, again: bool) -> int:
    """Leave what of the Secret mounted at *secrets* is the pod's called *name*, by the description in the file *config*, where
    its processes find it; with *again* whenever it has changed, until SIGTERM. Raises PgherdError."""
    _a_pod(read(config).cluster, name)
    from .pod.owned import own, renew

    return renew(config, name, secrets) if again else own(config, name, secrets)


def run_api(name: str, say: Say, config: str) -> int:
    """Speak to the API server for the pod called *name*, by the description in the file *config*. Raises PgherdError on a
    host."""
    _a_pod(read(config).cluster, name)
    from .pod.api import main

    return main(name, say, config)


def prestop(cluster: Cluster, name: str, limit: float) -> int:
    """Hand over before the pod called *name* ends, within *limit* seconds. Raises PgherdError on a host."""
    _a_pod(cluster, name)
    from .pod.prestop import main, to_the_log

    return main(cluster, name, limit, to_the_log)


def run_schedule(say: Say) -> int:
    """Take Barman's base backups when they are due, in a pod. Raises PgherdError on a host."""
    services = pod_services()
    from .pod.schedule import main

    return main(services, say)


def _a_pod(cluster: Cluster, name: str) -> None:
    if not _is_pod(cluster, name):
        raise PgherdError(f"run {name} as a pod: it is a host.", "A host's services are systemd's.")
