# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What repmgrd calls, and people: ``pgherd validate``, ``promote``, ``follow``. Each says what it saw and did in lines of
the log (repmgrd's output goes there)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing

from ..data.diverged import refuse
from ..errors import Conflict
from ..model import Cluster
from ..objects.identity import renamed
from ..objects.orders import make_slot, streams
from ..observe.identity import Confirmed, newcomers
from ..observe.node_state import ask
from ..ports.links import Links, session
from ..ports.sql import Server
from ..ports.wait import last_look, until
from ..programs.repmgr import record_standby, streaming_conninfo
from ..text import printable
from .election import LONG_AGO, Missed
from .promote import Promotion
from .seal import move

# Seconds that the primary has to answer a new session before another takes its place: the second opinion on what repmgrd,
# or this node's agent, has seen.
SECOND_OPINION = 0.7
# Seconds that a standby has to stream from the one it was pointed at.
STREAM = 20.0
Say = Callable[[str], None]


def say(line: str) -> None:
    """One line for the journal."""
    sys.stderr.write(f"{printable(line)}\n")
    sys.stderr.flush()


def refuse_elsewhere(me: str, target: str, changes: bool) -> None:
    """A handover is run by its target. Raises Conflict on another host."""
    if changes and me != target:
        raise Conflict(f"Switch over to {target}", f"to run on {target}", me, f"Delegate the task to {target}.")


def last_primary(cluster: Cluster, me: str, link: Links) -> str:
    """Who the primary is by the metadata of this node; '' where it does not say, or says this node."""
    with session(link, me) as server:
        rows = server.rows("SELECT node_id FROM repmgr.nodes WHERE type = 'primary' AND active")
    node = cluster.node_by_id(rows[0]["node_id"]) if len(rows) == 1 else None
    return node.name if node and node.name != me else ""


def validate(
    cluster: Cluster,
    me: str,
    link: Links,
    say: Say,
    missed: Missed = LONG_AGO,
    confirmed: Confirmed | None = None,
) -> int:
    """Whether repmgrd may promote *me*: 0, or 1 with the reason said. repmgrd asks again later. *missed*, *confirmed*: by
    the agent."""
    if not is_standby(link, me):
        say(f"validate: {me} is the primary already")
        return 0
    with closing(Promotion(cluster, me, last_primary(cluster, me, link), link, say, confirmed)) as promotion:
        verdict = promotion.consider(patience=SECOND_OPINION, missed=missed)
    say(f"validate: {'may' if verdict.allowed else 'may not'} promote {me}: {verdict.why}")
    return 0 if verdict.allowed else 1


def promote(
    cluster: Cluster,
    me: str,
    link: Links,
    say: Say,
    primary: str = "",
    accept_loss: bool = False,
    confirmed: Confirmed | None = None,
) -> int:
    """Promote *me* in the place of *primary* ('' takes the metadata's word). *confirmed*: by the agent. Raises as
    Promotion.run()."""
    if not is_standby(link, me):
        say(f"promote: {me} is the primary already")
        return 0
    found = primary or last_primary(cluster, me, link)
    with closing(Promotion(cluster, me, found, link, say, confirmed)) as promotion:
        promotion.run("", accept_loss, SECOND_OPINION if accept_loss else 0.0)
    return 0


def follow(cluster: Cluster, me: str, link: Links, say: Say, upstream: int) -> int:
    """Let *me* stream from the node with the ID *upstream*, and write that into the metadata. Raises Conflict for a
    primary, and for one with WAL that the other has not; Unreachable when it does not come to stream."""
    source = cluster.node_by_id(upstream)
    if source is None:
        raise Conflict(f"let {me} follow", "the ID of a node of this cluster", upstream)
    node, slots = cluster.node(me), cluster.replication_slots
    with session(link, me) as mine, session(link, source.name) as theirs:
        if not _standby(mine):
            raise Conflict(f"let {me} follow {source.name}", "a standby", "a primary")
        until(lambda: ask(me, mine).settled, STREAM, f"{me} still reads its own WAL")
        said = {me: ask(me, mine), source.name: ask(source.name, theirs)}
        refuse(said[me], said[source.name], mine, theirs)
        wanted = renamed(streaming_conninfo(cluster, node, source), me, me in newcomers(cluster, said))
        if slots:
            make_slot(theirs, node.slot)
        if _point(me, mine, wanted, node.slot if slots else ""):
            say(f"follow: {me} was pointed at {source.name}")
        until(lambda: streams(mine), STREAM, f"{me} does not stream", "Its reason: PostgreSQL's log.")
        head = source.name if not _standby(theirs) else last_primary(cluster, me, link)
        if head:
            with session(link, head) as writer:
                record_standby(writer, node.id, source.id)
    say(f"follow: {me} streams from {source.name}")
    return 0


def _point(me: str, mine: Server, wanted: str, slot: str) -> bool:
    """Point it there once no promotion is at work on it; whether it was not. Raises Conflict when one stays at work."""

    def there() -> bool | None:
        """None while it is not, and a promotion is at work on it."""
        found = mine.rows("SELECT current_setting('primary_conninfo') AS found")[0]["found"]
        return found == wanted or (None if ask(me, mine).locked else False)

    if last_look(there, lambda known: known is not None, STREAM, 0.05):
        return False
    move(me, mine, wanted, slot)
    return True


def is_standby(link: Links, name: str) -> bool:
    """Whether the node called *name* runs as one. Raises Unreachable."""
    with session(link, name) as server:
        return _standby(server)


def _standby(server: Server) -> bool:
    return bool(server.rows("SELECT pg_is_in_recovery() AS standby")[0]["standby"])
