# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Coming back as a standby: follow where that is enough, else rewind, else clone; what only this node had is kept.

Nothing here decides who is primary: it is told. A half-rewound or half-cloned data directory is marked, and the start
guard refuses it.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable

from ..errors import Conflict, PgherdError
from ..files.conf_postgres import configuration_directory, data_directory, unit
from ..model import Cluster, Node, int_to_lsn, lsn_to_int
from ..nodes.mark import MARK, STOPPED, STRAY, mark, marked, unmark
from ..nodes.node_apply import Executor
from ..ports.run import Runner
from ..ports.service import Service
from ..ports.sql import conninfo
from ..programs.repmgr import binary_directory, record_standby, streaming_conninfo
from . import datadir, wal
from .diverged import history_of
from .keep import Keeper
from .links import Links, session
from .postmaster import kill_postmaster, stop_postmaster
from .seal import make_slot
from .voice import parameters
from .wait import says, streams, until

# Seconds for a rewind, for a server to stop before it is killed, and for it to stream in the end.
REWIND, STOP, STREAM = 3600.0, 15.0, 60.0


class Rejoin:
    """Brings *me* back below *target*, the primary."""

    def __init__(
        self,
        cluster: Cluster,
        me: str,
        version: int,
        runner: Runner,
        service: Service,
        links: Links,
        say: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._me = cluster.node(me)
        self._version = version
        self._runner = runner
        self._service = service
        self._links = links
        self._say = say
        self._directory = data_directory(cluster, version)
        self._keeper = Keeper(cluster, me, version, self._directory, runner, links, say)

    def run(self, target: str) -> str:
        """Do it, and return what it was: ``rewind`` or ``clone``. Raises PgherdError with what failed, Conflict when it is
        being done already: the agent and a playbook may both see the need."""
        handle = os.open(os.path.dirname(MARK), os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return self._run(target)
        except BlockingIOError as error:
            raise Conflict(f"Bring {self._me.name} back", "nobody else at it", "an attempt at work") from error
        finally:
            os.close(handle)

    def _run(self, target: str) -> str:
        source = self._cluster.node(target)
        begun = marked()
        # Stopped by us and not by a person: whatever happens now, the agent comes back to it.
        mark(begun or f"{STOPPED} to come back below {target}")
        self._stop()
        reason = self._unusable(source, begun) or self._rewind(source) or self._wal_gone(source)
        if reason:
            self._say(f"rejoin: {self._me.name} is cloned from {target}: {reason}")
            mark(f"clone from {target}")
            maker = Executor(self._cluster, self._me.name, self._version, self._runner, self._service, 120.0)
            maker.clone(target, wipe=True)
        self._follow(source)
        unmark()
        # Not waited for: a recovery that lacks WAL never ends its start.
        self._service.start(unit(self._version), wait=False)
        self._stream(target)
        return "clone" if reason else "rewind"

    def _unusable(self, source: Node, begun: str) -> str:
        """Why the data here, with the note *begun* on them, have to be cloned anew; '' when they may be rewound. What only
        they have is kept first, where they are whole."""
        if begun and not begun.startswith((STOPPED, STRAY)):
            return f"an earlier attempt was interrupted ({begun})"
        reason = self._cannot_rewind(source)
        if not reason and begun.startswith(STRAY):
            self._keeper.run(source, datadir.local(self._directory, self._version, self._runner), stray=True)
            reason = f"it was {begun}"
        return reason

    def _stop(self) -> None:
        """Stop the server; one that does not stop in time is killed."""
        if not stop_postmaster(self._directory, STOP):
            self._say(f"rejoin: {self._me.name} does not stop; its postmaster is killed")
            kill_postmaster(self._directory)
        self._service.stop(unit(self._version), timeout=60.0)

    def _cannot_rewind(self, source: Node) -> str:
        """Why the data here cannot be rewound to *source*; '' when they can."""
        if not os.path.exists(os.path.join(self._directory, "PG_VERSION")):
            return "there is no cluster in its data directory"
        with session(self._links, source.name) as server:
            theirs = server.rows("SELECT system_identifier::text AS id FROM pg_control_system()")
        mine = datadir.local(self._directory, self._version, self._runner)
        if theirs[0]["id"] != mine.system_id:
            raise PgherdError(
                f"rejoin {self._me.name}: its data are of another cluster (system identifier {mine.system_id}, and "
                f"{theirs[0]['id']} on {source.name}).",
                "If its data may go, name the host in cluster_wipe and run the site playbook.",
            )
        return ""

    def _rewind(self, source: Node) -> str:
        """Keep what only this node has, and rewind; why that failed, or ''."""
        mine = datadir.local(self._directory, self._version, self._runner)
        if self._keeper.run(source, mine):
            # pg_rewind takes them for the same, and does nothing.
            return f"it and {source.name} have each begun a timeline {mine.timeline} of their own"
        mark(f"rewind to {source.name}")
        # pg_rewind recovers a server that has crashed by itself, but not as a standby.
        for name in (datadir.SIGNAL, "recovery.signal"):
            if os.path.exists(os.path.join(self._directory, name)):
                os.unlink(os.path.join(self._directory, name))
        wanted = {**parameters(self._cluster, source)}
        del wanted["options"]
        argv = [
            f"{binary_directory(self._version)}/pg_rewind",
            f"--target-pgdata={self._directory}",
            f"--source-server={conninfo(wanted)}",
            f"--config-file={configuration_directory(self._version)}/postgresql.conf",
        ]
        done = self._runner.run(argv, user="postgres", timeout=REWIND)
        said = " ".join((done.err or done.out).split())
        if done.rc:
            return f"it cannot be rewound: {said[-400:]}"
        self._say(f"rejoin: {self._me.name} was rewound to {source.name}: {said[-200:]}")
        return ""

    def _wal_gone(self, source: Node) -> str:
        """Whether *source* no longer has WAL that recovery here needs; which, or ''. A backup_label (pg_rewind writes
        one) says where that begins, else the last checkpoint does."""
        redo = datadir.local(self._directory, self._version, self._runner).redo
        label = os.path.join(self._directory, "backup_label")
        if os.path.exists(label):
            with open(label, encoding="utf-8") as stream:
                match = re.search(r"START WAL LOCATION: ([0-9A-F]+/[0-9A-F]+)", stream.read())
            redo = lsn_to_int(match.group(1)) if match else redo
        with session(self._links, source.name) as server:
            theirs = wal.held(server)
            history = history_of(server, theirs.timeline)
        wanted = wal.needed(self._directory, redo, theirs, history)
        if wanted >= theirs.oldest:
            return ""
        begin, has = int_to_lsn(wanted * theirs.size), int_to_lsn(theirs.oldest * theirs.size)
        return f"it needs WAL from {begin} on, and {source.name} has it from {has} on only"

    def _follow(self, source: Node) -> None:
        slot = self._me.slot if self._cluster.replication_slots else ""
        if slot:
            with session(self._links, source.name) as server:
                make_slot(server, slot)
        datadir.make_standby(self._directory, streaming_conninfo(self._cluster, self._me, source), slot)

    def _stream(self, target: str) -> None:
        """Wait until it streams, and write its row."""
        until(
            lambda: says(self._links, self._me.name, streams),
            STREAM,
            f"rejoin {self._me.name}: it does not stream from {target}",
            f"Its reason: journalctl -u {unit(self._version)} -n 50",
            0.2,
        )
        with session(self._links, target) as server:
            record_standby(server, self._me.id, self._cluster.node(target).id)
