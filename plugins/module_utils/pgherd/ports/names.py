# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Names, addresses and routes as this host has them."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import socket
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..errors import PgherdError
from .run import Runner

# Seconds that the name service is given where others wait for the answer, and where nobody does.
PATIENCE, LONG = 3.0, 12.0


def addresses_of(name: str) -> list[str]:
    """The addresses of a name, however long the name service takes. Raises OSError."""
    return list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)))


def in_time(name: str, patience: float = PATIENCE) -> list[str]:
    """The same within *patience* seconds. Raises OSError, and TimeoutError, which is one."""
    found: list[list[str] | OSError] = []

    def ask() -> None:
        try:
            found.append(addresses_of(name))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=ask, name="names", daemon=True)
    thread.start()
    thread.join(patience)
    if not found:
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    (answer,) = found
    if isinstance(answer, OSError):
        raise answer
    return answer


def own(runner: Runner) -> list[str]:
    """This host's addresses (ip-address(8)), without link-local ones. Raises CommandError, Unreachable, PgherdError."""
    said = runner.run(["ip", "-json", "address"], timeout=5.0).expect("ask for this host's addresses")
    try:
        every = [entry["local"] for link in json.loads(said.out) for entry in link.get("addr_info", ())]
    except (ValueError, TypeError, KeyError) as error:
        raise PgherdError(f"read the answer of ip address: {said.out[:200]!r}") from error
    return [address for address in every if not ipaddress.ip_address(address).is_link_local]


def source(address: str) -> str:
    """The address from which this host would go to *address*; nothing is sent. Raises OSError where there is no way."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        return str(probe.getsockname()[0])


def look(names: Iterable[str], runner: Runner) -> dict[str, Any]:
    """What this host says of its own addresses and of the *names* that it will connect to, as plain data: ``own``, and by
    name in ``ways`` its addresses, each with the source and with why there is none, and why it has none. Raises nothing."""
    wanted = list(dict.fromkeys(names))
    with ThreadPoolExecutor(max_workers=len(wanted) or 1) as pool:
        ways = dict(zip(wanted, pool.map(_way, wanted)))
    try:
        mine = own(runner)
    except PgherdError:
        # A host without iproute2 still knows from where it goes.
        mine = [found for way in ways.values() for found in way["sources"].values() if found]
    return {"own": sorted(set(mine)), "ways": ways}


def _way(name: str) -> dict[str, Any]:
    try:
        addresses = in_time(name, LONG)
    except (OSError, UnicodeError) as error:
        return {"sources": {}, "why": getattr(error, "strerror", None) or str(error)}
    gone = {address: _gone(address) for address in addresses}
    return {
        "sources": {address: came for address, (came, _why) in gone.items()},
        "why": next((why for _came, why in gone.values() if why), ""),
    }


def _gone(address: str) -> tuple[str, str]:
    try:
        return source(address), ""
    except OSError as error:
        return "", str(error.strerror)
