# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agents of other nodes, asked through their port for peers: each end shows the certificate of its host."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ProtocolError
from ..model import CA_FILE, SERVER_CERT_FILE, SERVER_KEY_FILE, Cluster
from .addresses import KNOWN
from .lines import Lines

if TYPE_CHECKING:
    import ssl


class Peers:
    """Those of the data nodes of *cluster*, as the host knows them whose *files* these are: its certificate, the key, and the
    authority that both ends believe."""

    def __init__(self, cluster: Cluster, *files: str) -> None:
        self._addresses = {node.name: node.address for node in cluster.data_nodes}
        self._port = cluster.options.peer_port
        self._files = files or (SERVER_CERT_FILE, SERVER_KEY_FILE, CA_FILE)

    def __contains__(self, name: object) -> bool:
        """Whether there is such an agent to ask."""
        return name in self._addresses

    def connect(self, name: str, limit: float) -> ssl.SSLSocket:
        """A connection to the agent of the node called *name*, which has shown a certificate for that node's address. Each step
        has *limit* seconds. Raises OSError. That the other end does not accept ours is known only when it is read from."""
        host = self._addresses[name]
        context, address = self._context(), KNOWN.of(host)
        try:
            plain = socket.create_connection((address or host, self._port), limit)
            try:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # Now: who refuses our certificate hangs up as soon as the handshake is over.
                there = str(plain.getpeername()[0])
                found = context.wrap_socket(plain, server_hostname=host)
                KNOWN.reached(host, there)
                return found
            except BaseException:
                plain.close()
                raise
        except OSError:
            KNOWN.failed(host, address)
            raise

    def ask(self, name: str, words: Mapping[str, Any], limit: float) -> Mapping[str, Any]:
        """What the agent of the node called *name* answers to *words*. Each step has *limit* seconds. Raises OSError,
        ProtocolError, also for a refusal."""
        with self.connect(name, limit) as connection:
            lines = Lines(connection)
            lines.send(words)
            answer = lines.next(limit)
        if "refused" in answer:
            raise ProtocolError(f"the agent of {name} refuses: {answer['refused']}")
        return answer

    def _context(self) -> ssl.SSLContext:
        """From the files as they are now: they may have been renewed."""
        # What starts without this is not to pay for it.
        import ssl

        from .certificates import trusting

        certificate, key, authority = self._files
        context = trusting(authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(certificate, key)
        return context
