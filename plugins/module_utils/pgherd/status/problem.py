# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""One thing that is wrong with a cluster, and the words and commands that all checks share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ..model import MONITOR_ROLE, REPMGR_DATABASE, Cluster, Node
from ..observe.topology import Topology
from ..observe.views import NodeView
from ..ports.identity import POSTGRES as OWNER
from ..ports.services import AGENT, POSTGRES
from ..programs.barman import USER as BARMAN

CRITICAL, WARNING, UNKNOWN = "critical", "warning", "unknown"


# What a person does.
RUN, START, STOP, RESTART, LOG = "run", "start", "stop", "restart", "log"


@dataclass(frozen=True)
class Cure:
    """How a person ends a problem, as data: a place has the words for what is done on its hosts (places/words.py).

    *do*: run the command *what*, as *user* ('' for who administers the host); or start, stop or restart the service *what*;
    or read its log, the last *lines* of it, 0 for what comes from now on. *on*: the host; '' is the control machine, where
    the inventory is. *version*: PostgreSQL's, as paths have it, '' where no node told.
    """

    what: str
    on: str = ""
    do: str = RUN
    user: str = ""
    version: str = ""
    lines: int = 50


# A cure as the command to type.
Words = Callable[[Cure], str]

SITE = Cure("ansible-playbook pgherd.cluster.site")
# What a server that starts, or comes back from a crash, tells its clients (ProcessStartupPacket()).
STARTING = re.compile(r"starting up|not yet accepting|in recovery mode")
# ClientAuthentication() in auth.c; pgpool's of pool_hba.conf are alike.
REJECTED = re.compile(r'(?:pg|pool)_hba\.conf (?:rejects connection|entry) for host "([^"]+)"')
# What one that runs says to who may not look, or what TLS says of its certificate: all of it is the playbook's to state again.
_SHUT_OUT = re.compile(
    r"certificate|does not support SSL|SSL error: (?!unexpected eof)|authentication failed|permission denied"
    r"|not permitted to log in|role .* does not exist"
)
# aclcheck_error(): what PostgreSQL itself brings has such a name.
_LACKS = re.compile(r"permission denied for (function|view|table) (pg_[a-z_]+)")
# InitProcess() and InitPostgres(): it runs, and has no connection left.
_FULL = re.compile(r"too many (clients|connections)|remaining connection slots")
_WHO = (
    "SELECT usename, application_name, client_addr, state, count(*) FROM pg_stat_activity GROUP BY 1, 2, 3, 4"
    " ORDER BY 5 DESC"
)
# ProcessInterrupts(): it runs, and what was asked had to wait, or stood in the way of what is replayed.
_HELD_UP = "canceling statement due to"
_WHO_WAITS = (
    "SELECT pid, usename, xact_start, pg_blocking_pids(pid) AS waits_for, state, query FROM pg_stat_activity"
    " ORDER BY xact_start"
)
# As a standby's server says it when it replays CREATE TABLESPACE (create_tablespace_directories() in tablespace.c).
TABLESPACE = re.compile(r'directory "([^"]+)" does not exist; Create this directory for the tablespace')
# A standby with a lower limit than its primary does not start (RecoveryRequiresIntParameter() in xlogrecovery.c).
_SHORT = "insufficient parameter settings"
# As an agent says it where a copy has no room.
_REFUSED = "where nothing was touched"
# As an agent says it where the start guard refuses a start, until others answer or for good (nodes/start.py, guard.py); and
# where that is since the data are of another cluster.
_GUARD, _FOR_GOOD = re.compile(r"^[Ss]tart \S"), re.compile(r"^Start \S")
_FOREIGN = "If its data may go, name the host in cluster_wipe"


@dataclass(frozen=True)
class Problem:
    """*id* is stable (docs/status.md lists all), *node* the host it is about ('' for the cluster), *text* says in words
    what is wrong, *cure* how to end it, *since* the time it began, where that is known."""

    id: str
    severity: str
    node: str
    text: str
    cure: Cure
    since: float | None = None

    def to_dict(self, words: Words) -> dict[str, Any]:
        """Plain data, with the cure in *words*."""
        return {**asdict(self), "cure": {"command": words(self.cure), "on": self.cure.on}}


@dataclass(frozen=True)
class Thresholds:
    """From where on a figure is a problem: bytes and seconds."""

    lag_bytes: int = 16 << 20
    lag_seconds: float = 30.0
    slot_bytes: int = 64 << 20
    backup_age: float = 36 * 3600.0
    wal_age: float = 600.0
    # From the first on, a run of the site playbook makes a host's certificate anew.
    certificate_warning: float = 60 * 86400.0
    certificate_critical: float = 7 * 86400.0


def size(count: float) -> str:
    """Bytes for people: ``0 B``, ``512 kB``, ``1.5 MB`` (powers of 1024, as pg_size_pretty)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            break
        count /= 1024
    return f"{count:.1f} {unit}" if unit != "B" and count < 10 and count != int(count) else f"{count:.0f} {unit}"


def duration(seconds: float) -> str:
    """Seconds for people: ``0s``, ``45s``, ``12m``, ``3h12m``, ``4d7h``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def names(items: tuple[str, ...] | list[str]) -> str:
    """``pg1``, ``pg1 and pg2``, ``pg1, pg2 and pg3``."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def major(topology: Topology) -> str:
    """The major version of PostgreSQL, as the paths and units have it; '' when no node told."""
    return next((str(postgres.version // 10000) for _node, postgres in topology.seen()), "")


def server(topology: Topology, do: str, node: str) -> Cure:
    """Start, stop or restart PostgreSQL on *node*."""
    return Cure(POSTGRES, node, do, version=major(topology))


def restart(service: str, host: str) -> Cure:
    """Restart *service* on *host*."""
    return Cure(service, host, RESTART)


def log(service: str, host: str, lines: int = 50) -> Cure:
    """Read the last *lines* that *service* on *host* has said, or with 0 what it says from now on."""
    return Cure(service, host, LOG, lines=lines)


def server_log(topology: Topology, node: str, lines: int = 50) -> Cure:
    """The same of PostgreSQL's."""
    return Cure(POSTGRES, node, LOG, version=major(topology), lines=lines)


def bring_back(topology: Topology, name: str) -> Cure:
    """Have *name* stream from the primary again: start what is stopped, have the agent of what runs bring it back, point what
    streams from another at the primary, wait for a clone, install what is new, mend what keeps it from starting."""
    node, metadata, live = topology.node(name), topology.metadata(), topology.live_primary()
    if metadata and not metadata.of(name):
        return SITE
    if topology.copying(name):
        return Cure("pgherd status --watch 2", next(other.name for other, _postgres in topology.seen()))
    if node and node.postgres:
        if live and topology.upstream(name) not in ("", live.name):
            return follow(topology, name, live.id)
        # Another address, slot or history: a restart of the server changes none of them.
        return restart(AGENT, name) if node.postgres.in_recovery else SITE
    return _answer(topology, node) if node else server(topology, START, name)


def shut_out(why: str) -> bool:
    """Whether *why* somebody did not answer is that he lets us in no more: he runs, and another start would change nothing."""
    return bool(REJECTED.search(why) or _SHUT_OUT.search(why))


def in_its_words(node: NodeView | None) -> str:
    """The end of a sentence about *node*: what its log, or the start guard, says; '' for nothing."""
    if not node or not node.words:
        return ""
    return f"; {'its start is refused' if _GUARD.match(node.words) else 'its log'}: {node.words}"


def _answer(topology: Topology, node: NodeView) -> Cure:
    """Have *node*, whose PostgreSQL does not answer, answer again: by the way in which it did not, and by its log."""
    if _LACKS.search(node.why):
        return let_read(topology, node.name, node.why)
    if shut_out(node.why) or _SHORT in node.words or TABLESPACE.search(node.words):
        return SITE
    if STARTING.search(node.why):
        return server_log(topology, node.name, lines=0)
    if _FULL.search(node.why):
        return psql(node.name, _WHO)
    if _HELD_UP in node.why:
        return psql(node.name, _WHO_WAITS)
    if _FOREIGN in node.words:
        return wipe(node.name)
    if _REFUSED in node.words or _FOR_GOOD.match(node.words):
        return log(AGENT, node.name, lines=20)
    return server(topology, START, node.name)


def repmgr(topology: Topology, node: str, words: str) -> Cure:
    """A repmgr command on *node*."""
    return Cure(f"repmgr -f /etc/repmgr/{major(topology) or '*'}/repmgr.conf {words}", node, user=OWNER)


def follow(topology: Topology, node: str, upstream: int) -> Cure:
    """Have the standby *node* stream from the node with the ID *upstream*, by that one's slot for it."""
    return repmgr(topology, node, f"standby follow --upstream-node-id={upstream}")


def psql(node: str, statement: str) -> Cure:
    """A statement on *node*."""
    return Cure(f'psql -c "{statement}"', node, user=OWNER)


def reset(node: str, name: str) -> Cure:
    """Have *node* go by its files again for the setting *name*, and not by what ALTER SYSTEM has put over them."""
    return Cure(f'psql -c "ALTER SYSTEM RESET {name}" -c "SELECT pg_reload_conf()"', node, user=OWNER)


def let_read(topology: Topology, node: str, why: str) -> Cure:
    """Have the role that looks read *node*, which it could not by *why*: give it the right that it lacks. What is not the
    playbook's to grant everybody has, until somebody takes it from PUBLIC. Where nothing is known of any node, one of them is the
    primary, where that works. What took too long is no question of rights."""
    lacks, live = _LACKS.search(why), topology.live_primary()
    if _HELD_UP in why:
        return psql(node, _WHO_WAITS)
    if not lacks:
        return SITE
    what = f"EXECUTE ON FUNCTION {lacks[2]}" if lacks[1] == "function" else f"SELECT ON {lacks[2]}"
    return Cure(
        f'psql -d {REPMGR_DATABASE} -c "GRANT {what} TO {MONITOR_ROLE}"', live.name if live else node, user=OWNER
    )


def barman(cluster: Cluster, node: str, verb: str) -> Cure:
    """A barman command about this cluster on *node*."""
    return Cure(f"barman {verb}" + ("" if verb == "cron" else f" {cluster.name}"), node, user=BARMAN)


def wipe(node: str) -> Cure:
    """Replace what is on *node* with a copy of the primary."""
    return Cure(f"""{SITE.what} -e '{{"cluster_wipe": ["{node}"]}}'""")


def blind(topology: Topology) -> bool:
    """Whether no data node can be asked, so that what does not answer may be as well as ever. One that refuses the
    connection has answered: PostgreSQL does not run there."""
    return not any(node.kind == "postgres" and (node.postgres or node.refused) for node in topology.nodes)


def down_since(topology: Topology, node: Node) -> float | None:
    """When repmgrd on the primary saw *node* stop streaming (events child_node_*: repmgr's manual, "Event
    notifications"), or None."""
    metadata = topology.metadata()
    for event in metadata.events if metadata else ():
        if event.event.startswith("child_node_") and f'"{node.name}"' in event.details:
            return event.at if event.event == "child_node_disconnect" else None
    return None
