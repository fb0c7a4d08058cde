# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A part of the agent that listens: where, with which certificate, and how one of a changed description takes its place."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Sequence

from ..errors import PgherdError
from .door import Begin, Door
from .part import Decision, Part, Replaceable


class DoorPart(Replaceable):
    """Has *door* listen on *port* of the addresses that *where* finds, '' being all of the host; *begin* and *known* are what
    that was made with. *files* are the certificate, its key, and the authority whose certificates clients have to show; no
    authority where they show none, and nothing at all without TLS. *variable* says where it listens.

    A certificate that was renewed is taken up without a restart. Addresses are looked for until all are listened on.
    """

    interval = 5.0

    def __init__(
        self,
        name: str,
        where: Callable[[], Sequence[str]],
        port: int,
        files: Sequence[str],
        door: Door,
        begin: Begin,
        known: Callable[[str], bool],
        variable: str = "cluster_agent_listen",
    ) -> None:
        self.name = name
        self.door = door
        self._where = where
        self._port = port
        self._files = tuple(files)
        self._written: tuple[float, ...] = ()
        self._context = _bare() if files else None
        self._answers = begin, known
        self._variable = variable
        self._complete = self._replaced = self._taken = False

    @property
    def port(self) -> int:
        """The port that it listens on; of use where 0 was asked for."""
        return next(iter(self.door.ports.values()), 0)

    def tick(self, now: float) -> Sequence[Decision]:
        """Listen, where that is not so yet. Raises PgherdError where an address or the certificate does not serve."""
        if self._files:
            self._load_certificate()
        fault = self.door.fault()
        if fault:
            raise PgherdError(f"answer on port {self.port}: {fault}")
        if self._complete:
            return ()
        decisions, wrong, wanted = [], "", self._where()
        # First: all addresses and one of them are not to be had together.
        for address in set(self.door.ports) - {*wanted} if self._taken else ():
            self.door.leave(address)
        self._taken = False
        for address in wanted:
            if address in self.door.ports:
                continue
            where = address or "all addresses"
            try:
                port = self.door.listen(address, self._port)
            except OSError as error:
                wrong = wrong or f"listen on {where} port {self._port}: {error.strerror}."
                continue
            decisions.append(Decision(f"listens on {where} port {port}{'' if self._files else ' without TLS'}"))
        if wrong:
            raise PgherdError(wrong, f"Set {self._variable}.")
        self._complete = True
        return decisions

    def close(self) -> None:
        """Stop listening."""
        if not self._replaced:
            self.door.close()

    def take_over(self, before: Part) -> None:
        """See part.Replaceable: the same sockets, where they are on the same port and as open as these shall be."""
        if not isinstance(before, type(self)):
            return
        if (before._port, bool(before._files)) == (self._port, bool(self._files)):
            self._context, self._written = before._context, before._written
            before.door.answer_by(*self._answers, self.door.unanswered)
            self.door, self._taken, before._replaced = before.door, True, True

    def current(self) -> ssl.SSLContext:
        """What is shown and asked for by now, where there is TLS."""
        if self._context is None:
            raise AssertionError("only asked where there is TLS")
        return self._context

    def _load_certificate(self) -> None:
        """Into a context of its own: one that does not serve leaves the last one as it is."""
        try:
            written = tuple(os.stat(path).st_mtime for path in self._files)
            if written != self._written:
                context = _bare()
                context.load_cert_chain(*self._files[:2])
                for authority in self._files[2:]:
                    _demand(context, authority)
                self._context, self._written = context, written
        except (OSError, ssl.SSLError) as error:
            where = getattr(error, "filename", None) or self._files[0]
            raise PgherdError(f"read the certificate {where}: {error.strerror or error}.") from error


def _bare() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # one handshake for each client
    return context


def _demand(context: ssl.SSLContext, authority: str) -> None:
    """Have each client show a certificate of *authority*, each time: no session of before spares it that, or its end."""
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
