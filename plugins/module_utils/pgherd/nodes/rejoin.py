# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Coming back as a standby: follow where that is enough, else rewind, else clone; what only this node had is kept.

Nothing here decides who is primary: it is told. A half-rewound or half-cloned data directory is marked, and the start
guard refuses it. No recovery is ended here: pg_rewind wants a server that was shut down, and would recover one that was not
as a primary does, with a checkpoint of its own where the primary has other records. Such a server is started as a standby of
nobody, as its service and under the guard, and shut down.
"""

from __future__ import annotations

import os
import re
import time

from ..data import datadir, incarnation, wal
from ..data.clone import vacant
from ..data.datadir import BROKEN, Local
from ..data.diverged import history_of
from ..data.foreign_wal import foreign
from ..data.last_words import said
from ..data.postmaster import kill_postmaster, stop_postmaster
from ..data.rejoin_marker import STOPPED, STRAY, alone, mark, marked, unmark
from ..data.salvage import Salvage
from ..data.twins import OWN, UNTOLD, Stored, parted
from ..data.unfinished import backup_of, size, whole
from ..errors import PgherdError
from ..model import Node, int_to_lsn, lsn_to_int
from ..objects.identity import admitted, renamed
from ..objects.orders import make_slot, streams
from ..observe.identity import counted
from ..observe.node_state import ask
from ..ports.directories import as_owner
from ..ports.here import Here
from ..ports.links import says, session
from ..ports.services import FAILED, POSTGRES
from ..ports.sql import conninfo
from ..ports.wait import until
from ..programs.postgres import control_data
from ..programs.repmgr import record_standby, streaming_conninfo
from ..programs.sessions import parameters
from .first import broken, strange
from .node_apply import NodeExecutor
from .verdict import CLONE

# Seconds for a rewind, for a server to stop before it is killed, to read its own WAL, to wait for some that is not there,
# and to stream in the end.
REWIND, STOP, RECOVER, WAITS, STREAM = 3600.0, 15.0, 3600.0, 20.0, 60.0
# How the note begins where the data are whole, and must never be started again as they are; how the reason begins where all that
# they have on the last timeline is to be kept; how the note ends once that is.
ALONE, ALL, KEPT = (STRAY, OWN), (OWN, UNTOLD), " (its WAL is kept)"


# libpq's words where pg_rewind cannot even begin.
_UNREACHED = re.compile(r"connection to server .* failed|could not translate host name")


class Rejoin:
    """Brings this node back below *target*, the primary."""

    def __init__(self, here: Here) -> None:
        self._here = here
        self._cluster = here.cluster
        self._me = here.node
        self._services = here.services
        self._links = here.links
        self._say = here.say
        self._directory = here.layout.data
        self._keeper = Salvage(here)

    def run(self, target: str, useless: str = "") -> str:
        """Do it, and return what it was: ``rewind`` or ``clone``. *useless*: why the data here cannot be used, where that is
        known. Raises PgherdError with what failed, Conflict when it is being done already: the agent and a playbook may both
        see the need; InTheWay where the data have to be cloned, and that would fail on what is here."""
        with alone(self._me.name):
            return self._run(target, useless)

    def _run(self, target: str, useless: str) -> str:
        source = self._cluster.node(target)
        begun = marked()
        # Stopped by us and not by a person: whatever happens now, the agent comes back to it. What has WAL of its own it must not
        # start in the meantime: that would count in an election.
        if useless.startswith(ALONE) and (not begun or begun.startswith(STOPPED)):
            begun = useless
        mark(begun or self._stopped(target))
        self._stop()
        reason = self._unusable(source, begun, useless) or self._shut_down(source) or self._parted(source)
        reason = reason or self._rewind(source) or self._wal_gone(source)
        if reason:
            maker = NodeExecutor(self._here, 120.0)
            maker.may_clone(target, wipe=True)
            self._say(f"rejoin: {self._me.name} is cloned from {target}: {reason}")
            maker.copy(target, wipe=True)
        self._follow(source)
        unmark()
        # Not waited for: a recovery that lacks WAL never ends its start.
        self._services.start(POSTGRES, wait=False)
        self._stream(target)
        return "clone" if reason else "rewind"

    def _stopped(self, target: str) -> str:
        return f"{STOPPED} to come back below {target}"

    def _unusable(self, source: Node, begun: str, useless: str) -> str:
        """Why the data here, with the note *begun* on them, have to be cloned anew; '' when they may be rewound. What only
        they have is kept first, where they are whole."""
        if begun and not begun.startswith((STOPPED, *ALONE)):
            return f"an earlier attempt was interrupted ({begun})"
        reason = self._cannot_rewind(source)
        if reason:
            return reason
        mine = datadir.local(self._here.layout, self._here.runner)
        if begun.startswith(ALONE):
            self._keep(source, mine, begun, stray=True)
            said = begun.replace(KEPT, "")
            return f"it was {said}" if said.startswith(STRAY) else said
        with session(self._links, source.name) as server:
            elsewhere = foreign(self._here.layout, mine, server, self._here.runner)
        if elsewhere or useless:
            stray, note = useless.startswith(ALL), begun or self._stopped(source.name)
            self._keep(source, mine, note, stray, since=mine.redo if elsewhere else None)
        return elsewhere or useless

    def _keep(self, source: Node, mine: Local, note: str, stray: bool, since: int | None = None) -> None:
        """Keep what only they have before a clone, once, and not before that can begin: it is tried again and again."""
        NodeExecutor(self._here, 120.0).may_clone(source.name, wipe=True)
        if not note.endswith(KEPT):
            self._keeper.run(source, mine, stray=stray, since=since)
            mark(f"{note}{KEPT}")

    def _parted(self, source: Node) -> str:
        """Why the WAL here, which is read to its end, is none of *source*'s up to where by the numbers of their timelines they
        part; '' where it is. pg_rewind sees nothing but these numbers."""
        found = control_data(self._here.layout, self._here.runner)
        mine = datadir.judged(self._here.layout, found)
        end = max(mine.checkpoint, lsn_to_int(found["Minimum recovery ending location"]))
        with session(self._links, source.name) as server:
            now = ask(source.name, server).timeline
            own = parted(end, mine.timeline, Stored(self._directory), server, now)
        if own:
            note = own if own.startswith(ALONE) else self._stopped(source.name)
            mark(note)
            self._keep(source, mine, note, stray=True)
        return own

    def _shut_down(self, source: Node) -> str:
        """Have the data be those of a server that was shut down; why they cannot be, or ''. Raises PgherdError with the
        server's own words where it does not start: that is mended by its cause, and costs no copy."""
        mine = datadir.local(self._here.layout, self._here.runner)
        if mine.clean:
            return ""
        gone = self._wal_gone(source) if mine.recovering else ""
        if gone:
            return gone
        self._say(
            f"rejoin: {self._me.name} was not shut down ({mine.state}); it is started as a standby of nobody for that"
        )
        datadir.make_standby(self._directory, "", "")
        unmark()
        self._services.start(POSTGRES, wait=False)
        reason = self._read_to_its_end()
        mark(self._stopped(source.name))
        self._stop()
        if reason:
            return reason
        left = datadir.local(self._here.layout, self._here.runner)
        if not left.clean:
            raise PgherdError(
                f"rejoin {self._me.name}: its server does not shut down ({left.state}).", "It is tried again."
            )
        return ""

    def _read_to_its_end(self) -> str:
        """Wait until the server has read all its own WAL; why it never will, or ''. Raises PgherdError where it fails."""
        attempted, waits_since, begun = f"rejoin {self._me.name}", 0.0, time.monotonic()
        while not says(self._links, self._me.name, lambda server: ask(self._me.name, server).settled):
            now = time.monotonic()
            words = said(self._here.layout)
            if self._services.state(POSTGRES) == FAILED:
                cure = f"Mend that; it is tried again. More: {self._services.log(POSTGRES)}"
                raise PgherdError(f"{attempted}: it fails to start: {words or 'its log does not say why'}.", cure)
            waits_since = (waits_since or now) if wal.recovering(self._directory)[1] else 0.0
            if waits_since and now - waits_since > WAITS:
                return "its recovery needs WAL that it does not have"
            if now - begun > RECOVER:
                raise PgherdError(
                    f"{attempted}: it has not read its own WAL within {RECOVER:g} s.", "It is tried again."
                )
            time.sleep(0.2)
        return ""

    def _stop(self) -> None:
        """Stop the server; one that does not stop in time is killed."""
        if not stop_postmaster(self._directory, STOP):
            self._say(f"rejoin: {self._me.name} does not stop; its postmaster is killed")
            kill_postmaster(self._directory)
        self._services.stop(POSTGRES, timeout=60.0)

    def _cannot_rewind(self, source: Node) -> str:
        """Why the data here cannot be rewound to *source*; '' when they can."""
        if size(self._directory, "PG_VERSION") < 0:
            if self._vacant():
                return "there is no cluster in its data directory"
            raise strange(self._me.name).conflict or PgherdError(self._me.name)
        with session(self._links, source.name) as server:
            theirs = server.rows("SELECT system_identifier::text AS id FROM pg_control_system()")
        if not whole(self._directory):
            copied = Local(False, backup_of(self._directory), 0, data=BROKEN)
            verdict = broken(self._me.name, copied, (), (theirs[0]["id"],))
            if verdict.done == CLONE:
                return verdict.why
            raise verdict.conflict or PgherdError(f"rejoin {self._me.name}: {verdict.why}")
        mine = datadir.local(self._here.layout, self._here.runner)
        if theirs[0]["id"] != mine.system_id:
            raise PgherdError(
                f"rejoin {self._me.name}: its data are of another cluster (system identifier {mine.system_id}, and "
                f"{theirs[0]['id']} on {source.name}).",
                "If its data may go, name the host in cluster_wipe and run the site playbook.",
            )
        return ""

    def _vacant(self) -> bool:
        try:
            with as_owner(self._directory):
                return vacant(os.listdir(self._directory))
        except FileNotFoundError:
            return True
        except OSError as error:
            raise PgherdError(
                f"look into {self._directory}: {error.strerror}.", "Mend its rights or its disk."
            ) from error

    def _rewind(self, source: Node) -> str:
        """Keep what only this node has, and rewind; why that failed, or ''."""
        mine = datadir.local(self._here.layout, self._here.runner)
        if self._keeper.run(source, mine):
            # pg_rewind takes them for the same, and does nothing.
            return f"it and {source.name} have each begun a timeline {mine.timeline} of their own"
        mark(f"rewind to {source.name}")
        wanted = {**parameters(self._cluster, source)}
        del wanted["options"]
        argv = [
            f"{self._here.layout.programs}/pg_rewind",
            f"--target-pgdata={self._directory}",
            f"--source-server={conninfo(wanted)}",
            "--no-ensure-shutdown",
        ]
        done = self._here.runner.run(argv, user="postgres", timeout=REWIND)
        answer = " ".join((done.err or done.out).split())
        if done.rc and _UNREACHED.search(answer):
            # Before it has changed anything; the data are as good as they were.
            mark(self._stopped(source.name))
            raise PgherdError(f"rejoin {self._me.name}: pg_rewind does not reach {source.name}: {answer[-400:]}")
        if done.rc:
            return f"it cannot be rewound: {answer[-400:]}"
        self._say(f"rejoin: {self._me.name} was rewound to {source.name}: {answer[-200:]}")
        return ""

    def _wal_gone(self, source: Node) -> str:
        """Whether *source* no longer has WAL that recovery here needs; which, or ''. A backup_label (pg_rewind writes
        one) says where that begins, else the last checkpoint does."""
        redo = datadir.local(self._here.layout, self._here.runner).redo
        label = os.path.join(self._directory, "backup_label")
        if os.path.exists(label):
            with as_owner(self._directory), open(label, encoding="utf-8") as stream:
                match = re.search(r"START WAL LOCATION: ([0-9A-F]+/[0-9A-F]+)", stream.read())
            redo = lsn_to_int(match.group(1)) if match else redo
        with session(self._links, source.name) as server:
            theirs = wal.available_wal(server)
            history = history_of(server, theirs.timeline)
        wanted = wal.needed(self._directory, redo, theirs, history)
        if wanted >= theirs.oldest:
            return ""
        begin, has = int_to_lsn(wanted * theirs.size), int_to_lsn(theirs.oldest * theirs.size)
        return f"it needs WAL from {begin} on, and {source.name} has it from {has} on only"

    def _follow(self, source: Node) -> None:
        slot = self._me.slot if self._cluster.replication_slots else ""
        with session(self._links, source.name) as server:
            if slot:
                make_slot(server, slot)
            theirs = ask(source.name, server)
        # A rewind has brought the source's settings, and with them whose data they are.
        own, me = incarnation.current(self._directory).shown, self._me.name
        new = counted(self._cluster, me) and not admitted(me, own, theirs.members)
        conninfo_ = renamed(streaming_conninfo(self._cluster, self._me, source), me, new)
        datadir.make_standby(self._directory, conninfo_, slot, str(own))

    def _stream(self, target: str) -> None:
        """Wait until it streams, and write its row."""
        until(
            lambda: says(self._links, self._me.name, streams),
            STREAM,
            f"rejoin {self._me.name}: it does not stream from {target}",
            f"Its reason: {self._services.log(POSTGRES)}",
            0.2,
        )
        with session(self._links, target) as server:
            record_standby(server, self._me.id, self._cluster.node(target).id)
