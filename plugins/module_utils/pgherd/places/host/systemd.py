# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Services of a host, by systemd."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

from ...ports.run import LocalRunner, Result, Runner
from ...ports.services import FAILED, RUNNING, STARTING, STOPPED, STOPPING
from .units import drop_in, units

# As sudo's rules name it.
PROGRAM = "/usr/bin/systemctl"
# For a process that is not root's.
SUDO = ("sudo", "--non-interactive")
# The core's word for each ActiveState (unit_active_state_table in unit-def.c).
STATES = {
    "active": RUNNING,
    "reloading": RUNNING,
    "refreshing": RUNNING,
    "activating": STARTING,
    "deactivating": STOPPING,
    "inactive": STOPPED,
    "failed": FAILED,
}


class SystemdServices:
    """Services through systemctl, run by *prefix* (sudo) where this is not root's process. *units* has the unit of each
    service; None where units themselves are named."""

    def __init__(self, runner: Runner, units: Mapping[str, str] | None = None, prefix: Sequence[str] = ()) -> None:
        self._runner = runner
        self._units = units
        self._prefix = tuple(prefix)

    def state(self, name: str) -> str:
        """See Services.state; systemctl prints ActiveState, whatever its exit code."""
        return STATES.get(self._runner.run(["systemctl", "is-active", self._unit(name)]).out.strip(), "")

    def since(self, name: str) -> float | None:
        """See Services.since. The time is "@" and whole seconds, or nothing."""
        argv = [
            "systemctl",
            "show",
            "--timestamp=unix",
            "--property=ActiveState,ActiveEnterTimestamp",
            self._unit(name),
        ]
        said = dict(line.split("=", 1) for line in self._runner.run(argv).out.splitlines() if "=" in line)
        entered = said.get("ActiveEnterTimestamp", "").lstrip("@")
        return float(entered) if said.get("ActiveState") == "active" and entered else None

    def process(self, name: str) -> int:
        """See Services.process. A unit that is not known has MainPID=0 too (systemd.service(5))."""
        said = self._runner.run(["systemctl", "show", "--property=MainPID", "--value", self._unit(name)]).out.strip()
        return int(said) if said.isdigit() else 0

    def says(self, name: str) -> str:
        """The line that a unit's main process says of itself (STATUS= in sd_notify(3)); '' for none, as at each start."""
        argv = ["systemctl", "show", "--property=StatusText", "--value", self._unit(name)]
        return self._runner.run(argv).out.strip()

    def signal(self, name: str, number: int) -> None:
        """Send a unit's main process a signal; nothing where it does not run."""
        process = self.process(name)
        with suppress(ProcessLookupError):
            if process:
                os.kill(process, number)

    def start(self, name: str, timeout: float = 120.0, wait: bool = True) -> None:
        """See Services.start. Attempts that failed before do not count: systemd would refuse after too many of them."""
        self._runner.run([*self._prefix, PROGRAM, "reset-failed", self._unit(name)])
        self._do("start" if wait else "start --no-block", name, timeout)

    def stop(self, name: str, timeout: float = 120.0) -> None:
        """See Services.stop."""
        self._do("stop", name, timeout)

    def restart(self, name: str, timeout: float = 120.0, wait: bool = True) -> None:
        """See Services.restart. No unit of ours waits for anything at its start but PostgreSQL's and pgpool's, and sudo's rules
        name this command alone: it is waited for without *wait* too."""
        self._do("restart", name, timeout)

    def reload(self, name: str) -> None:
        """See Services.reload."""
        self._do("reload", name, 60.0)

    def reread(self) -> None:
        """See Services.reread. Root's alone."""
        self._runner.run(["systemctl", "daemon-reload"]).expect("read the changed units")

    def written(self, name: str) -> float:
        """See Services.written: our drop-in."""
        try:
            return os.stat(drop_in(self._unit(name))).st_mtime
        except FileNotFoundError:
            return 0.0

    def log(self, *names: str) -> str:
        """See Services.log."""
        return " ".join(["journalctl", *(f"-u {self._unit(name)}" for name in names), "-n 50"])

    def _unit(self, name: str) -> str:
        return name if self._units is None else self._units[name]

    def _do(self, verb: str, name: str, timeout: float) -> Result:
        # NeedDaemonReload would be cheaper to ask, but systemd 252 (Debian 12) overlooks a unit's first drop-in.
        if not self._prefix:
            self.reread()
        done = self._runner.run([*self._prefix, PROGRAM, *verb.split(), self._unit(name)], timeout=timeout)
        return done.expect(f"{verb} {self._unit(name)}", cure=f"Its reason: {self.log(name)}")


def services(version: int = 0) -> SystemdServices:
    """The services here, with PostgreSQL of major *version* on a node: through sudo where this is not root's process."""
    return SystemdServices(LocalRunner(), units(version), () if os.geteuid() == 0 else SUDO)
