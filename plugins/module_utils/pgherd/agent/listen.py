# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Where the agent listens: addresses and networks that hold for all hosts, as one host understands them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from contextlib import suppress

from ..errors import PgherdError
from ..ports.names import in_time, own, source
from ..ports.run import Runner

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  # the user's own word, never a default


def own_addresses(address: str, known: Sequence[str], runner: Runner) -> list[str]:
    """Where to listen so that others reach *address*, by what the cluster has *known* of this host's addresses: '' (everywhere)
    where none of them is this host's, since somebody on the way translates, and where that name leads only back to this host,
    as Debian's installer writes it into /etc/hosts. Raises PgherdError."""
    if known:
        mine: Sequence[str] = known
        with suppress(PgherdError):
            mine = own(runner)
        # Whole networks, where a pod may be, are nothing to listen on.
        return [entry for entry in known if entry in mine and "/" not in entry] or [""]
    try:
        found = in_time(address)[0]
    except OSError as error:
        raise PgherdError(f"find this host's own address {address}: {error.strerror}.", "Set ip for it.") from error
    return ["" if ipaddress.ip_address(found.partition("%")[0]).is_loopback else found]


def and_at_home(address: str, places: Sequence[str]) -> list[str]:
    """The *places* to listen on and, where the name *address* leads this host back to itself, as Debian's installer writes it
    (127.0.1.1), there too: whoever asks from this host comes by that name."""
    every = {4: bool({"", "0.0.0.0"} & {*places}), 6: "::" in places}  # noqa: S104
    with suppress(OSError):
        found = [
            entry for entry in in_time(address) if _stays_here(entry) and not every[ipaddress.ip_address(entry).version]
        ]
        return list(dict.fromkeys([*places, *found]))
    return list(places)


def _stays_here(address: str) -> bool:
    """Whether an address is loopback, and this host has that family."""
    if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return False
    with suppress(OSError):
        return bool(source(address))
    return False


def chosen(named: Sequence[str], mine: Sequence[str]) -> list[str]:
    """Of this host's addresses *mine* those that *named* names: addresses, or networks that they are in. All addresses are
    ``0.0.0.0`` and ``::``."""
    found = [entry for entry in named if entry in EVERYWHERE]
    networks = [ipaddress.ip_network(entry, strict=False) for entry in named if entry not in EVERYWHERE]
    found += [address for network in networks for address in mine if ipaddress.ip_address(address) in network]
    return list(dict.fromkeys(found))


def here(runner: Runner, named: Sequence[str], variable: str) -> list[str]:
    """The addresses to listen on, of those that *variable* has *named*. Raises as own(), and when there is none."""
    mine = own(runner)
    found = chosen(named, mine)
    if not found:
        said = f"listen on {', '.join(named)}: none of this host's addresses ({', '.join(mine)}) is among them."
        raise PgherdError(said, f"Set {variable}.")
    return found
