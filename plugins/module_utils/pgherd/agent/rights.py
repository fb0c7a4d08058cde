# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Who may ask an agent for what through the port for peers. Pure.

Who asks is whom a certificate of the cluster's authority names, never where it comes from. What may be asked follows from what
that host is in the description.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from ..model import Cluster, Node, Peer, Pgpool
from ..observe.peer_answers import VERB as EVIDENCE

SWITCHOVER, PROMOTE, REJOIN = "switchover", "promote", "rejoin"
DATA = "postgres"
# By verb the kinds of hosts that may ask for it. A data node has the agents' password: it could learn and promote by SQL what is
# here. What it asks for is decided about anew by the agent that does it. That one comes back below nobody but the primary that it
# sees itself, as it does unasked.
RIGHTS: Mapping[str, tuple[str, ...]] = {EVIDENCE: (DATA,), SWITCHOVER: (DATA,), PROMOTE: (DATA,), REJOIN: (DATA,)}
# Of the verbs with arguments, which one names a primary.
_PRIMARY = {SWITCHOVER: "primary", PROMOTE: "primary", REJOIN: "target"}


def kind(host: Peer) -> str:
    """What a host is in its cluster: ``postgres``, ``witness``, ``pgpool`` or ``barman``."""
    if isinstance(host, Node):
        return host.kind
    return "pgpool" if isinstance(host, Pgpool) else "barman"


def shown(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """The names and addresses that a *certificate* is for, as ``ssl`` has it."""
    names = (certificate or {}).get("subjectAltName", ())
    return frozenset(_plain(text) for form, text in names if form in ("DNS", "IP Address"))


def member(cluster: Cluster, names: Iterable[str]) -> tuple[Peer | None, str]:
    """The host of *cluster* whose address is among the *names* of a certificate, or None and why. One for several is nobody's."""
    given = set(names)
    found = [host for host in cluster.hosts if _plain(host.address) in given]
    said = ", ".join(sorted(given)) or "nobody"
    if not found:
        return None, f"its certificate is for {said}, and that is no member of {cluster.name}"
    if len(found) > 1:
        many = ", ".join(host.name for host in found)
        return None, f"its certificate is for {many} at once, and so nobody knows which one it is"
    return found[0], ""


def refusal(host: Peer, verb: str) -> str:
    """Why *host* may not ask for *verb*; '' where it may."""
    if verb not in RIGHTS:
        return f"there is no {verb!r} to ask for; it is {', '.join(sorted(RIGHTS))}"
    if kind(host) not in RIGHTS[verb]:
        return f"{host.name} is a {kind(host)} host, and {verb} is for {' and '.join(RIGHTS[verb])} hosts"
    return ""


def unfit(verb: str, arguments: Any, names: Collection[str]) -> str:
    """Why *verb* cannot be done with *arguments*, in a cluster with data nodes called *names*; '' where it can."""
    wanted = {_PRIMARY[verb], *(("accept_loss",) if verb == PROMOTE else ())}
    if not isinstance(arguments, Mapping) or set(arguments) != wanted:
        return f"it is asked for with {', '.join(sorted(wanted))}, and nothing else."
    primary = arguments[_PRIMARY[verb]]
    # Where repmgr's metadata know none, a promotion takes nobody's place.
    known = isinstance(primary, str) and (primary in names or (verb == PROMOTE and not primary))
    if not known:
        return "it names no data node as the primary."
    return "" if verb != PROMOTE or isinstance(arguments["accept_loss"], bool) else "accept_loss is true or false."


def _plain(text: str) -> str:
    """A name without regard to case, an address in one form."""
    try:
        return str(ip_address(text.strip()))
    except ValueError:
        return text.lower()
