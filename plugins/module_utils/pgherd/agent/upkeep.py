# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a node keeps true about itself while all is well: others' slots, its row in repmgr's metadata, its repmgrd."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..description import read
from ..duties import slots
from ..errors import PgherdError
from ..model import CLUSTER_FILE, REPMGR_DATABASE, Cluster, aliases
from ..objects.identity import newcomer_name, renamed
from ..objects.orders import drop_slot, make_slot
from ..observe.node_state import NodeState, Survey
from ..observe.tracker import Tracker
from ..ports.here import Here
from ..ports.links import session
from ..ports.services import REPMGRD, RUNNING
from ..ports.sql import Server
from ..programs.repmgr import record_primary, record_standby, recorded, streaming_conninfo
from ..promotion.seal import move
from ..render.conf_barman import place

# Seconds from one look to the next.
INTERVAL = 5.0
# And from one look at this node's row in the metadata to the next, where it said what it still has to: a session for each took
# a sixth of what an idle agent costs.
RECORDED = 15.0
# Seconds for which repmgrd may not reach the upstream that its node streams from, before it is restarted.
OFF_UPSTREAM = 15.0


class Upkeep:
    """See the module. One line is said for each thing done, and for a fault once. *told*: the file that holds the cluster;
    while that is another one than this agent goes by, slots of unknown nodes are kept."""

    def __init__(self, here: Here, tracker: Tracker, told: str = CLUSTER_FILE) -> None:
        self._cluster = here.cluster
        self._node = here.node
        self._links = here.links
        self._services = here.services
        self._tracker = tracker
        self._say = here.say
        self._told = told
        self._told_at, self._current = 0, True
        self._at = float("-inf")
        self._said: tuple[str, bool, int | None] | None = None
        self._said_at = float("-inf")
        self._faults: dict[str, str] = {}
        self._barman_slots = tuple(place(here.cluster, item.name).slot for item in here.cluster.barmans)

    def tick(self, now: float, mine: NodeState, survey: Survey, primary: str) -> None:
        """Look every few seconds, and mend. *primary* is the real one, '' where there is none. Raises nothing."""
        if now - self._at < INTERVAL or mine.locked:
            return
        self._at = now
        self._try("slots", lambda: self._slots(primary, survey))
        if mine.streaming and mine.lacks_database:
            self._try("slot synchronisation", lambda: self._name_database(mine))
        if primary and (mine.streaming or primary == mine.name):
            self._try("metadata", lambda: self._row(now, mine, primary))
            self._try("repmgrd", lambda: self._repmgrd(now, mine))

    def _try(self, what: str, do: Callable[[], None]) -> None:
        try:
            do()
        except PgherdError as error:
            said = " ".join(str(error).split())
            if self._faults.get(what) != said:
                self._say(f"{what}: failed: {said}")
            self._faults[what] = said
        else:
            self._faults.pop(what, None)

    def _slots(self, primary: str, survey: Survey) -> None:
        changes = slots.decide(self._cluster, self._node.name, primary, survey, self._barman_slots, self._is_current())
        if not changes:
            return
        with session(self._links, self._node.name) as server:
            for change in changes:
                self._change(server, change)

    def _is_current(self) -> bool:
        """Whether the file holds the cluster that is gone by: by what is in it, since it may be written anew and say the same."""
        written = _written(self._told)
        if written != self._told_at:
            self._told_at, self._current = written, _holds(self._told, self._cluster)
        return self._current

    def _change(self, server: Server, change: slots.SlotChange) -> None:
        if change.action == "create":
            make_slot(server, change.name)
        elif change.action == "drop":
            drop_slot(server, change.name)
        else:
            server.rows("SELECT pg_replication_slot_advance(%s, %s)", (change.name, change.lsn))
        if change.why:
            self._say(f"slots: {change.action} {change.name}: {change.why}")

    def _name_database(self, mine: NodeState) -> None:
        """repmgr leaves the database out of primary_conninfo, and slots are copied by queries in one."""
        upstream = self._cluster.node_at(mine.upstream)
        if upstream:
            wanted = streaming_conninfo(self._cluster, self._node, self._cluster.node(upstream))
            wanted = renamed(wanted, mine.name, mine.called == newcomer_name(mine.name))
            with session(self._links, mine.name) as server:
                move(mine.name, server, wanted, self._node.slot)
            self._say(f"slot synchronisation: primary_conninfo names the database {REPMGR_DATABASE} now")

    def _row(self, now: float, mine: NodeState, primary: str) -> None:
        """Have the metadata say what is: repmgrd refuses to start on a node that they call a dead primary."""
        upstream = self._upstream(mine)
        wanted = ("primary", True, None) if primary == mine.name else ("standby", True, upstream)
        if wanted == ("standby", True, None) or (wanted == self._said and now - self._said_at < RECORDED):
            return
        with session(self._links, mine.name) as server:
            found = recorded(server, self._node.id)
        self._said, self._said_at = found, now
        # A node that is not registered at all is the playbook's to register.
        if found is None or found == wanted:
            return
        with session(self._links, primary) as writer:
            # Its own copy is late.
            if self._node.delay and recorded(writer, self._node.id) == wanted:
                return
            if primary == mine.name:
                record_primary(writer, self._node.id)
            elif upstream is not None:
                record_standby(writer, self._node.id, upstream)
        self._say(f"metadata: {mine.name} is a {wanted[0]} now, below {wanted[2]}; it was {found}")

    def _upstream(self, mine: NodeState) -> int | None:
        nodes = self._cluster.data_nodes
        return next((node.id for node in nodes if mine.upstream in aliases(node)), None)

    def _repmgrd(self, now: float, mine: NodeState) -> None:
        """Restart one that runs and has lost its upstream for good, or that its server does not know; one that does not run
        is started by its unit."""
        lost = mine.in_recovery and mine.repmgrd and not 0 <= mine.upstream_seen_age <= OFF_UPSTREAM
        if self._tracker.lasts("repmgrd off its upstream", now, lost) >= OFF_UPSTREAM:
            self._tracker.lasts("repmgrd off its upstream", now, False)
            self._say(f"repmgrd: restarted: it has not reached its upstream for {mine.upstream_seen_age} s")
            self._services.restart(REPMGRD, wait=False)
        # It says who it is once, into memory that a restarted postmaster makes anew, and does not always say it again.
        unknown = self._tracker.lasts("repmgrd unknown", now, not mine.repmgrd) >= OFF_UPSTREAM
        if unknown and self._services.state(REPMGRD) == RUNNING:
            self._tracker.lasts("repmgrd unknown", now, False)
            self._say("repmgrd: restarted: it runs, and the server does not know it")
            self._services.restart(REPMGRD, wait=False)


def _holds(path: str, cluster: Cluster) -> bool:
    try:
        return read(path).cluster == cluster
    except PgherdError:
        return False


def _written(path: str) -> int:
    """When a file was written, in nanoseconds; 0 where it is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return 0
