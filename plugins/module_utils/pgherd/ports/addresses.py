# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which addresses names had when somebody last answered there: names may be looked up on just the machine that has failed.

A Kubernetes answers from two pods or so, each to a share of all questions, and a question to one on a dead machine takes
seconds. Who answers is known by a certificate for the name, never by the address, so one that is old leads to nobody else.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field


@dataclass
class Addresses:
    """By name. An address where a try has failed is left out of the next one, which goes by the name."""

    _known: dict[str, str] = field(default_factory=dict)
    _failed: set[str] = field(default_factory=set)

    def of(self, host: str) -> str:
        """The address to try for *host*; '' where that is to be looked up."""
        return "" if host in self._failed else self._known.get(host, "")

    def reached(self, host: str, address: str) -> None:
        """Somebody has answered for *host* at *address*."""
        if address and is_name(host):
            self._known[host] = address
            self._failed.discard(host)

    def failed(self, host: str, tried: str) -> None:
        """Nobody has; *tried* is what of() had said."""
        if tried:
            self._failed.add(host)
        else:
            self._failed.discard(host)


def is_name(host: str) -> bool:
    """Whether *host* is one name: no address, no list, no directory of sockets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return bool(host) and not set(host) & set("/,@")
    return False


# What this process knows.
KNOWN = Addresses()
