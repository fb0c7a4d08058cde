# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a pod runs as process 1."""

from __future__ import annotations

from ...model import Cluster
from .here import SERVICES
from .programs import of
from .services import serve
from .supervisor import Supervisor


def main(cluster: Cluster, name: str, limit: float) -> int:
    """Run the pod *name* until SIGTERM, which ends all of it within *limit* seconds."""
    programs = of(cluster, name)
    supervisor = Supervisor(programs)
    serve(supervisor, SERVICES)
    supervisor.run([service for service, program in programs.items() if not program.once], limit)
    return 0
