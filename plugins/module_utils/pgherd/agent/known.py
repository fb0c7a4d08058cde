# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""For whom the agent's doors keep places: this host itself, the cluster's other hosts, and whom the user names."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network

from ..ports.names import addresses_of

# Seconds after which names are looked up again: when all were found, and when not.
AGAIN, SOON = 600.0, 30.0


class Known:
    """Whether places are kept for an address. *hosts*: (address, ip) of the cluster's hosts, by the model; *named*:
    addresses and networks.

    Names are looked up beside, for nobody waits for a name service that is gone; what was found stays until it is found
    anew."""

    def __init__(
        self,
        hosts: Iterable[tuple[str, str]],
        named: Iterable[str] = (),
        look_up: Callable[[str], Sequence[str]] = addresses_of,
    ) -> None:
        self._networks = tuple(ip_network(entry, strict=False) for entry in named)
        self._look_up = look_up
        given = [ip or address for address, ip in hosts]
        literal = {entry: _literal(entry) for entry in given}
        self._fixed = {found for found in literal.values() if found}
        self._names = [entry for entry in given if not literal[entry]]
        self._found: dict[str, set[str]] = {}
        self._due = 0.0
        self._looking = threading.Lock()

    def __call__(self, address: str) -> bool:
        """Never waits, never raises. Any thread may ask."""
        self._look_soon()
        if address in self._fixed or any(address in found for found in list(self._found.values())):
            return True
        try:
            one = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return one.is_loopback or any(one in network for network in self._networks)

    def _look_soon(self) -> None:
        if self._names and time.monotonic() >= self._due and self._looking.acquire(blocking=False):
            self._due = time.monotonic() + SOON
            threading.Thread(target=self._look, name="names", daemon=True).start()

    def _look(self) -> None:
        try:
            missing = [name for name in self._names if not self._one(name)]
            self._due = time.monotonic() + (SOON if missing else AGAIN)
        finally:
            self._looking.release()

    def _one(self, name: str) -> bool:
        with suppress(OSError, UnicodeError):
            self._found[name] = set(self._look_up(name))
            return True
        return False


def _literal(text: str) -> str:
    """An address as the kernel names it, '' for what is none."""
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
