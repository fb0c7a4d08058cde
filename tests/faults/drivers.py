# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Clients by three drivers through pgpool, and what each may conclude from an answer: the table of docs/connecting.md.

Each inserts a row in a transaction, over and over, and connects again after any error, with nothing set but what the page says
for its driver. Afterwards what it took for committed is there, what it took for rolled back is not, and no more is claimed of
the rest. What it has committed it reads at once.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import asyncpg
import psycopg
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict

from faults.cluster import Cluster, until

# As the page says: through pgpool these mean that nobody knows, if they come to a COMMIT.
UNKNOWN = ("08", "57", "58", "XX")
PATIENCE = 8.0  # seconds for an answer, the application's own limit of the page
MAKE = "CREATE TABLE IF NOT EXISTS drivers (driver text, id int, PRIMARY KEY (driver, id))"


class Session(Protocol):
    """One connection of a driver."""

    def insert(self, driver: str, number: int) -> None:
        """Begin, and insert."""

    def commit(self) -> None:
        """Commit."""

    def has(self, driver: str, number: int) -> bool:
        """Whether the row is there, in a transaction of its own."""

    def close(self) -> None:
        """Let go."""


class Psycopg:
    """psycopg 3 on libpq."""

    def __init__(self, dsn: str) -> None:
        self.connection = psycopg.connect(dsn)

    def insert(self, driver: str, number: int) -> None:
        self.connection.execute("INSERT INTO drivers VALUES (%s, %s)", [driver, number])

    def commit(self) -> None:
        self.connection.commit()

    def has(self, driver: str, number: int) -> bool:
        query = "SELECT FROM drivers WHERE driver = %s AND id = %s"
        found = self.connection.execute(query, [driver, number]).fetchone()
        self.connection.rollback()
        return found is not None

    def close(self) -> None:
        self.connection.close()


class SqlAlchemy:
    """SQLAlchemy on psycopg, with its pool, whose sessions are looked at before they are handed out."""

    def __init__(self, dsn: str) -> None:
        self.engine = sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), pool_pre_ping=True
        )
        self.connection = self.engine.connect()

    def insert(self, driver: str, number: int) -> None:
        values = {"d": driver, "n": number}
        self.connection.execute(sqlalchemy.text("INSERT INTO drivers VALUES (:d, :n)"), values)

    def commit(self) -> None:
        self.connection.commit()
        self.connection.close()

    def has(self, driver: str, number: int) -> bool:
        self.connection = self.engine.connect()
        query = sqlalchemy.text("SELECT id FROM drivers WHERE driver = :d AND id = :n")
        found = self.connection.execute(query, {"d": driver, "n": number}).first()
        self.connection.rollback()
        return found is not None

    def close(self) -> None:
        self.connection.close()
        self.engine.dispose()


class Named(asyncio.SelectorEventLoop):
    """A loop that finds the addresses of some hosts by their names, as a name server would."""

    def __init__(self, addresses: dict[str, str]) -> None:
        super().__init__()
        self.addresses = addresses

    async def getaddrinfo(self, host: Any, port: Any, **more: Any) -> Any:
        return await super().getaddrinfo(self.addresses.get(host, host), port, **more)


class Asyncpg:
    """asyncpg, which speaks the protocol itself and knows of no hostaddr."""

    def __init__(self, dsn: str) -> None:
        given = conninfo_to_dict(dsn)
        hosts = str(given["host"]).split(",")
        self.loop = Named(dict(zip(hosts, str(given["hostaddr"]).split(","), strict=True)))
        self.connection = self._do(self._connect(hosts, given))

    async def _connect(self, hosts: list[str], given: dict[str, Any]) -> Any:
        return await asyncpg.connect(
            host=hosts,
            port=[int(given["port"])] * len(hosts),
            user=given["user"],
            database=given["dbname"],
            passfile=given["passfile"],
            ssl=ssl.create_default_context(cafile=str(given["sslrootcert"])),
            timeout=PATIENCE,
            command_timeout=PATIENCE,
            statement_cache_size=0,
        )

    def _do(self, what: Any) -> Any:
        return self.loop.run_until_complete(what)

    def insert(self, driver: str, number: int) -> None:
        self.open = self.connection.transaction()
        self._do(self.open.start())
        self._do(self.connection.execute("INSERT INTO drivers VALUES ($1, $2)", driver, number))

    def commit(self) -> None:
        self._do(self.open.commit())

    def has(self, driver: str, number: int) -> bool:
        query = "SELECT id FROM drivers WHERE driver = $1 AND id = $2"
        return self._do(self.connection.fetchval(query, driver, number)) is not None

    def close(self) -> None:
        self.connection.terminate()
        self.loop.close()


DRIVERS: dict[str, Any] = {"psycopg": Psycopg, "SQLAlchemy": SqlAlchemy, "asyncpg": Asyncpg}


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE that an error of any of the drivers carries; '' for none."""
    for one in (error, getattr(error, "orig", None)):
        if state := getattr(one, "sqlstate", None):
            return str(state)
    return ""


def meaning(committing: bool, state: str) -> str:
    """What the page says an error means."""
    return "unknown" if committing and (not state or state.startswith(UNKNOWN)) else "rolled back"


@dataclass
class Client:
    """One driver's loop: what it holds of each row that it sent, and the errors it met with what they meant."""

    driver: str
    dsn: str
    held: dict[int, str] = field(default_factory=dict)
    errors: dict[tuple[bool, str], int] = field(default_factory=dict)
    unseen: list[int] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until it is done."""
        session: Session | None = None
        number = 0
        while not self.done.wait(0.02):
            number += 1
            committing = False
            try:
                session = session or DRIVERS[self.driver](self.dsn)
                session.insert(self.driver, number)
                committing = True
                session.commit()
                committing = False
                self.held[number] = "committed"
                if not session.has(self.driver, number):
                    self.unseen.append(number)
            except Exception as error:  # whatever a driver raises is what an application gets
                self.held.setdefault(number, meaning(committing, sqlstate(error)))
                key = (committing, sqlstate(error))
                self.errors[key] = self.errors.get(key, 0) + 1
                if session:
                    with suppress(Exception):
                        session.close()
                session = None
                self.done.wait(0.2)
        if session:
            with suppress(Exception):
                session.close()

    @property
    def committed(self) -> int:
        """How many it holds to be committed."""
        return list(self.held.values()).count("committed")


@contextmanager
def clients(cluster: Cluster) -> Iterator[None]:
    """All drivers work meanwhile; afterwards each has come back, and everything is as it was told."""
    # The page's parameters; the time limit for an answer is the application's own, as statement_timeout is no use in a COMMIT.
    limits = " connect_timeout=2 tcp_user_timeout=5000 keepalives_idle=2 keepalives_interval=1 keepalives_count=3"
    every = [Client(driver, cluster.dsn() + limits) for driver in DRIVERS]
    cluster.rows(cluster.primary(), f"{MAKE}; ALTER TABLE drivers OWNER TO app; TRUNCATE drivers", "app")
    threads = [threading.Thread(target=client.run, name=client.driver) for client in every]
    for thread in threads:
        thread.start()
    try:
        yield
        for client in every:
            before = client.committed
            until(
                f"{client.driver} to commit again", lambda client=client, before=before: client.committed > before, 60
            )
    finally:
        for client in every:
            client.done.set()
        for thread in threads:
            thread.join(60)
    for client in every:
        query = f"SELECT id FROM drivers WHERE driver = '{client.driver}'"
        there = {row["id"] for row in cluster.rows(cluster.primary(), query, "app")}
        told = {word: {n for n, held in client.held.items() if held == word} for word in ("committed", "rolled back")}
        assert told["committed"] <= there, (client.driver, sorted(told["committed"] - there)[:5], client.errors)
        assert not told["rolled back"] & there, (client.driver, sorted(told["rolled back"] & there)[:5], client.errors)
        assert not client.unseen, (client.driver, client.unseen[:5])
