# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's part on a data node: fences it, keeps it a good standby, elects where repmgrd does not, keeps slots.

A tick asks all nodes through sessions that stay open, lets the pure functions of failover/ decide, and acts. What takes
longer than a moment (a promotion, coming back) runs beside it, one at a time; fencing waits for nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..failover import command, fence, start
from ..failover.election import Missed
from ..failover.links import Links, real
from ..failover.memory import Memory, real_primary
from ..failover.voice import QUERY, Round, local_parameters, parameters, voice
from ..files.conf_postgres import unit
from ..model import Cluster, Node
from ..observe.sessions import Sessions
from ..pools.watch import Asker
from ..ports.run import LocalRunner, Runner
from ..ports.service import Service, SystemdService
from .command_part import CommandPart, Run
from .loop import Decision, Part, log
from .primary_duty import PrimaryDuty
from .seen import NO_VERDICT, NodeSeen
from .standby_duty import StandbyDuty
from .upkeep import Upkeep
from .work import Here, Work

# Seconds within which a node must answer; from one look to the next, and while a switchover waits for this part.
LIMIT, INTERVAL, HURRY = 1.5, 0.5, 0.05


class NodePart:
    """See the module."""

    name = "node"

    def __init__(
        self,
        cluster: Cluster,
        me: str,
        version: int,
        asker: Asker,
        links: Links,
        runner: Runner,
        service: Service,
        say: Callable[[str], None] = log,
    ) -> None:
        self._cluster = cluster
        self._me = me
        self._asker = asker
        self._memory = Memory(cluster, me)
        self._system_id = ""
        self._leaderless = 0.0
        self._view: NodeSeen | None = None
        self.interval = INTERVAL

        def line(text: str) -> None:
            say(f"node: {text}")

        here = Here(cluster, cluster.node(me), version, self._memory, links, runner, service, line)
        self._work = Work(line)
        self._primary = PrimaryDuty(here, self._work)
        self._standby = StandbyDuty(here, self._work)
        self._upkeep = Upkeep(cluster, here.node, links, service, self._memory, line)

    def tick(self, now: float) -> Sequence[Decision]:
        """See loop.Part."""
        round_ = self._look(now)
        mine = round_.voices.get(self._me)
        primary = self._real(now, round_)
        if mine is not None and not mine.in_recovery:
            self.interval = HURRY if mine.locked else INTERVAL
            found = self._primary.look(now, mine, round_)
            self._show(now, round_, found.verdict)
            self._primary.act(found)
        else:
            self.interval = self.interval if self._work.name else INTERVAL
            self._show(now, round_)
            if mine is None:
                self._standby.down(now, primary)
            else:
                self._standby.run(now, mine, round_, primary)
        if mine is not None and not self._work.name:
            self._upkeep.tick(now, mine, round_, primary)
        return ()

    def view(self) -> NodeSeen | None:
        """What the last tick saw, None before the first; may be called from any thread."""
        return self._view

    def missed(self) -> Missed:
        """For how long this node has seen no primary, 0.0 when it sees one, and why. Read by other threads."""
        return Missed(self._leaderless, self._memory.heard(time.monotonic(), self._memory.primary))

    def close(self) -> None:
        """See loop.Part."""
        self._asker.close()

    def _show(self, now: float, round_: Round, verdict: fence.Verdict = NO_VERDICT) -> None:
        """Let others see what was seen, before anything is done about it."""
        backed, primary = self._memory.backed(now, self._me), self._real(now, round_)
        decided = dict(self._work.decided)
        self._view = NodeSeen(now, self._me, round_, primary, backed, verdict, self._work.name, decided)

    def _look(self, now: float) -> Round:
        rows, failed = self._asker.ask(QUERY, LIMIT)
        round_ = Round({name: voice(name, row) for name, row in rows.items()}, failed)
        mine = round_.voices.get(self._me)
        if mine:
            self._system_id = mine.system_id
        self._memory.look(now, round_)
        found = self._real(now, round_)
        if found:
            self._memory.primary = found
        self._leaderless = self._memory.lasts("missed", now, not found)
        return round_

    def _real(self, now: float, round_: Round) -> str:
        found = real_primary(self._cluster, self._memory, now, round_, self._system_id)
        return found.name if found else ""


def sessions(cluster: Cluster, me: str) -> Sessions:
    """Sessions on all nodes, on this host through its socket, as repmgr's role."""

    def target(node: Node) -> dict[str, Any]:
        given = local_parameters(cluster, node) if node.name == me else parameters(cluster, node)
        return {**given, "application_name": "pgherd agent"}

    return Sessions({node.name: target(node) for node in cluster.nodes})


def parts(cluster: Cluster, me: str, version: int) -> list[Part]:
    """What the agent runs on the node *me* with PostgreSQL *version*: the node itself unless it only votes, and an ear for
    repmgrd's commands."""
    runner = LocalRunner()
    service = SystemdService(runner, command.SUDO)
    links = real(cluster, me, lambda: service.stop(unit(version)))
    node = NodePart(cluster, me, version, sessions(cluster, me), links, runner, service)
    commands: dict[str, Run] = {
        "validate": lambda say, _asked: command.validate(cluster, me, links, say, node.missed()),
        "promote": lambda say, asked: command.promote(cluster, me, links, say, **asked),
        "follow": lambda say, asked: command.follow(cluster, me, links, say, **asked),
    }

    def guard(say: Callable[[str], None], _asked: Mapping[str, Any]) -> int:
        say(json.dumps(asdict(start.decide(cluster, me, version, links, runner))))
        return 0

    ear = CommandPart({**commands, "guard": guard})
    if cluster.node(me).kind == "witness":
        return [ear]
    return [ear, node]
