# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Where the agent listens: addresses and networks that hold for all hosts, as one host understands them."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Sequence

from ..errors import PgherdError
from ..ports.run import Runner

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  # the user's own word, never a default


def own_address(address: str, ip: str) -> str:
    """Where to listen so that others reach *address*: '' (everywhere) where that name leads only back to this host, as
    Debian's installer writes it into /etc/hosts."""
    try:
        found = ip or str(socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise PgherdError(f"find this host's own address {address}: {error.strerror}.", "Set ip for it.") from error
    return "" if found.startswith("127.") or found == "::1" else found


def chosen(named: Sequence[str], mine: Sequence[str]) -> list[str]:
    """Of this host's addresses *mine* those that *named* names: addresses, or networks that they are in. All addresses are
    ``0.0.0.0`` and ``::``."""
    found = [entry for entry in named if entry in EVERYWHERE]
    networks = [ipaddress.ip_network(entry, strict=False) for entry in named if entry not in EVERYWHERE]
    found += [address for network in networks for address in mine if ipaddress.ip_address(address) in network]
    return list(dict.fromkeys(found))


def addresses(runner: Runner) -> list[str]:
    """This host's addresses (ip-address(8)), without link-local ones. Raises CommandError, Unreachable, PgherdError."""
    said = runner.run(["ip", "-json", "address"], timeout=5.0).expect("ask for this host's addresses")
    try:
        every = [entry["local"] for link in json.loads(said.out) for entry in link.get("addr_info", ())]
    except (ValueError, TypeError, KeyError) as error:
        raise PgherdError(f"read the answer of ip address: {said.out[:200]!r}") from error
    return [address for address in every if not ipaddress.ip_address(address).is_link_local]


def here(runner: Runner, named: Sequence[str], variable: str) -> list[str]:
    """The addresses to listen on, of those that *variable* has *named*. Raises as addresses(), and when there is none."""
    mine = addresses(runner)
    found = chosen(named, mine)
    if not found:
        said = f"listen on {', '.join(named)}: none of this host's addresses ({', '.join(mine)}) is among them."
        raise PgherdError(said, f"Set {variable}.")
    return found
