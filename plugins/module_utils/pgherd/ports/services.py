# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Starting and stopping what runs for ever, in words that are the same wherever a node runs; see places/."""

from __future__ import annotations

from typing import Protocol

# What runs on one host or the other, by the names that the core has for it.
POSTGRES, REPMGRD, PGPOOL, AGENT = "postgres", "repmgrd", "pgpool", "agent"
# Of Barman: what receives WAL, its maintenance, when backups are due, and one that is taken now.
RECEIVER, CRON, SCHEDULE, BACKUP = "barman-receiver", "barman-cron", "barman-schedule", "barman-backup"

# The states of a service. One that was stopped on purpose is STOPPED, one that ended by itself, or did not come up, FAILED.
RUNNING, STARTING, STOPPING, STOPPED, FAILED = "running", "starting", "stopping", "stopped", "failed"


class Services(Protocol):
    """Starts, stops and reloads what runs on this host, by the names above."""

    def state(self, name: str) -> str:
        """One of the states above; '' where that cannot be told."""

    def since(self, name: str) -> float | None:
        """When it came to run, in whole seconds since the epoch; None when it does not run."""

    def process(self, name: str) -> int:
        """The number of its first process, 0 when it does not run."""

    def start(self, name: str, timeout: float = 120.0, wait: bool = True) -> None:
        """Start it; wait at most *timeout* seconds, or not at all. Raises CommandError when it does not come up, Unreachable
        when it has not in time."""

    def stop(self, name: str, timeout: float = 120.0) -> None:
        """Stop it; wait at most *timeout* seconds. It stays so until it is started."""

    def restart(self, name: str, timeout: float = 120.0, wait: bool = True) -> None:
        """Stop and start it; without *wait* nothing is waited for that may take any time, such as what has to be there before it
        starts."""

    def reload(self, name: str) -> None:
        """Make it read its configuration again."""

    def reread(self) -> None:
        """Have whoever starts services read anew how that is done; nothing is restarted."""

    def written(self, name: str) -> float:
        """When what says how it is started was last written, in seconds since the epoch; 0.0 where nothing of ours does."""

    def log(self, *names: str) -> str:
        """What a person types to read what these have said last."""
