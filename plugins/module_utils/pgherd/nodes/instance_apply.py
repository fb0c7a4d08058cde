# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Carrying out the plan of instance.py on this host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..data import datadir, incarnation
from ..data.clone import Staging
from ..errors import PgherdError, Unreachable
from ..objects.orders import reload
from ..ports.here import Here
from ..ports.services import POSTGRES
from ..ports.sql import Server, connect
from ..ports.wait import last_look, or_silent, reason_left
from ..programs.postgres import control_data
from ..render.quoting import single_quoted
from . import evidence
from .instance import local_login
from .instance_check import put_back, wrong_files, wrong_rules
from .trial import CONF

# One that replays late by design first replays what it has: until then it has no receiver after its start.
STREAMING = (
    "SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming' UNION ALL SELECT 1 FROM pg_stat_activity"
    " WHERE backend_type = 'startup' AND wait_event = 'RecoveryApplyDelay'"
)
# Seconds: a receiver tries again every wal_retrieve_retry_interval (5 s).
RECONNECT = 12.0
PENDING = "SELECT name, current_setting(name) AS value FROM pg_settings WHERE pending_restart ORDER BY name"


def _as_they_are(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lines with the values in force. PostgreSQL goes on to say that a setting waits for a restart where its line is gone, and
    not any more where a line has the value in force (ProcessConfigFileInternal() in guc-file.l; tried on 15)."""
    return "".join(f"{row['name']} = {single_quoted(str(row['value']))}\n" for row in rows)


class InstanceExecutor:
    """Does the plan's steps on this host."""

    def __init__(self, here: Here, previous: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """*previous*: the configuration files that were changed just now, as host_files found them."""
        self._here = here
        self._name = here.me
        self._services = here.services
        self._previous = previous or {}

    def initialize(self) -> None:
        """initdb in a place inside the data directory, then move it up: half a cluster never looks like one."""
        options = self._here.cluster.options
        wal_directory = options.wal_directory
        staging = Staging(self._here.layout, wal_directory)
        staging.prepare("", wipe=False)
        argv = [
            f"{self._here.layout.programs}/initdb",
            f"--pgdata={staging.data}",
            f"--encoding={options.encoding}",
            f"--locale={options.locale}",
            "--username=postgres",
            "--auth-local=peer",
            "--auth-host=scram-sha-256",
        ]
        if options.data_checksums:
            argv.append("--data-checksums")
        if wal_directory:
            argv.append(f"--waldir={wal_directory}")
        done = self._here.runner.run(argv, user="postgres", timeout=600)
        locale = "For a locale that is missing, name its package in cluster_packages_extra."
        done.expect(f"make a new cluster on {self._name}", cure=locale if "locale" in done.err else "")
        # Wherever this run ends, the next one sees that nobody has anything of these data.
        data, there = self._here.layout.data, replace(self._here.layout, data=staging.data)
        made = datadir.made(control_data(there, self._here.runner))
        incarnation.initialized(data, made, staging.data)
        staging.adopt(standby=False)
        # With a second name of its pg_control now.
        incarnation.initialized(data, made)

    def start(self, **known: Any) -> None:
        """Start it, and wait until it answers. *known*: what the start guard cannot ask itself, as Evidence.of() takes it."""
        self._check(self._wrong())
        if known:
            evidence.give(evidence.Evidence.of(known))
        try:
            self._services.start(POSTGRES, timeout=3600)
        finally:
            # It is for this start alone, and where the server was on its way already no guard has taken it.
            evidence.take()
        self._wait(streaming=False)

    def restart(self) -> None:
        """Restart it, and wait until it answers, and streams again if it is a standby that did. Where it does not come up with
        files that were changed just now, have it run with those before them, and say so."""
        streamed = self._streams(within=RECONNECT)
        self._check(self._wrong())
        try:
            self._services.restart(POSTGRES, timeout=3600)
            self._wait(streaming=False)
        except PgherdError as error:
            if not put_back(self._here.layout, self._previous, [CONF]):
                raise
            self._services.start(POSTGRES, timeout=3600)
            self._wait(streaming=streamed)
            raise PgherdError(
                f"{self._name} did not start with its changed settings: {error} It runs with those before them again.",
                "Correct cluster_postgres_settings.",
            ) from error
        self._wait(streaming=streamed)

    def put_back(self) -> None:
        """Take settings back that wait for a restart, since another node did not come back from its own."""
        with connect(self._name, local_login(self._here.cluster, self._here.layout)) as server:
            lines = _as_they_are(server.rows(PENDING))
            for previous in (self._with(lines), self._previous):
                put_back(self._here.layout, previous, [CONF])
                self._reread(server)

    def _with(self, lines: str) -> dict[str, Mapping[str, Any]]:
        path = f"{self._here.layout.configuration}/{CONF}"
        file = self._previous.get(path, {})
        return {path: {**file, "content": f"{file.get('content', '')}{lines}"}}

    def reload(self) -> None:
        """Make it, and who starts it for its next start, read the configuration again. Where the server cannot take that, put the
        old one back and say which lines."""
        self._services.reread()
        with connect(self._name, local_login(self._here.cluster, self._here.layout)) as server:
            wrong = [*self._wrong(), *wrong_rules(self._here.layout, server)]
            try:
                self._check(list(dict.fromkeys(wrong)))
            finally:
                self._reread(server)

    def _reread(self, server: Server) -> None:
        def loaded() -> Any:
            return server.rows("SELECT pg_conf_load_time() AS at")[0]["at"]

        before = loaded()
        reload(server)
        if last_look(loaded, lambda at: bool(at != before), 10.0, 0.1) == before:
            raise PgherdError(f"reload {self._name}: the postmaster did not read its files within 10 s.")

    def _wrong(self) -> list[str]:
        return wrong_files(self._here.layout, self._here.runner)

    def _check(self, wrong: Sequence[str]) -> None:
        if wrong:
            put_back(self._here.layout, self._previous)
            raise PgherdError(
                f"{self._name} cannot take its configuration: {'; '.join(wrong)}; the old one stays in force.",
                "Correct cluster_postgres_settings or cluster_hba.",
            )

    def _streams(self, within: float) -> bool:
        """Whether it is a standby that streams, or does so *within* seconds: its upstream may be back just now."""
        with connect(self._name, local_login(self._here.cluster, self._here.layout)) as server:

            def streams() -> bool | None:
                """None where it is no standby."""
                standby = server.rows("SELECT 1 WHERE pg_is_in_recovery()")
                return bool(server.rows(STREAMING)) if standby else None

            return bool(last_look(streams, lambda found: found is not False, within, 0.2))

    def _wait(self, streaming: bool, timeout: float = 120.0) -> None:
        query = STREAMING if streaming else "SELECT 1"

        def against() -> str:
            with connect(self._name, local_login(self._here.cluster, self._here.layout)) as server:
                return "" if server.rows(query) else "its WAL receiver does not stream"

        if reason := reason_left(or_silent(against), timeout, 0.2):
            raise Unreachable(
                f"start {self._name}: not ready after {timeout:g} s: {reason}",
                f"Its reason: {self._services.log(POSTGRES)}",
            )
