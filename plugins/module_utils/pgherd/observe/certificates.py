# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The certificates of a cluster as its hosts' agents show them, and its authority's as this host has it."""

from __future__ import annotations

from ..errors import PgherdError, ProtocolError
from ..model import CA_FILE, Cluster, Peer
from ..ports.certificates import ends, shown
from .ask import STEP_LIMIT
from .views import CertificateSeen


def ask_certificate(cluster: Cluster, host: Peer) -> CertificateSeen:
    """What the agent on *host* shows. PostgreSQL and Pgpool-II serve with the same file. Raises nothing."""
    try:
        port = cluster.options.agent_port
        return CertificateSeen(host.name, shown(host.address, port, CA_FILE, STEP_LIMIT))
    except ProtocolError as error:
        return CertificateSeen(host.name, why=str(error))
    except PgherdError:
        return CertificateSeen(host.name)


def own_authority(path: str = CA_FILE) -> CertificateSeen:
    """The authority's, in this host's file. Raises nothing."""
    try:
        return CertificateSeen("", ends(path))
    except PgherdError:
        return CertificateSeen("")
