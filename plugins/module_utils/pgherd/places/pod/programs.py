# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What runs in a pod, as process 1 starts it: beside the agent a node, a pgpool or a Barman."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace

from ...agent import guard_client
from ...data.postmaster import is_up
from ...layout import SOCKETS, Layout, layout, version_of
from ...model import COMMAND, REPMGR_DATABASE, SERVER_CERT_FILE, Cluster
from ...nodes.guard import words
from ...ports.services import AGENT, BACKUP, CRON, PGPOOL, POSTGRES, RECEIVER, REPMGRD, SCHEDULE
from ...programs import barman, pgpool
from ...render.conf_barman import HOME, PASSFILE, place
from .here import COMMANDS
from .program import ALWAYS, NEVER, Program

# Seconds for a fast shutdown, and for one without a checkpoint; and that sessions have to end by themselves where the pod ends.
FAST, IMMEDIATE, SMART = 3600.0, 5.0, 2.0


def of(cluster: Cluster, me: str) -> dict[str, Program]:
    """The programs of the pod called *me*: those that run for ever first."""
    if me in {item.name for item in cluster.pgpools}:
        # It does not serve before enough servers can be used, however long that takes.
        # SIGTERM has it wait for its clients, SIGINT does not.
        stops = ((signal.SIGTERM, 10.0), (signal.SIGINT, 3.0))
        found = {PGPOOL: Program((pgpool.PROGRAM, "-n"), before=((COMMAND, "gate"), _loaded()), stops=stops)}
    elif me in {item.name for item in cluster.barmans}:
        found = _barman(cluster.name, place(cluster, me).lock_directory)
    else:
        node = cluster.node(me)
        found = _node(me, layout(cluster, version_of(node)), node.id, cluster.port)
    programs = {AGENT: Program((COMMAND, "agent", "--host", me), again=ALWAYS), **found}
    # All run as one user, whose home is PostgreSQL's: Barman's passwords are in another.
    env = {"HOME": HOME, "PGPASSFILE": PASSFILE} if CRON in programs else {}
    return {name: replace(program, env={**program.env, **env}) for name, program in programs.items()}


def _node(me: str, there: Layout, node_id: int, port: int) -> dict[str, Program]:
    client = (sys.executable, "-I", "-S", guard_client.__file__)
    guard = (*client, COMMANDS, *words(me, there.data))
    return {
        POSTGRES: postgres(there, guard),
        # It must live on when its PostgreSQL goes down, and gives up when its upstream is down at its own start.
        REPMGRD: Program(
            (f"{there.programs}/repmgrd", "-f", there.repmgr, "--daemonize=false", "--no-pid-file"),
            before=(member(there.programs, node_id, port),),
            again=ALWAYS,
            pause=2.0,
        ),
    }


def member(programs: str, node_id: int, port: int, sockets: str = SOCKETS) -> tuple[str, ...]:
    """Waits until the server here has the node in repmgr's metadata: before, repmgrd ends at once. Nobody runs a site's playbook
    while a pod starts, so it may wait for long; it says so once, and costs a psql at a time."""
    psql = f"{programs}/psql -XAtqw -h {sockets} -p {port} -U postgres -d {REPMGR_DATABASE}"
    query = f"SELECT 'yes' FROM repmgr.nodes WHERE node_id = {int(node_id)}"  # noqa: S608
    limits = "PGCONNECT_TIMEOUT=2 PGOPTIONS='-c statement_timeout=2s'"
    ask = f'there() {{ test "$({limits} {psql} -c "{query}" 2>/dev/null)" = yes; }}'
    line = "waits until this node is registered: the site playbook, or its agent, does that"
    return ("/bin/sh", "-c", f"{ask}; there || {{ echo '{line}'; until there; do sleep 2; done; }}")


def _loaded() -> tuple[str, ...]:
    """Has copies made of what pgpool reads now."""
    read = " ".join((pgpool.CONFIGURATION, pgpool.PASSWORDS, pgpool.HBA, SERVER_CERT_FILE))
    return ("/bin/sh", "-c", f"mkdir -m 0700 -p {pgpool.LOADED} && cp -p {read} {pgpool.LOADED}/")


def _barman(server: str, locks: str) -> dict[str, Program]:
    # A backup counts once its last WAL file is here, which an idle primary would not fill.
    closes = f"{barman.PROGRAM} switch-wal --archive --archive-timeout 300 {server}"
    # Barman takes none before a first WAL file is here.
    first = f"{barman.PROGRAM} list-backups --minimal {server} | grep -q . || {closes}"
    steps = f"{{ {first}; }} && {barman.PROGRAM} backup {server} && {closes} && {barman.PROGRAM} check-backup {server} latest"
    # Barman's cron starts a receiver when it finds none, which nobody would restart: it has to make room.
    lock = f"{locks}/.{server}-receive-wal.lock"
    room = f"flock -n {lock} true || {barman.PROGRAM} -q receive-wal --stop {server}; flock {lock} true"
    minutely = f"while :; do sleep $((60 - $(date +%s) % 60)); {barman.PROGRAM} -q cron; done"
    return {
        CRON: Program(("/bin/sh", "-c", minutely), again=ALWAYS),
        SCHEDULE: Program((COMMAND, "schedule"), again=ALWAYS, pause=5.0),
        RECEIVER: Program(
            (barman.PROGRAM, "receive-wal", server),
            before=(("/bin/sh", "-c", room),),
            stops=((signal.SIGINT, 10.0),),
            again=ALWAYS,
            pause=2.0,
        ),
        BACKUP: Program(("/bin/sh", "-c", steps), again=NEVER, once=True),
    }


def postgres(there: Layout, guard: tuple[str, ...]) -> Program:
    """The server, which a *guard* lets start each time. Its recovery may take any time."""
    conf = f"{there.configuration}/postgresql.conf"
    return Program(
        (f"{there.programs}/postgres", "-D", there.data, f"--config-file={conf}"),
        before=(guard,),
        ready=lambda pid: is_up(there.data, pid),
        stops=((signal.SIGINT, FAST), (signal.SIGQUIT, IMMEDIATE)),
        pause=0.1,
        burst=5,
        asked=SMART,
    )
