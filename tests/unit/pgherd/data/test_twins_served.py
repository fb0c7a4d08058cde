# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Twins as real servers make them: two standbys of one primary, promoted apart, have each begun timeline 2."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pgherd.data import datadir
from pgherd.data.twins import OWN, Served, Stored, parted
from pgherd.layout import Layout, debian
from pgherd.model import REPMGR_DATABASE, lsn_to_int
from pgherd.observe.node_state import NodeState, ask
from pgherd.ports.run import LocalRunner
from pgherd.ports.sql import connect
from pgherd.programs.postgres import control_data
from real_servers import REPMGR, VERSIONS, RealServers, installed, running

pytestmark = installed


class Servers(RealServers):
    """Four of them in *place*: ``old`` was the primary of ``new`` and ``twin``; ``good`` is a standby of ``new``."""

    PORTS = {"old": 5511, "new": 5512, "twin": 5513, "good": 5514}

    def begin(self) -> None:
        """The old primary."""
        self.run("initdb", "-D", self.data("old"), "--no-sync", "-U", "postgres", "-A", "trust", "-k", "--locale=C")
        conf = "listen_addresses = ''\nfsync = off\nshared_buffers = 4MB\nwal_keep_size = 512MB\nhot_standby = on\n"
        (self.place / "old/postgresql.conf").write_text(f"{conf}unix_socket_directories = '{self.place}'\n")
        self.start("old")
        self.sql("old", f"CREATE DATABASE {REPMGR_DATABASE}")
        self.query("old", REPMGR)
        self.query("old", "CREATE TABLE public.rows (what text)")

    def clone(self, source: str, name: str) -> None:
        """*name* streams from *source* then."""
        there = f"host={self.place} port={self.PORTS[source]} user=postgres"
        self.run("pg_basebackup", "-D", self.data(name), "-d", there, "-c", "fast", "--no-sync")
        datadir.make_standby(self.data(name), there, "")
        self.start(name)
        self.until(lambda: self.state(name).streaming)

    def query(self, name: str, text: str) -> None:
        """A statement in the database that agents ask."""
        self.sql(name, text, REPMGR_DATABASE)

    def asked(self, name: str) -> dict[str, object]:
        """How agents' questions are put here."""
        return self.login(name, "postgres", REPMGR_DATABASE)

    def state(self, name: str) -> NodeState:
        with connect(name, self.asked(name)) as server:
            return ask(name, server)

    def rows(self, name: str, what: str, number: int) -> None:
        self.query(name, f"INSERT INTO public.rows (what) SELECT '{what}' FROM generate_series(1, {number})")

    def of_nobody(self, name: str) -> None:
        """Start it as a standby of nobody, as the start guard does, and let it read all that it has."""
        datadir.make_standby(self.data(name), "", "")
        self.start(name)
        self.until(lambda: self.state(name).settled)

    def served(self, name: str, source: str) -> str:
        """parted() of two that run."""
        with connect(name, self.asked(name)) as mine, connect(source, self.asked(source)) as theirs:
            found = ask(name, mine)
            return parted(found.position, found.timeline, Served(mine), theirs, ask(source, theirs).timeline)

    def stored(self, name: str, source: str) -> str:
        """parted() of one that is stopped."""
        control = control_data(self.layout(name), LocalRunner())
        mine = datadir.judged(self.layout(name), control)
        assert mine.clean
        end = max(mine.checkpoint, lsn_to_int(control["Minimum recovery ending location"]))
        with connect(source, self.asked(source)) as theirs:
            return parted(end, mine.timeline, Stored(self.data(name)), theirs, ask(source, theirs).timeline)

    def layout(self, name: str) -> Layout:
        return debian(int(self.programs.parts[-2]), self.data(name))


@pytest.fixture(params=VERSIONS, ids=lambda path: path.parts[-3])
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    with running(Servers, request.param) as found:
        yield found


def apart(servers: Servers, ends: str) -> None:
    """``twin`` and ``new`` promoted one after the other at one and the same position, with rows of their own; ``twin``
    *ends* soon after."""
    servers.clone("old", "new")
    servers.clone("old", "twin")
    servers.rows("old", "both", 100)
    servers.until(lambda: servers.state("twin").position == servers.state("new").position == written(servers, "old"))
    servers.sql("twin", "SELECT pg_promote()")
    servers.rows("twin", "of the twin", 20)
    servers.stop("twin", ends)
    servers.stop("old")
    # What it sent last may not have come, so that the two begin elsewhere or not.
    servers.sql("new", "SELECT pg_promote()")
    servers.rows("new", "acknowledged", 20000)


def written(servers: Servers, name: str) -> int:
    with connect(name, servers.asked(name)) as server:
        return lsn_to_int(server.rows("SELECT pg_current_wal_flush_lsn()::text AS lsn")[0]["lsn"])


@pytest.mark.parametrize("ends", ["fast", "immediate"])
def test_a_twin_is_seen_whatever_its_control_file_says(servers: Servers, ends: str) -> None:
    """Killed right after its promotion, its last checkpoint is one from before, and what a standby of nobody leaves is a
    standby's: pg_rewind sees nothing, and the timelines' numbers say nothing."""
    apart(servers, ends)
    servers.of_nobody("twin")
    assert servers.state("twin").timeline == servers.state("new").timeline == 2
    assert servers.served("twin", "new").startswith(OWN)
    servers.stop("twin")
    assert servers.stored("twin", "new").startswith(OWN)
    if ends == "fast":
        source = f"host={servers.place} port={servers.PORTS['new']} user=postgres dbname=postgres"
        said = servers.run("pg_rewind", "-D", servers.data("twin"), f"--source-server={source}", "--dry-run")
        assert "no rewind required" in said


def test_a_twin_is_seen_behind_the_next_promotion(servers: Servers) -> None:
    """The primary's history says that all to the end of timeline 2 is its own, and the twin's number is 2."""
    apart(servers, "fast")
    servers.stop("new")
    servers.of_nobody("new")
    servers.sql("new", "SELECT pg_promote()")
    servers.of_nobody("twin")
    assert (servers.state("twin").timeline, servers.state("new").timeline) == (2, 3)
    assert servers.served("twin", "new").startswith(OWN)
    servers.stop("twin")
    assert servers.stored("twin", "new").startswith(OWN)


def test_what_is_of_one_history_is_not_parted(servers: Servers) -> None:
    """A standby, and the old primary, which wrote something more before it ended: that is for a rewind."""
    servers.clone("old", "new")
    servers.rows("old", "both", 100)
    servers.until(lambda: servers.state("new").position == written(servers, "old"))
    servers.stop("new")
    servers.rows("old", "more", 100)
    servers.stop("old")
    servers.of_nobody("new")
    servers.sql("new", "SELECT pg_promote()")
    servers.rows("new", "acknowledged", 20000)
    servers.clone("new", "good")
    servers.rows("new", "acknowledged", 100)
    servers.until(lambda: servers.state("good").position == written(servers, "new"))
    assert servers.served("good", "new") == ""
    servers.stop("good")
    assert servers.stored("good", "new") == ""
    assert servers.stored("old", "new") == ""
