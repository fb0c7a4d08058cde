# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's part on a data node: fences it, keeps it a good standby, elects where repmgrd does not, keeps slots.

A tick asks all nodes through sessions that stay open, lets the pure functions of failover/ decide, and acts. What takes
longer than a moment (a promotion, coming back) runs beside it, one at a time; fencing waits for nothing.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

from ..errors import PgherdError
from ..failover import command, datadir, fence, standby, start
from ..failover.election import rank
from ..failover.handover import END_SESSIONS
from ..failover.links import Links, real, session
from ..failover.memory import Memory, chain, enough, real_primary
from ..failover.promote import Promotion
from ..failover.rejoin import Rejoin, kill_postmaster, stop_postmaster
from ..failover.seal import make_slot, move
from ..failover.voice import ASKING, QUERY, Round, Voice, voice
from ..files.conf_postgres import data_directory, unit
from ..model import CLUSTER_FILE, SYSTEM_ROLES, Cluster, Node
from ..nodes.mark import STOPPED, mark, marked, unmark
from ..pools.watch import Asker
from ..ports.run import LocalRunner, Runner
from ..ports.service import Service, SystemdService
from ..programs.repmgr import parse_conninfo, streaming_conninfo
from .command_part import CommandPart, Run
from .loop import Decision, Part, log
from .seen import NO_VERDICT, NodeSeen
from .upkeep import Upkeep

# Seconds within which a node must answer; from one look at a silent unit to the next.
LIMIT, UNIT = 1.5, 1.0


class NodePart:
    """See the module."""

    name = "node"
    interval = 0.5

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
        self._log = say
        self._cluster = cluster
        self._me = me
        self._node: Node = cluster.node(me)
        self._version = version
        self._asker = asker
        self._links = links
        self._runner = runner
        self._service = service
        self._memory = Memory(cluster, me)
        self._system_id = ""
        self._leaderless = 0.0
        self._job: threading.Thread | None = None
        self._job_ended = float("-inf")
        self._unit_at = float("-inf")
        self._unit = self._waits = ""
        self._decided: dict[str, float] = {}
        self._view: NodeSeen | None = None
        self._told = _written(CLUSTER_FILE)
        self._upkeep = Upkeep(cluster, self._node, links, service, self._memory, self._say)

    def tick(self, now: float) -> Sequence[Decision]:
        """See loop.Part."""
        round_ = self._look(now)
        mine = round_.voices.get(self._me)
        if mine is None or mine.in_recovery:
            self._show(now, round_)
        if mine is None:
            self._down(now, round_)
        elif not mine.in_recovery:
            self._primary(now, mine, round_)
        else:
            self._standby(now, mine, round_)
        if mine is not None and not self._busy():
            self._upkeep.tick(now, mine, round_, self._real(now, round_))
        return ()

    def view(self) -> NodeSeen | None:
        """What the last tick saw, None before the first; may be called from any thread."""
        return self._view

    def close(self) -> None:
        """See loop.Part."""
        self._asker.close()

    def _show(self, now: float, round_: Round, verdict: fence.Verdict = NO_VERDICT) -> None:
        """Let others see what was seen, before anything is done about it."""
        job = self._job.name if self._job and self._busy() else ""
        backed = self._memory.backed(now, self._me)
        self._view = NodeSeen(now, self._me, round_, self._real(now, round_), backed, verdict, job, dict(self._decided))

    # Looking.

    def _look(self, now: float) -> Round:
        rows, failed = self._asker.ask(QUERY, LIMIT)
        round_ = Round({name: voice(name, row) for name, row in rows.items()}, failed)
        mine = round_.voices.get(self._me)
        if mine:
            self._system_id = mine.system_id
        self._memory.look(now, round_)
        found = real_primary(self._cluster, self._memory, now, round_, self._system_id)
        if found:
            self._memory.primary = found.name
        self._leaderless = self._memory.lasts("missed", now, found is None)
        return round_

    def _real(self, now: float, round_: Round) -> str:
        found = real_primary(self._cluster, self._memory, now, round_, self._system_id)
        return found.name if found else ""

    def leaderless(self) -> float:
        """For how many seconds this node has seen no primary; 0.0 when it sees one. Read by other threads."""
        return self._leaderless

    # Duties.

    def _primary(self, now: float, mine: Voice, round_: Round) -> None:
        backed = self._memory.backed(now, self._me)
        good = enough(self._cluster, backed, len(round_.voices))
        rival = self._rival(now, round_)
        seen = fence.Primary(
            self._me,
            mine.timeline,
            mine.read_only,
            backed,
            self._memory.lasts("alone", now, not good),
            self._memory.lasts("together", now, good),
            rival.name if rival else "",
            rival.timeline if rival else 0,
            len(self._memory.backed(now, rival.name)) if rival else 0,
            len(round_.voices),
            bool(mine.locked),
            self._left_behind(mine, round_),
        )
        # A switchover waits for the answers of this part.
        self.interval = 0.05 if mine.locked else 0.5
        if mine.stop_asked.startswith(ASKING) and not self._busy():
            heir = mine.stop_asked[len(ASKING) :]
            self._say(f"switchover: stops for {heir}")
            self._decided["switchover"] = time.time()
            self._show(now, round_, fence.Verdict("yield", f"to {heir}, which was asked for"))
            self._begin("switchover", lambda: self._give(heir))
            return
        verdict = fence.decide(self._cluster, seen)
        self._show(now, round_, verdict)
        if mine.read_only and not good:
            self._end_sessions()
        if not verdict.action or (verdict.action in ("yield", "retire") and self._busy()):
            return
        self._say(f"{verdict.action}: {verdict.why}")
        self._decided[verdict.action] = time.time()
        if verdict.action == "yield":
            self._begin("rejoin", lambda: self._come_back(seen.rival))
        elif verdict.action == "retire":
            self._begin("retire", lambda: self._give(""))
        elif verdict.action in ("fence", "lift"):
            self._fence(verdict.action == "fence")

    def _left_behind(self, mine: Voice, round_: Round) -> str:
        """A listed standby that is on a newer timeline than this primary; '' for none."""
        listed = self._cluster.electable_names
        return next(
            (
                name
                for name, voice in round_.voices.items()
                if name in listed
                and voice.in_recovery
                and voice.system_id == mine.system_id
                and voice.timeline > mine.timeline
            ),
            "",
        )

    def _rival(self, now: float, round_: Round) -> Voice | None:
        rest = round_.without(self._me)
        return real_primary(self._cluster, self._memory, now, rest, self._system_id)

    def _fence(self, shut: bool) -> None:
        """Refuse writes and end all clients' sessions, or let them in again. Raises nothing: what fails is said."""
        try:
            with session(self._links, self._me) as server:
                server.run(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if shut else 'off'}")
                server.run("SELECT pg_reload_conf()")
        except PgherdError as error:
            self._say(f"fence: failed: {' '.join(str(error).split())}")
            if shut:
                # A full disk, say. A server that cannot be told to refuse writes must not go on taking them.
                kill_postmaster(data_directory(self._cluster, self._version))
            return
        if shut:
            self._end_sessions()

    def _end_sessions(self) -> None:
        try:
            with session(self._links, self._me) as server:
                ended = server.rows(END_SESSIONS, (list(SYSTEM_ROLES),))
        except PgherdError as error:
            self._say(f"fence: sessions were not ended: {' '.join(str(error).split())}")
        else:
            if ended[0]["ended"]:
                self._say(f"fence: {ended[0]['ended']} sessions ended")

    def _standby(self, now: float, mine: Voice, round_: Round) -> None:
        primary = self._real(now, round_)
        heads = {name: chain(self._cluster, round_, name) for name in round_.voices}
        wanted = standby.wanted_upstream(self._cluster, self._me, primary, heads) if primary else ""
        head = heads.get(self._me, "")
        free = mine.sealed and not mine.locked
        astray = bool(primary) and head != primary and not mine.locked and not mine.sealed
        upstream = self._pointed_at() if astray else ""
        seen = standby.Standby(
            self._me,
            mine,
            primary,
            head,
            upstream,
            wanted,
            self._memory.lasts("sealed", now, free),
            self._memory.lasts("lost", now, astray),
            self._memory.lasts("stuck", now, astray and upstream == wanted and not mine.streaming),
            self._memory.lasts("leaderless", now, not primary and not mine.locked),
            rank(self._cluster, self._me, round_),
            self._me in self._cluster.electable_names,
            not primary or standby.may_follow(self._cluster, self._me, primary, round_),
        )
        self._do(now, standby.decide(seen))

    def _pointed_at(self) -> str:
        """The node that primary_conninfo names."""
        try:
            with session(self._links, self._me) as server:
                rows = server.rows("SELECT current_setting('primary_conninfo') AS conninfo")
        except PgherdError:
            return ""
        host = parse_conninfo(rows[0]["conninfo"]).get("host", "")
        return next((node.name for node in self._cluster.nodes if host in (node.address, node.ip, node.name)), "")

    def _down(self, now: float, round_: Round) -> None:
        if now - self._unit_at >= UNIT:
            self._unit_at = now
            self._unit = self._service.state(unit(self._version))
            self._waits = datadir.waits_for(data_directory(self._cluster, self._version))
        waits = self._waits if self._unit == "activating" else ""
        seen = standby.Down(
            self._me,
            self._unit,
            self._real(now, round_),
            marked(),
            self._memory.lasts("down", now, True),
            self._memory.lasts(f"waiting for {waits}", now, bool(waits)),
        )
        self._do(now, standby.decide_down(seen))

    def _do(self, now: float, duty: standby.Duty) -> None:
        if not duty.action or self._busy() or now - self._job_ended < standby.AGAIN:
            return
        jobs: dict[str, Callable[[], None]] = {
            "follow": lambda: self._follow(duty.target),
            "rejoin": lambda: self._come_back(duty.target),
            "elect": self._elect,
            "start": self._start,
        }
        target = f" {duty.target}" if duty.target else ""
        self._say(f"{duty.action}{target}: {duty.why}")
        self._decided[duty.action] = time.time()
        self._begin(duty.action, jobs[duty.action])

    # What is done.

    def _follow(self, target: str) -> None:
        upstream, slots = self._cluster.node(target), self._cluster.replication_slots
        if slots:
            with session(self._links, target) as server:
                make_slot(server, self._node.slot)
        wanted = streaming_conninfo(self._cluster, self._node, upstream)
        with session(self._links, self._me) as server:
            move(self._me, server, wanted, self._node.slot if slots else "")

    def _come_back(self, target: str) -> None:
        args = (self._cluster, self._me, self._version, self._runner, self._service, self._links, self._say)
        Rejoin(*args).run(target)

    def _give(self, heir: str) -> None:
        """Stop the primary, and start it as a standby of *heir*, or of nobody yet where that is ''."""
        mark(f"{STOPPED} to come back below {heir or 'whoever is primary'}")
        directory = data_directory(self._cluster, self._version)
        if not stop_postmaster(directory, 20.0):
            kill_postmaster(directory)
        self._service.stop(unit(self._version), timeout=60.0)
        node, slots = self._node, self._cluster.replication_slots
        conninfo = streaming_conninfo(self._cluster, node, self._cluster.node(heir)) if heir else ""
        datadir.make_standby(directory, conninfo, node.slot if slots else "")
        unmark()
        self._service.start(unit(self._version))
        self.interval = 0.5

    def _start(self) -> None:
        """Start as a standby that waits for a primary; the guard has the last word."""
        if marked():
            datadir.make_standby(data_directory(self._cluster, self._version), "", "")
            unmark()
        self._service.start(unit(self._version))

    def _elect(self) -> None:
        with closing(Promotion(self._cluster, self._me, self._memory.primary, self._links, self._say)) as promotion:
            promotion.run(patience=1.0)

    # Work beside the ticks.

    def _busy(self) -> bool:
        return self._job is not None and self._job.is_alive()

    def _begin(self, what: str, job: Callable[[], None]) -> None:
        def run() -> None:
            try:
                job()
            except PgherdError as error:
                self._say(f"{what}: failed: {' '.join(str(error).split())}")
            finally:
                self._job_ended = time.monotonic()

        self._job = threading.Thread(target=run, name=what, daemon=True)
        self._job.start()

    def _say(self, line: str) -> None:
        self._log(f"node: {line}")


def sessions(cluster: Cluster, me: str) -> Any:
    """Sessions on all nodes, on this host through its socket, as repmgr's role."""
    from ..failover.voice import local_parameters, parameters
    from ..observe.sessions import Sessions

    def target(node: Node) -> dict[str, Any]:
        given = local_parameters(cluster, node) if node.name == me else parameters(cluster, node)
        return {**given, "application_name": "pgherd agent"}

    return Sessions({node.name: target(node) for node in cluster.nodes})


def _written(path: str) -> float:
    """When a file was written, 0 where it is not there."""
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def parts(cluster: Cluster, me: str, version: int) -> list[Part]:
    """What the agent runs on the node *me* with PostgreSQL *version*: the node itself unless it only votes, and an ear for
    repmgrd's commands."""
    runner = LocalRunner()
    service = SystemdService(runner, command.SUDO)
    links = real(cluster, me, lambda: service.stop(unit(version)))
    node = NodePart(cluster, me, version, sessions(cluster, me), links, runner, service)
    commands: dict[str, Run] = {
        "validate": lambda say, _asked: command.validate(cluster, me, links, say, node.leaderless()),
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
