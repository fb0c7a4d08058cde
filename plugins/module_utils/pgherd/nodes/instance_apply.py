# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Carrying out the plan of instance.py on this host."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import PgherdError, Unreachable
from ..files.conf_postgres import data_directory, unit
from ..model import Cluster
from ..ports.run import Runner
from ..ports.service import Service
from ..ports.sql import connect
from . import permit
from .clone import Staging
from .instance import local_login
from .instance_check import put_back, wrong_rules, wrong_settings

STREAMING = "SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'"
# Seconds: a receiver tries again every wal_retrieve_retry_interval (5 s).
RECONNECT = 12.0


class Executor:
    """Does the plan's steps on this host."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        version: int,
        runner: Runner,
        service: Service,
        previous: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """*previous*: the configuration files that were changed just now, as host_files found them."""
        self._cluster = cluster
        self._name = name
        self._version = version
        self._runner = runner
        self._service = service
        self._previous = previous or {}

    def initialize(self) -> None:
        """initdb in a place inside the data directory, then move it up: half a cluster never looks like one."""
        options = self._cluster.options
        wal_directory = str(options.get("wal_directory") or "")
        staging = Staging(data_directory(self._cluster, self._version), self._runner, self._version, wal_directory)
        staging.prepare("", wipe=False)
        argv = [
            f"/usr/lib/postgresql/{self._version}/bin/initdb",
            f"--pgdata={staging.data}",
            f"--encoding={options.get('encoding', 'UTF8')}",
            f"--locale={options.get('locale', 'C.UTF-8')}",
            "--username=postgres",
            "--auth-local=peer",
            "--auth-host=scram-sha-256",
        ]
        if options["data_checksums"]:
            argv.append("--data-checksums")
        if wal_directory:
            argv.append(f"--waldir={wal_directory}")
        self._runner.run(argv, user="postgres", timeout=600).expect(
            f"make a new cluster on {self._name}",
            cure="For a locale that is missing, name its package in cluster_packages_extra.",
        )
        staging.adopt(standby=False)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._check(wrong_settings(self._version, self._runner))
        permit.give()
        self._service.start(unit(self._version), timeout=3600)
        self._wait(streaming=False)

    def restart(self) -> None:
        """Restart it, and wait until it answers, and streams again if it is a standby that did."""
        streamed = self._streams(within=RECONNECT)
        self._check(wrong_settings(self._version, self._runner))
        self._service.restart(unit(self._version), timeout=3600)
        self._wait(streaming=streamed)

    def reload(self) -> None:
        """Make it, and systemd for its next start, read the configuration again. Where the server cannot take that, put the
        old one back and say which lines."""
        self._service.reread()
        with connect(self._name, local_login(self._cluster)) as server:
            wrong = [*wrong_settings(self._version, self._runner), *wrong_rules(self._version, server)]
            loaded = server.rows("SELECT pg_conf_load_time() AS at")[0]["at"]
            try:
                self._check(wrong)
            finally:
                server.run("SELECT pg_reload_conf()")
            deadline = time.monotonic() + 10
            while server.rows("SELECT pg_conf_load_time() AS at")[0]["at"] == loaded:
                if time.monotonic() > deadline:
                    raise PgherdError(f"reload {self._name}: the postmaster did not read its files within 10 s.")
                time.sleep(0.1)

    def _check(self, wrong: Sequence[str]) -> None:
        if wrong:
            put_back(self._version, self._previous)
            raise PgherdError(
                f"{self._name} cannot take its configuration: {'; '.join(wrong)}; the old one stays in force.",
                "Correct cluster_postgres_settings or cluster_hba.",
            )

    def _streams(self, within: float) -> bool:
        """Whether it is a standby that streams, or does so *within* seconds: its upstream may be back just now."""
        deadline = time.monotonic() + within
        with connect(self._name, local_login(self._cluster)) as server:
            while server.rows("SELECT 1 WHERE pg_is_in_recovery()"):
                if server.rows(STREAMING):
                    return True
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.2)
        return False

    def _wait(self, streaming: bool, timeout: float = 120.0) -> None:
        query = STREAMING if streaming else "SELECT 1"
        deadline = time.monotonic() + timeout
        while True:
            reason = "its WAL receiver does not stream"
            try:
                with connect(self._name, local_login(self._cluster)) as server:
                    if server.rows(query):
                        return
            except Unreachable as error:
                reason = str(error)
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"start {self._name}: not ready after {timeout:g} s: {reason}",
                    f"Its reason: journalctl -u {unit(self._version)} -n 50",
                )
            time.sleep(0.2)
