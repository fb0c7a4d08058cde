# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Brings a running Pgpool-II to the files as they stand: by nothing, by a reload, or by a restart where it needs one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..errors import CommandError, PgherdError, Unreachable
from ..model import PGPOOL_ROLE, SERVER_CERT_FILE
from ..plan import Plan, Step
from ..ports.directories import around
from ..ports.services import PGPOOL, RUNNING, Services
from ..ports.wait import last_look
from ..programs.pgpool import CONFIGURATION, HBA, LOADED, PASSWORDS, NodeInfo, Pcp, password_entries
from ..programs.pgpool_settings import needs_restart, parse_configuration
from ..render.backend_list import label

CURRENT = "running with the files as they stand"
FILES = (CONFIGURATION, PASSWORDS, HBA, SERVER_CERT_FILE)


@dataclass(frozen=True)
class PgpoolState:
    """What stands and what the running pgpool has read, by path; None where a file is missing. *nodes* is its table."""

    active: bool
    standing: Mapping[str, str | None] = field(repr=False)
    loaded: Mapping[str, str | None] = field(repr=False)
    nodes: Mapping[int, NodeInfo] = field(default_factory=dict)


def observe(services: Services, pcp: Pcp) -> PgpoolState:
    """The service on this host. Its table is left empty when PCP does not answer."""
    active = services.state(PGPOOL) == RUNNING
    nodes: Mapping[int, NodeInfo] = {}
    if active:
        try:
            nodes = pcp.nodes()
        except PgherdError:
            nodes = {}
    return PgpoolState(
        active,
        {path: _read(path) for path in FILES},
        {path: _read(os.path.join(LOADED, os.path.basename(path))) for path in FILES},
        nodes,
    )


def _read(path: str) -> str | None:
    try:
        with around(path) as (place, name):
            return place.read(name).decode(errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PgherdError(f"read {path}: {error.strerror}.", "Look at what stands there.") from error


def plan(state: PgpoolState, pending: Mapping[str, str | None] | None = None) -> Plan:
    """What to do. *pending*: files that check mode has not written, None for one whose content is secret."""
    standing = {**state.standing, **(pending or {})}
    hidden = {path for path, content in (pending or {}).items() if content is None}
    if not state.active:
        return _single(Step("start", f"start {PGPOOL}"), "stopped", "running")
    if any(state.loaded[path] is None for path in FILES):
        return _single(Step("restart", f"restart {PGPOOL}: it was not started as it is today"), "running", "running")
    differ = [path for path in FILES if path in hidden or state.loaded[path] != standing[path]]
    reasons = _reasons(state, standing, differ)
    if reasons:
        return _single(
            Step("restart", f"restart {PGPOOL}: {'; '.join(reasons)}"),
            _old(differ),
            "running with the files as they stand",
        )
    leaving = _leaving(state, standing[CONFIGURATION] or "")
    if not differ and not leaving:
        return Plan(PGPOOL, {}, {})
    steps = [
        Step("detach", f"detach {label(at, state.nodes[at].host)}: it is no longer configured", {"number": at})
        for at in leaving
    ]
    if differ:
        steps.append(Step("reload", f"reload {PGPOOL}: {', '.join(differ)} changed"))
    return Plan(PGPOOL, {"state": _old(differ)}, {"state": CURRENT}, tuple(steps))


def _single(step: Step, before: str, after: str) -> Plan:
    return Plan(PGPOOL, {"state": before}, {"state": after}, (step,))


def _old(paths: list[str]) -> str:
    return f"running with older {', '.join(paths)}" if paths else "running with other backends"


def _reasons(state: PgpoolState, standing: Mapping[str, str | None], differ: list[str]) -> list[str]:
    wanted = parse_configuration(standing[CONFIGURATION] or "")
    reasons = needs_restart(parse_configuration(state.loaded[CONFIGURATION] or ""), wanted)
    for number, node in state.nodes.items():
        host, port = wanted.get(f"backend_hostname{number}"), wanted.get(f"backend_port{number}", "5432")
        if host is not None and (host, port) != (node.host, str(node.port)) and not reasons:
            reasons.append(f"backend {number} is {node.host}:{node.port}, and should be {host}:{port}")
    if SERVER_CERT_FILE in differ:
        reasons.append("the certificate changes")
    if PASSWORDS in differ and standing[PASSWORDS] is not None:
        # Sessions read it anew; the process that looks for the primary does not.
        texts = (state.loaded[PASSWORDS], standing[PASSWORDS])
        old, new = (password_entries((text or "").splitlines()).get(PGPOOL_ROLE) for text in texts)
        if old != new:
            reasons.append(f"the password of {PGPOOL_ROLE} changes")
    return reasons


def _leaving(state: PgpoolState, text: str) -> list[int]:
    wanted = parse_configuration(text)
    return [at for at, node in state.nodes.items() if node.attached and f"backend_hostname{at}" not in wanted]


class PgpoolExecutor:
    """Carries it out; *timeout* bounds, in seconds, each wait for pgpool to answer PCP."""

    def __init__(
        self,
        services: Services,
        pcp: Pcp,
        timeout: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._services = services
        self._pcp = pcp
        self._timeout = timeout
        self._sleep = sleep
        self._clock = clock

    def start(self) -> None:
        """Start it; it waits until enough backends answer."""
        self._begin("start")

    def restart(self) -> None:
        """Restart it."""
        self._begin("restart")

    def reload(self) -> None:
        """Make it read its files."""
        self._services.reload(PGPOOL)

    def detach(self, number: int) -> None:
        """Stop using a backend."""
        self._pcp.detach(number)

    def _begin(self, verb: str) -> None:
        try:
            getattr(self._services, verb)(PGPOOL, self._timeout)
        except Unreachable as error:
            raise PgherdError(
                f"{verb} {PGPOOL}: it does not serve after {self._timeout:g} s.",
                f"It waits until cluster_pgpool_min_backends data nodes answer; who is missing: {self._services.log(PGPOOL)}",
            ) from error
        refused = last_look(self._refused, lambda error: error is None, self._timeout, 0.2, self._clock, self._sleep)
        if refused:
            raise refused

    def _refused(self) -> CommandError | Unreachable | None:
        """Why pgpool does not answer its own commands."""
        try:
            self._pcp.nodes()
        except (CommandError, Unreachable) as error:
            return error
        return None
