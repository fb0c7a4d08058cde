# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether what an inventory says of a host itself is what it should be: its name, its address, its ip and its place. Pure.

Networks and addresses are judged here for all variables, and what of a value may stand in a message.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..model import HOST, PLACES

# PostgreSQL cuts names off behind so many bytes (NAMEDATALEN less one), application_name too, by which standbys count.
NAME_BYTES = 63
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_NUMBER = re.compile(r"\d+|0[xX][0-9A-Fa-f]*")
# What pg_hba.conf takes for other than a host's name.
_HBA_WORDS = ("all", "samehost", "samenet")


def host_problems(name: str, variables: Mapping[str, Any], node: bool) -> list[str]:
    """What is wrong with a host's *name*, its address, its ip and its place."""
    found = [
        f"{safe(name)}: {key} holds a character that is no text; take it out."
        for key in ("upstream", "location", "address", "ip")
        if control(str(variables.get(key) or ""))
    ]
    if not _HOST.fullmatch(name) or name in _HBA_WORDS:
        found.append(
            f"{safe(name)}: a host's name is letters, digits, dots, _ and -, begins with a letter, a digit or _, and is none "
            f"of {', '.join(_HBA_WORDS)}; rename it, and say in ansible_host how to reach it."
        )
    if node and len(name) > NAME_BYTES:
        found.append(
            f"{name}: a node's name has at most {NAME_BYTES} characters, and this one {len(name)}; give it a shorter one, and "
            "its long name as address."
        )
    place = placed(variables)
    if place not in PLACES:
        found.append(
            f"{safe(name)}: place is {' or '.join(PLACES)}, where it runs, and not {safe(str(place))}; mend it."
        )
    address = str(variables.get("address") or name)
    if not found and not _is_address(address):
        found.append(f"{name}: address {safe(address)} is neither a host's name nor an IP address; mend it.")
    if not found:
        found += _ip_problems(name, "ip", ip_list(variables.get("ip")))
    if not found and is_ip(address):
        found += _ip_problems(name, "address", [address])
    return found


def placed(variables: Mapping[str, Any]) -> Any:
    """Where a host with these *variables* runs; see PLACES."""
    given = variables.get("place")
    return HOST if given in (None, "") else given


def ip_list(value: Any) -> list[str]:
    """A host's ip as its inventory has it: one, several by commas, or a list; addresses in their shortest form."""
    given = value if isinstance(value, (list, tuple)) else str(value or "").split(",")
    entries = [str(entry).strip() for entry in given]
    return list(dict.fromkeys(_shortest(entry) for entry in entries if entry))


def _shortest(text: str) -> str:
    """An address as the kernel and PostgreSQL name it; any other text as it is."""
    if not is_ip(text):
        return text
    one = ipaddress.ip_address(text)
    return str(getattr(one, "ipv4_mapped", None) or one)


def _ip_problems(name: str, key: str, entries: Sequence[str]) -> Iterator[str]:
    for entry in entries:
        if not is_ip(entry):
            yield f"{name}: {key} {safe(entry)} is no IP address; write one such as 10.0.0.1, or leave it out."
        elif not is_others(entry):
            yield (
                f"{name}: {key} {entry} is no address that another host can see it come from; set {key} to that one, or leave "
                "it out."
            )


def is_others(text: str) -> bool:
    """Whether the address *text* is one by which a host is known to others: not loopback, link-local, multicast or none."""
    one = ipaddress.ip_address(text)
    return not (one.is_loopback or one.is_link_local or one.is_multicast or one.is_unspecified)


def network(entry: Any) -> str:
    """A network as pg_hba.conf has it; a bare address is a network of its own. Raises ValueError for anything else."""
    text = str(entry)
    if "%" in text or isinstance(entry, (bool, int)):
        raise ValueError(text)
    return str(ipaddress.ip_network(text, strict=False))


def is_network(entry: Any) -> bool:
    try:
        network(entry)
    except ValueError:
        return False
    return True


def is_ip(text: str) -> bool:
    """Whether *text* is one IP address, without a zone."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _is_address(text: str) -> bool:
    # What DNS can hold (RFC 1035, 2.3.4). A name of numbers alone would be an address (inet_aton(3)), and another one.
    return is_ip(text) or bool(
        _HOST.fullmatch(text)
        and text not in _HBA_WORDS
        and len(text) <= 253
        and all(1 <= len(label) <= 63 for label in text.split("."))
        and not all(_NUMBER.fullmatch(label) for label in text.split("."))
    )


def safe(text: str) -> str:
    """A value as it may stand in a message."""
    return repr(text) if not text or not text.isprintable() or " " in text else text


def control(text: str, allowed: str = "") -> str:
    """The first character of *text* that is no text, as U+000A; '' where there is none."""
    for one in text:
        if one not in allowed and unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp"):
            return f"U+{ord(one):04X}"
    return ""
