# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Where test nodes live, and what can be done to one: the port behind which systemd hosts are, and pods can come.

Whatever breaks, mends or asks a node goes through it, so the same faults run wherever nodes live. Services have the core's own
names (``postgres``, ``repmgrd``, ``agent``, ``pgpool``, ``barman-receiver``, ``barman-cron``). Nothing here goes over a network
that a fault may cut.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from machine import LabError

VERSIONS = {"trixie": 17, "bookworm": 15}
# A test may have set otherwise for all sessions, and an attack has: what a superuser calls must be PostgreSQL's own.
OPTIONS = (
    r"-c search_path=public -c default_transaction_isolation=read\\ committed -c DateStyle=ISO -c IntervalStyle=postgres"
    " -c client_encoding=UTF8 -c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 -c exit_on_error=off"
)
# Verbs of service(): what a person would do to one.
START, STOP, RESTART, RELOAD, FORGET = "start", "stop", "restart", "reload", "forget"  # forget: that it has failed


# What some place cannot do to its nodes; see Place.cannot.
UNITS, DISKS, CLOCK, NAMES, CROWD = "units", "disks", "clock", "names", "crowd"


class Impossible(LabError):
    """What a test wants cannot be done to nodes of this place: it is skipped, and says why."""


class Place(Protocol):
    """Nodes are called by their names in the inventory. Raises LabError for what fails, LookupError for a node that is off."""

    def nodes(self) -> list[str]:
        """Who is there, running or not."""

    def version(self, node: str) -> int:
        """The major version of a node's PostgreSQL."""

    def address(self, node: str) -> str:
        """Where others reach it."""

    def client(self) -> str:
        """This machine as nodes see it: one address or several, with commas."""

    def known_as(self, node: str) -> str:
        """Its name in its certificate."""

    def front(self, way: str) -> tuple[str, str] | None:
        """Name and address of what clients take for all nodes ("nodes") or all pgpools ("pgpool") together; None where they are
        told of each."""

    def kept(self) -> str:
        """A directory in each node that is root's to write, and survives a power cut."""

    def cannot(self, what: str) -> str:
        """Why nodes cannot be done such a thing (UNITS and so on); '' where they can."""

    def environment(self) -> dict[str, str]:
        """What playbooks need in their environment to reach them."""

    def watching(self, into: Path) -> list[str]:
        """The command that watches where the service of writes leads, for faults/checker/endpoints.py; [] without one."""

    def pid(self, node: str) -> int:
        """Its process 1, as this machine numbers it."""

    # What is in it

    def run(self, node: str, *command: str, stdin: str = "", check: bool = True) -> str:
        """Standard output of a command that root runs in it."""

    def run_as(self, node: str, user: str, *command: str, check: bool = True) -> str:
        """The same that a program's own user ("postgres", "barman") runs."""

    def entered(self, node: str) -> list[str]:
        """What a command of this machine begins with to be in its network; works while it is frozen."""

    def in_network(self, node: str, *command: str, stdin: str = "", check: bool = True) -> str:
        """Standard output of a command of this machine in its network."""

    def path(self, node: str, within: str) -> Path:
        """A file of a running node as this machine reaches it. Symbolic links in it are the caller's business."""

    def sql(self, node: str, database: str = "postgres") -> str:
        """libpq's line for its superuser's session past all networks."""

    def service(self, node: str, verb: str, *services: str, check: bool = True) -> None:
        """Start, stop, restart, reload services, or forget that they have failed."""

    def service_state(self, node: str, service: str) -> str:
        """running, starting, stopping, stopped or failed."""

    def service_wanted(self, node: str, service: str) -> bool:
        """Whether it is started whenever the node is."""

    def main_process(self, node: str, service: str) -> int:
        """Its main process, as the node numbers it; 0 where it does not run."""

    def log(self, node: str, since: float, *services: str) -> list[tuple[float, str]]:
        """(time, line) of what services, or all, have said since *since*; both in seconds of CLOCK_REALTIME."""

    def report(self, node: str, since: float, *services: str) -> str:
        """The same as its own program prints it, for a person."""

    # What can be done to it

    def processes(self, node: str) -> dict[int, str]:
        """Command lines by number, as this machine numbers them."""

    def signal(self, processes: Iterable[int], number: signal.Signals) -> None:
        """Signal processes; one that has ended is no fault."""

    def drop(self, node: str, rules: Iterable[str]) -> None:
        """Packets that match rules of iptables (each with its target) meet them, besides those that did before."""

    def join(self, node: str) -> bool:
        """All packets pass again; whether some did not."""

    def freeze(self, node: str) -> None:
        """It stands still as a whole; its kernel still acknowledges packets."""

    def thaw(self, node: str) -> None:
        """And goes on as if no time had passed."""

    def power_off(self, *nodes: str) -> None:
        """They are gone at once, without a word to anybody."""

    def power_on(self, *nodes: str) -> None:
        """They boot again."""

    def booted(self, node: str) -> bool:
        """Whether one has got as far as starting its services."""

    def state(self, node: str) -> str:
        """running, paused, or another word for off."""

    def heal(self) -> list[str]:
        """What carries all nodes works again; what did not, in words."""
