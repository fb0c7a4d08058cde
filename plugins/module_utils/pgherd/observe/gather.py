# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Asks every node, pgpool and barman at once, and puts the answers together. Needs no superuser and changes nothing."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from ..errors import PgherdError, Unreachable
from ..model import CA_FILE, MONITOR_ROLE, REPMGR_DATABASE, Barman, Cluster, Node, Peer, Pgpool
from ..objects.identity import CLUSTER, MEMBER, READ, SCHEMA
from ..objects.roles import Grant, Role, reserved
from ..objects.shield import own_settings
from ..ports.certificates import trusting
from ..ports.sql import connect
from ..programs.barman_view import BarmanView, parse_view
from ..programs.pgpool import NodeInfo, from_row
from .ask import STEP_LIMIT, Open, ask_node, pool_parameters, reason
from .certificates import ask_certificate, own_authority
from .topology import Topology, named
from .views import BackendView, BarmanSeen, CertificateSeen, NodeView, PgpoolView

# Seconds for the whole: dead hosts cost their connect_timeout, all at the same time. For the certificates that come after it.
LIMIT, CERTIFICATES = 3.0, 1.0
# What is said of a host that is there all the same.
_SPOKE = re.compile(
    r"refused|certificate|SSL|starting up|not yet accepting|permission denied|does not exist", re.IGNORECASE
)

T = TypeVar("T")
AskBarman = Callable[[Cluster, Barman], BarmanView]
AskWords = Callable[[Cluster, Node], str]
AskCertificate = Callable[[Cluster, Peer], CertificateSeen]


def roles(postgres_version: int) -> list[Role]:
    """The role that observes. pg_monitor is pg_read_all_settings, pg_read_all_stats and pg_stat_scan_tables."""
    memberships = ("pg_monitor", *reserved(postgres_version))
    return [Role(MONITOR_ROLE, memberships=memberships, settings=own_settings(postgres_version))]


def grants(postgres_version: int, witness: bool = False) -> list[Grant]:
    """What the role needs beyond pg_monitor, to read: repmgr's metadata, the state of its daemon, and who is who."""
    functions = ("repmgrd_is_running()", "repmgrd_is_paused()", "get_upstream_last_seen()")
    return [
        Grant(MONITOR_ROLE, "DATABASE", REPMGR_DATABASE, ("CONNECT",), REPMGR_DATABASE),
        Grant(MONITOR_ROLE, "DATABASE", "postgres", ("CONNECT",)),
        Grant(MONITOR_ROLE, "SCHEMA", "repmgr", ("USAGE",), REPMGR_DATABASE),
        Grant(MONITOR_ROLE, "TABLE", "repmgr.nodes", ("SELECT",), REPMGR_DATABASE),
        Grant(MONITOR_ROLE, "TABLE", "repmgr.events", ("SELECT",), REPMGR_DATABASE),
        *(() if witness else _identity()),
        Grant(MONITOR_ROLE, "FUNCTION", READ, ("EXECUTE",), REPMGR_DATABASE),
        *(Grant(MONITOR_ROLE, "FUNCTION", f"repmgr.{name}", ("EXECUTE",), REPMGR_DATABASE) for name in functions),
    ]


def _identity() -> list[Grant]:
    return [
        Grant(MONITOR_ROLE, "SCHEMA", SCHEMA, ("USAGE",), REPMGR_DATABASE),
        Grant(MONITOR_ROLE, "TABLE", CLUSTER, ("SELECT",), REPMGR_DATABASE),
        Grant(MONITOR_ROLE, "TABLE", MEMBER, ("SELECT",), REPMGR_DATABASE),
    ]


def gather(asks: Mapping[str, Callable[[], T]], limit: float) -> tuple[dict[str, T], dict[str, str]]:
    """Run all at once and return what was there after *limit* seconds at most: by name the answers, and the errors.

    Daemon threads: one that hangs, in the name service say, holds up neither the answer nor the end of the program.
    """
    said: dict[str, T] = {}
    failed: dict[str, str] = {}

    def ask(name: str, question: Callable[[], T]) -> None:
        try:
            said[name] = question()
        except Exception as error:  # one part's unforeseen answer must not hide the others
            failed[name] = f"{type(error).__name__}: {reason(error)}"

    threads = [threading.Thread(target=ask, args=item, daemon=True) for item in asks.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + limit
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(said), dict(failed)


def ask_pgpool(cluster: Cluster, pool: Pgpool, open_: Open) -> PgpoolView:
    """Ask one pgpool how it sees its backends. Raises nothing."""
    seen_at = time.time()
    try:
        with open_(pool.name, pool_parameters(pool.address, cluster.pgpool_port), STEP_LIMIT) as server:
            rows = server.rows("SHOW POOL_NODES")
        return PgpoolView(pool.name, seen_at, tuple(backend_view(from_row(row)) for row in rows))
    except PgherdError as error:
        return PgpoolView(pool.name, seen_at, why=reason(error))


def _ask_barman(cluster: Cluster, host: Barman, ask: AskBarman) -> BarmanSeen:
    seen_at = time.time()
    try:
        return BarmanSeen(host.name, seen_at, ask(cluster, host))
    except PgherdError as error:
        return BarmanSeen(host.name, seen_at, why=reason(error))


def ask_agent(cluster: Cluster, host: Barman) -> BarmanView:
    """The view of the agent on a barman host, over verified HTTPS. Raises Unreachable, ProtocolError."""
    status, text = _https(cluster, host.address, "/barman")
    if status != 200:
        raise Unreachable(f"its agent answers {status}: {text.strip()[:200]}")
    return parse_view(text)


def ask_words(cluster: Cluster, node: Node) -> str:
    """Why the node's server does not run or stream, by the log that its agent reads; '' where that says nothing. Raises
    Unreachable, ValueError."""
    _status, text = _https(cluster, node.address, "/health")
    return str(json.loads(text).get("words") or "")


def _https(cluster: Cluster, address: str, path: str) -> tuple[int, str]:
    """HTTP's status and the body that the agent at *address* answers. Raises Unreachable."""
    import http.client

    port = cluster.options.agent_port
    try:
        context = trusting(CA_FILE)
        connection = http.client.HTTPSConnection(address, port, timeout=STEP_LIMIT, context=context)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"its agent does not answer: {_words(error)}") from error


def _ask_whole(cluster: Cluster, node: Node, open_: Open, ask: AskWords) -> NodeView:
    """Ask one node, and its agent where the server is down and its host is not, or where it does not stream. Raises
    nothing."""
    view = ask_node(cluster, node, open_)
    ails = view.postgres.in_recovery and view.postgres.receiver != "streaming" if view.postgres else view.refused
    if not ails:
        return view
    try:
        return replace(view, words=ask(cluster, node))
    except (PgherdError, ValueError):
        return view


def _words(error: Any) -> str:
    """An error without its number."""
    return str(getattr(error, "strerror", None) or error)


def backend_view(info: NodeInfo) -> BackendView:
    """A backend as pgpool has it. Its times are local ones without a zone: those of this host are taken for them."""
    try:
        since = time.mktime(time.strptime(info.changed_at, "%Y-%m-%d %H:%M:%S"))
    except ValueError:
        since = None
    return BackendView(info.number, info.host, info.status, info.role, info.pg_status, info.pg_role, since)


def observe(
    cluster: Cluster,
    limit: float = LIMIT,
    open_: Open = connect,
    ask_barman: AskBarman = ask_agent,
    ask: AskWords = ask_words,
    ask_tls: AskCertificate = ask_certificate,
) -> Topology:
    """Ask all parts of *cluster* at once. A part that has not answered after *limit* seconds is described so, and not
    waited for. Raises nothing for a part that does not answer."""
    now, late = time.time(), f"no answer within {limit:g} s"
    asks: dict[str, Callable[[], Any]] = {}
    asks.update({node.name: partial(_ask_whole, cluster, node, open_, ask) for node in cluster.nodes})
    asks.update({pool.name: partial(ask_pgpool, cluster, pool, open_) for pool in cluster.pgpools})
    asks.update({host.name: partial(_ask_barman, cluster, host, ask_barman) for host in cluster.barmans})
    said, failed = gather(asks, limit)
    why = {name: failed.get(name, late) for name in asks}
    nodes = (
        said.get(item.name) or NodeView(item.name, item.kind, item.id, now, why=why[item.name])
        for item in cluster.nodes
    )
    pgpools = (said.get(item.name) or PgpoolView(item.name, now, why=why[item.name]) for item in cluster.pgpools)
    barmans = (said.get(item.name) or BarmanSeen(item.name, now, why=why[item.name]) for item in cluster.barmans)
    parts = Topology(cluster.name, now, tuple(nodes), tuple(pgpools), tuple(barmans))
    return named(cluster, replace(parts, certificates=_certificates(cluster, parts, ask_tls)))


def _certificates(cluster: Cluster, parts: Topology, ask: AskCertificate) -> tuple[CertificateSeen, ...]:
    """What the hosts show, and the authority's own. Asked when all else has answered, and not of hosts that are gone: a busy
    machine has its limit for what matters more."""
    every: tuple[NodeView | PgpoolView | BarmanSeen, ...] = (*parts.nodes, *parts.pgpools, *parts.barmans)
    why = {item.name: item.why for item in every}
    there = [host for host in cluster.hosts if not why[host.name] or _SPOKE.search(why[host.name])]
    said, _failed = gather({host.name: partial(ask, cluster, host) for host in there}, CERTIFICATES)
    return (own_authority(), *(said.get(host.name) or CertificateSeen(host.name) for host in cluster.hosts))
