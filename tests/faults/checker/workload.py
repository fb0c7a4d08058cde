# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Writers that insert rows with unique ids and write down every question and every answer.

    python -m faults.checker.workload --dsn '...' --history FILE [--writers 8] [--first 1] [--period 0.02]

runs until SIGTERM or SIGINT. A writer that gets no answer shuts its socket down: psycopg answers a cancelled task with a
cancel request, and a cancelled wait for synchronous replication commits locally.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from faults.checker.history import FAIL, INFO, OK, WRITER, Log

TABLE = """\
CREATE TABLE IF NOT EXISTS ha_log (
  id bigint PRIMARY KEY,
  node text DEFAULT host(inet_server_addr()),
  timeline text DEFAULT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8),
  at timestamptz DEFAULT clock_timestamp()
)"""
INSERT = "INSERT INTO ha_log (id) VALUES (%s) RETURNING node, timeline"
PATIENCE = (
    "connect_timeout=2 keepalives_idle=2 keepalives_interval=1 keepalives_count=3 tcp_user_timeout=5000"
    " application_name=workload"
)
CANCELLED_WAIT = "01000"
# Seconds from a connection that failed to the next attempt, as applications wait: each costs both sides some 20 ms of
# processor time, and eight writers without a pause keep two cores from the failover that they wait for.
RETRY = 0.1
# An ERROR with one of these classes comes from a server that then rolled back. Not with 08, 57, 58, XX: pgpool speaks in
# those too, and a session that was ended may have committed; nor 23505: then somebody has sent the row twice.
REFUSING_CLASSES = ("0A", "22", "25", "28", "3D", "42", "53", "55")


def judge_error(error: BaseException, sent: bool) -> str:
    """Outcome of an operation that raised: fail where the row cannot be there, else info."""
    if not sent:
        return FAIL
    state = getattr(error, "sqlstate", None) or ""
    return FAIL if state.startswith(REFUSING_CLASSES) else INFO


@dataclass(frozen=True)
class Plan:
    """How to write: seconds between two rows of a writer, seconds after which it gives an answer up."""

    dsn: str
    period: float = 0.02
    give_up: float = 15.0


def hang_up(connection: psycopg.AsyncConnection[Any]) -> None:
    """End a connection's socket without a word to the server; whoever waits on it sees the end of file."""
    if connection.closed:
        return
    with socket.socket(fileno=os.dup(connection.fileno())) as twin:
        try:
            twin.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it had ended already


async def write(connection: psycopg.AsyncConnection[Any], number: int, plan: Plan, log: Log) -> None:
    """Send one row and log what came back. Raises what psycopg raises, once it is logged."""
    warned: list[str] = []

    def heard(notice: psycopg.errors.Diagnostic) -> None:
        warned.append(f"{notice.sqlstate} {notice.message_primary}")

    connection.add_notice_handler(heard)
    killer = asyncio.get_running_loop().call_later(plan.give_up, hang_up, connection)
    try:
        row = await (await connection.execute(INSERT, (number,))).fetchone()
        if any(word.startswith(CANCELLED_WAIT) for word in warned) or row is None:
            log.answer(number, INFO, why="; ".join(warned) or "no row came back")
        else:
            log.answer(number, OK, str(row[0]), int(row[1], 16))
    except BaseException as error:
        log.answer(number, judge_error(error, sent=True), why=f"{getattr(error, 'sqlstate', None)} {error}")
        raise
    finally:
        killer.cancel()
        connection.remove_notice_handler(heard)


async def writer(number: int, plan: Plan, log: Log, stop: asyncio.Event) -> None:
    """One writer: a row every period, on one connection for as long as that lives."""
    connection: psycopg.AsyncConnection[Any] | None = None
    loop = asyncio.get_running_loop()
    row = number * WRITER
    while not stop.is_set():
        row += 1
        began = loop.time()
        log.invoke(row)
        try:
            if connection is None:
                connection = await psycopg.AsyncConnection.connect(plan.dsn, autocommit=True, prepare_threshold=None)
        except (psycopg.Error, OSError) as error:
            log.answer(row, judge_error(error, sent=False), why=f"connect: {error}")
            await _pause(RETRY, stop)
        else:
            try:
                await write(connection, row, plan, log)
            except (psycopg.Error, OSError):
                hang_up(connection)
                await connection.close()
                connection = None
        await _pause(began + plan.period - loop.time(), stop)
    if connection is not None:
        await connection.close()


async def _pause(seconds: float, stop: asyncio.Event) -> None:
    """Until the next row is due; at least once round the loop, so that a refusing server is not hammered."""
    try:
        await asyncio.wait_for(stop.wait(), max(seconds, 0.005))
    except asyncio.TimeoutError:
        return


async def end_with_parent(stop: asyncio.Event) -> None:
    """Stop when whoever started this process is gone; ids must not go on being written into the next trial."""
    parent = os.getppid()
    while not stop.is_set():
        if os.getppid() != parent:
            stop.set()
        await _pause(0.5, stop)


async def run(plan: Plan, history: Path, writers: int, first: int, via: str) -> None:
    """Write until told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    log = Log(history, via)
    try:
        await asyncio.gather(end_with_parent(stop), *(writer(first + i, plan, log, stop) for i in range(writers)))
    finally:
        log.close()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--history", required=True, type=Path)
    parser.add_argument("--via", default="", help="a word for the way in, kept in the history")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--first", type=int, default=1, help="number of the first writer")
    parser.add_argument("--period", type=float, default=0.02, help="seconds between two rows of a writer")
    parser.add_argument("--give-up", type=float, default=15.0, help="seconds without an answer")
    given = parser.parse_args()
    plan = Plan(f"{given.dsn} {PATIENCE}", given.period, given.give_up)
    asyncio.run(run(plan, given.history, given.writers, given.first, given.via))
    return 0


if __name__ == "__main__":
    sys.exit(main())
