# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Who has a place at a door of the agent, and who gives it up for one that comes. Pure.

Whoever comes gets a place: refusing the newest would keep everybody out for as long as others hold what they have. Those
that are known have places of their own, so strangers take none of theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol, TypeVar


class Guest(Protocol):
    """A client that has not been answered yet."""

    @property
    def source(self) -> str:
        """Whom it counts for, see source()."""

    @property
    def known(self) -> bool:
        """Whether it is one of those that places are kept for."""


G = TypeVar("G", bound=Guest)


@dataclass(frozen=True)
class SeatLimits:
    """How many may be inside at once: *strangers*, *known* ones, and *each*, from one source."""

    strangers: int = 128
    known: int = 64
    each: int = 16


def source(address: str) -> str:
    """What counts as one source: an IPv4 address, or the /64 of an IPv6 one, which one host may have all of."""
    if ":" not in address:
        return address
    return ip_address(address.partition("%")[0]).packed[:8].hex()


def leaves(inside: Iterable[G], comes: Guest, limits: SeatLimits) -> G | None:
    """Who of those *inside*, the oldest first, gives up its place to one that *comes*; None where one is free.

    One whose source has as many as it may have replaces its own oldest; else the oldest of the source that has most."""
    group = [guest for guest in inside if guest.known == comes.known]
    same = [guest for guest in group if guest.source == comes.source]
    if len(same) >= limits.each:
        return same[0]
    if len(group) < (limits.known if comes.known else limits.strangers):
        return None
    counts = Counter(guest.source for guest in group)
    most = max(counts.values())
    return next(guest for guest in group if counts[guest.source] == most)
