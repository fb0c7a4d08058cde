# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Observes a pgpool and the servers behind it once, and carries out the plan of backends.py with deadlines."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import CommandError, ConfigError, PgherdError
from ..model import Cluster, Node
from ..observe.sessions import Sessions
from ..observe.topology import Topology
from ..plan import Plan
from ..ports import hostfiles
from ..ports.services import AGENT, PGPOOL, Services
from ..ports.wait import last_look
from ..programs.pgpool import NodeInfo, Pcp
from ..programs.pgpool_settings import parse_configuration
from ..render.backend_list import Backend, configure, parse_backends
from .backends import MISSES, Streaks, decide, demand, foresee, has_enough_backends, has_write_node, plan
from .watch import ServersWatch


def cluster_of(backends: Mapping[int, Backend]) -> Cluster:
    """The servers behind *backends* as a cluster of nodes, each called by its own name or its host."""
    return Cluster(
        "backends",
        tuple(Node(node_name(backend), number, "postgres", backend.host) for number, backend in backends.items()),
    )


def node_name(backend: Backend) -> str:
    """The backend's name among nodes: its host, and the port where that is not PostgreSQL's."""
    return backend.host if backend.port == 5432 else f"{backend.host}:{backend.port}"


def ask_servers(
    backends: Mapping[int, Backend], login: Mapping[str, Any], sleep: Callable[[float], None] = time.sleep
) -> tuple[Topology, Streaks]:
    """What the servers behind *backends* say; one that is silent is asked MISSES times."""
    sessions = Sessions(
        {node_name(item): {**login, "host": item.host, "port": item.port} for item in backends.values()}
    )
    watch = ServersWatch(cluster_of(backends), sessions, described=False)
    try:
        truth, streaks = watch.look(time.monotonic())
        for _again in range(MISSES - 1):
            if all(node.postgres for node in truth.nodes):
                break
            sleep(1.0)
            truth, streaks = watch.look(time.monotonic())
        return truth, streaks
    finally:
        sessions.close()


@dataclass(frozen=True)
class Request:
    """What is asked of a pgpool: *state* ``observed``, ``attached`` or ``detached`` of *backends* (as parse_backends()
    takes them; None for all that it has and *config* names), whose lines in *config* are made so, unless that is ''."""

    state: str = "observed"
    backends: Any = None
    config: str = ""
    restart: bool = False


def plan_request(request: Request, pcp: Pcp, login: Mapping[str, Any]) -> Plan:
    """Look at pgpool and all servers behind it, and plan what makes *request* so.

    A backend that pgpool is still to be given is planned for as if it had it. Raises ConfigError, Conflict, and what
    Pcp.nodes() raises.
    """
    table = pcp.nodes()
    wanted = parse_backends(request.backends) if request.backends is not None else []
    there = {number: Backend(number, node.host, node.port) for number, node in table.items()}
    if request.backends is None:
        # pgpool keeps one that has left until it is restarted.
        configured = parse_configuration(_read(request.config)) if request.config else None
        wanted = [
            item for item in there.values() if configured is None or f"backend_hostname{item.number}" in configured
        ]
    everything = {**there, **{item.number: item for item in wanted}}
    first = _configuration(request, table, wanted)
    given = {
        item.number: NodeInfo(item.number, item.host, item.port, "down")
        for item in wanted
        if item.number not in table or table[item.number].host != item.host
    }
    table = {**table, **given}
    names = {number: node_name(item) for number, item in everything.items()}
    truth, streaks = ask_servers(everything, login)
    if request.state == "observed":
        numbers = {item.number for item in wanted}
        changes = [item for item in decide(names, table, truth, streaks) if item.number in numbers]
        if any(item.action == "promote" for item in changes):
            changes += [
                item for item in decide(names, foresee(table, changes), truth, streaks) if item.number in numbers
            ]
    else:
        changes = demand(request.state, wanted, names, table, truth)
    second = plan(pcp.where, table, changes)
    before = {**first.before, **second.before}
    return Plan(second.subject, before, {**first.after, **second.after}, first.steps + second.steps)


def _configuration(request: Request, table: Mapping[int, NodeInfo], wanted: Sequence[Backend]) -> Plan:
    if request.backends is None:
        return Plan("pgpool.conf", {}, {})
    if not request.config:
        wrong = [
            f"Backend {item.number}: pgpool does not have {item.host}:{item.port} as that; name its file in config."
            for item in wanted
            if item.number not in table or (table[item.number].host, table[item.number].port) != (item.host, item.port)
        ]
        if wrong:
            raise ConfigError(wrong)
        return Plan("pgpool.conf", {}, {})
    text = _read(request.config)
    return configure(table, text, request.config, wanted, request.restart)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except OSError as error:
        raise PgherdError(f"read {path}: {error.strerror}.", "Name pgpool's file in config.") from error


class BackendExecutor:
    """Runs the steps, and waits at most *timeout* seconds for each one's effect as PCP shows it."""

    def __init__(
        self,
        pcp: Pcp,
        services: Services,
        timeout: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pcp = pcp
        self._services = services
        self._timeout = timeout
        self._sleep = sleep
        self._clock = clock

    def write(self, path: str, text: str) -> None:
        """Replace pgpool.conf, keeping its owner and mode."""
        found = hostfiles.observe(path)
        kept = {key: found[key] for key in ("owner", "group", "mode")}
        hostfiles.Disk().write(hostfiles.File(path, text, **kept))

    def reload(self, numbers: tuple[int, ...]) -> None:
        """Make pgpool read its configuration and wait until it has the backends *numbers*."""
        self._pcp.reload()
        self._until(f"reload {PGPOOL}", lambda table: set(numbers) <= set(table))

    def restart(self, numbers: tuple[int, ...]) -> None:
        """Restart pgpool and wait until it has the backends *numbers*."""
        self._services.restart(PGPOOL, self._timeout)
        self._until(f"restart {PGPOOL}", lambda table: set(numbers) <= set(table))

    def attach(self, number: int) -> None:
        """Have pgpool use a backend."""
        self._tell("attach", number, lambda table: table[number].attached)

    def detach(self, number: int) -> None:
        """Have pgpool stop using a backend."""
        self._tell("detach", number, lambda table: not table[number].attached)

    def promote(self, number: int) -> None:
        """Tell pgpool which backend is the primary."""
        self._tell("promote", number, lambda table: table[number].role == "primary")

    def wait_for(self, minimum: int, wait: bool = True) -> Mapping[int, NodeInfo]:
        """Wait until pgpool uses *minimum* backends, the primary among them; return its table. Without *wait* it must be so."""
        return self._until(
            f"wait for {minimum} backends with the primary",
            lambda table: minimum <= 0 or (has_enough_backends(table, minimum) and has_write_node(table)),
            self._timeout if wait else 0.0,
        )

    def _tell(self, verb: str, number: int, done: Callable[[Mapping[int, NodeInfo]], bool]) -> None:
        try:
            getattr(self._pcp, verb)(number)
        except CommandError:
            # Somebody else, such as the agent beside it, was quicker.
            if not done(self._pcp.nodes()):
                raise
        self._until(f"{verb} backend {number}", done)

    def _until(
        self, what: str, done: Callable[[Mapping[int, NodeInfo]], bool], timeout: float | None = None
    ) -> Mapping[int, NodeInfo]:
        timeout = self._timeout if timeout is None else timeout
        table: Mapping[int, NodeInfo] = {}
        why = ""

        def so() -> bool:
            nonlocal table, why
            try:
                table = self._pcp.nodes()
                return done(table)
            except (PgherdError, KeyError) as error:
                why = f" ({error})"
                return False

        if last_look(so, bool, timeout, 0.2, self._clock, self._sleep):
            return table
        shown = ", ".join(f"{at} {node.host} {node.status} {node.role}" for at, node in table.items())
        raise PgherdError(
            f"{what}: not so after {timeout:g} s{why}; pgpool has: {shown or 'nothing'}.",
            f"Its reason: {self._services.log(PGPOOL, AGENT)}",
        )
