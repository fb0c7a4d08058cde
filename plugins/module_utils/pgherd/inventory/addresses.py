# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Where each host comes from and how the others get to it, decided from what all hosts say before anything is written. Pure.

pg_hba.conf lets hosts in by address, so it must name the one that a session really comes from: not the one by which Ansible
reaches the host, which may be a bastion's, and not a name, which holds only where looking up the address gives that very name
(manual, 20.1). What a host says counts for that host alone: where it comes from. Another's name may lead to an address only
where that other has it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import ConfigError
from ..model import POD, Cluster, H, Origins, Peer
from ..text import printable
from .hosts import is_ip, is_others

# Addresses of one host that are believed; each is a line for every role.
MOST = 32


@dataclass(frozen=True)
class Way:
    """How a host gets to a name: its addresses in the resolver's order, each with the address it would come from, '' where
    there is no way; *why* there is none."""

    sources: Mapping[str, str] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class Said:
    """What a host says: its *own* addresses, and its *ways* by name."""

    own: frozenset[str] = frozenset()
    ways: Mapping[str, Way] = field(default_factory=dict)


def parse(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Said]:
    """What hosts answered (ports/names.py, look()), by host; what is no address is left out. Raises KeyError, TypeError,
    ValueError or AttributeError for what is no answer."""
    found = {}
    for host, answer in answers.items():
        ways = {
            str(name): Way(
                {_plain(address): _plain(came) for address, came in way["sources"].items() if is_ip(_plain(address))},
                printable(" ".join(str(way["why"])[:200].split())),
            )
            for name, way in answer["ways"].items()
        }
        own = frozenset(_plain(one) for one in answer["own"]) | {
            came for way in ways.values() for came in way.sources.values()
        }
        found[host] = Said(frozenset(one for one in own if is_ip(one) and is_others(one)), ways)
    return found


def _plain(address: Any) -> str:
    text = str(address).partition("%")[0]
    return str(ipaddress.ip_address(text)) if is_ip(text) else ""


def settled(cluster: Cluster, said: Mapping[str, Said], before: Mapping[str, Sequence[str]] | None = None) -> Cluster:
    """The *cluster* with each host's addresses: the user's word, or what the host has of what it goes by and of what its name
    means to others. Of a host that did not answer, those of *before*, by name; else what its name means to all who did; else
    the address that is configured.

    Raises ConfigError with one sentence for each host that others would not find, or would find as somebody else. One that did
    not answer stands in nobody's way: it may be gone for good, and its name with it.
    """
    every = [peer for peer in cluster.hosts if peer.place != POD]
    problems = [sentence for peer in every for sentence in (*_lost(peer, said), *_rejected(peer, every, said))]
    found = {peer.name: _addresses(peer, every, said) for peer in every if peer.name in said or peer.origins.networks}
    problems += _shared(found)
    if problems:
        raise ConfigError(problems)
    # What a name meant may be another's by now, where its host is gone for good.
    taken = {address for addresses in found.values() for address in addresses}
    for peer in every:
        if peer.name not in found:
            heard = (before or {}).get(peer.name) or _addresses(peer, every, said)
            found[peer.name] = tuple(one for one in heard if one not in taken)

    def known(items: Iterable[H]) -> tuple[H, ...]:
        # A pod's are networks, the user's word, and no address of its own.
        return tuple(
            item if item.place == POD else replace(item, origins=Origins.of(found[item.name], item.origins.known))
            for item in items
        )

    return replace(cluster, nodes=known(cluster.nodes), pgpools=known(cluster.pgpools), barmans=known(cluster.barmans))


def _means(peer: Peer, host: str, said: Mapping[str, Said]) -> set[str]:
    """The addresses that *peer*'s name means to *host*, without those that are this host itself."""
    way = said[host].ways.get(peer.address, Way())
    return {
        address
        for address in way.sources
        if is_others(address) and (host == peer.name or not _is_own(address, said[host]))
    }


def _is_own(address: str, said: Said) -> bool:
    return ipaddress.ip_address(address).is_loopback or address in said.own


def _addresses(peer: Peer, every: Sequence[Peer], said: Mapping[str, Said]) -> tuple[str, ...]:
    if peer.origins.networks:
        return peer.origins.addresses
    if peer.name in said:
        mine = said[peer.name]
        others = {other.address for other in every if other.name != peer.name}
        goes = {came for name, way in mine.ways.items() if name in others for came in way.sources.values() if came}
        means = {address for host in said for address in _means(peer, host, said)} & mine.own
        found = {address for address in goes | means if is_others(address)}
    else:
        heard = [_means(peer, host, said) for host in said]
        found = set.intersection(*heard) if heard else set()
    if len(found) > MOST:
        raise ConfigError([f"{peer.name}: it would come from {len(found)} addresses; set ip to those that it does."])
    return tuple(sorted(found, key=lambda one: (":" in one, ipaddress.ip_address(one)))) or (
        (peer.origins.known,) if peer.origins.known else ()
    )


def _lost(peer: Peer, said: Mapping[str, Said]) -> list[str]:
    """Why hosts would not find *peer* by its address, one sentence for all that see the same."""
    if peer.name not in said:
        return []
    seen: dict[str, list[str]] = {}
    name = f"{peer.name}: {peer.address}" if peer.address != peer.name else peer.name
    for host, says in said.items():
        way = says.ways.get(peer.address)
        if way is None:
            continue
        mistaken = [one for one in way.sources if host != peer.name and _is_own(one, says)]
        named = ", ".join(way.sources)
        strangers = not peer.origins.networks and not any(
            one in said[peer.name].own or (host == peer.name and _is_own(one, says)) for one in way.sources
        )
        if not way.sources:
            what = f"{name} does not resolve on %s ({way.why}); put it into DNS or /etc/hosts there, or set address for it."
        elif mistaken:
            what = (
                f"{name} is {', '.join(mistaken)} on %s, which is that host itself; mend DNS or /etc/hosts there, or set "
                f"address for {peer.name}."
            )
        elif not any(way.sources.values()):
            what = f"{name} is {named} on %s, which has no way there ({way.why}); set address for {peer.name} to one that it has."
        elif strangers:
            what = (
                f"{name} is {named} on %s, and {peer.name} has {', '.join(sorted(said[peer.name].own)) or 'no address'}; mend "
                f"DNS or /etc/hosts there, or, where addresses are translated on the way, set ip for {peer.name} to those that "
                "others see it come from."
            )
        else:
            continue
        seen.setdefault(what, []).append(host)
    return [what.replace("%s", ", ".join(hosts)) for what, hosts in seen.items()]


def _rejected(peer: Peer, every: Sequence[Peer], said: Mapping[str, Said]) -> list[str]:
    """Where *peer* would come from an address that is not the user's word. Where it has none of that, somebody translates."""
    if peer.name not in said or not said[peer.name].own.intersection(peer.origins.addresses):
        return []
    seen: dict[str, list[str]] = {}
    for other in every:
        sources = said[peer.name].ways.get(other.address, Way()).sources.values()
        # The first that there is a way to is the one that is taken, and a rejection there is final.
        came = next((one for one in sources if one), "")
        if other.name != peer.name and came and is_others(came) and came not in peer.origins.addresses:
            seen.setdefault(came, []).append(other.name)
    return [
        f"{peer.name}: it would come to {', '.join(others)} from {came}, and its ip is "
        f"{', '.join(peer.origins.addresses)} only; add that to its ip, a list, or take ip out."
        for came, others in seen.items()
    ]


def _shared(found: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Two hosts that would be taken for one another."""
    owners: dict[str, list[str]] = {}
    for name, addresses in found.items():
        for address in addresses:
            owners.setdefault(address, []).append(name)
    return [
        f"{', '.join(names)}: {address} would be each of them; mend DNS or /etc/hosts, or set ip for each to its own."
        for address, names in owners.items()
        if len(names) > 1
    ]
