# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Starting and stopping what runs for ever. Hosts have systemd; a pod's agent brings its own implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .run import Result, Runner

# As sudo's rules name it.
PROGRAM = "/usr/bin/systemctl"


class Service(Protocol):
    """Starts, stops and reloads named services."""

    def is_active(self, unit: str) -> bool:
        """Whether the service runs now."""

    def state(self, unit: str) -> str:
        """``active``, ``activating``, ``deactivating``, ``inactive`` (it was stopped) or ``failed``."""

    def active_since(self, unit: str) -> float | None:
        """When it came to run, in seconds since the epoch; None when it does not run."""

    def main_process(self, unit: str) -> int:
        """The number of its first process, 0 when it does not run."""

    def start(self, unit: str, timeout: float = 120.0, wait: bool = True) -> None:
        """Start it; wait at most *timeout* seconds, or not at all. Raises CommandError when it does not come up."""

    def stop(self, unit: str, timeout: float = 120.0) -> None:
        """Stop it; wait at most *timeout* seconds."""

    def restart(self, unit: str, timeout: float = 120.0) -> None:
        """Stop and start it."""

    def reload(self, unit: str) -> None:
        """Make it read its configuration again."""

    def reread(self) -> None:
        """Have the service manager itself read its units again, and nothing restarted."""


class SystemdService:
    """Service through systemctl, run by *prefix* (sudo) where this is not root's process."""

    def __init__(self, runner: Runner, prefix: Sequence[str] = ()) -> None:
        self._runner = runner
        self._prefix = tuple(prefix)

    def is_active(self, unit: str) -> bool:
        """See Service.is_active. Exit codes as in systemctl(1): 0 active, 3 not, 4 no such unit."""
        return self._runner.run(["systemctl", "is-active", "--quiet", unit]).rc == 0

    def state(self, unit: str) -> str:
        """See Service.state; systemctl prints ActiveState, whatever its exit code."""
        return self._runner.run(["systemctl", "is-active", unit]).out.strip()

    def active_since(self, unit: str) -> float | None:
        """See Service.active_since. The time is "@" and whole seconds, or nothing."""
        argv = ["systemctl", "show", "--timestamp=unix", "--property=ActiveState,ActiveEnterTimestamp", unit]
        said = dict(line.split("=", 1) for line in self._runner.run(argv).out.splitlines() if "=" in line)
        entered = said.get("ActiveEnterTimestamp", "").lstrip("@")
        return float(entered) if said.get("ActiveState") == "active" and entered else None

    def main_process(self, unit: str) -> int:
        """See Service.main_process. A unit that is not known has MainPID=0 too (systemd.service(5))."""
        said = self._runner.run(["systemctl", "show", "--property=MainPID", "--value", unit]).out.strip()
        return int(said) if said.isdigit() else 0

    def start(self, unit: str, timeout: float = 120.0, wait: bool = True) -> None:
        """See Service.start. Attempts that failed before do not count: systemd would refuse after too many of them."""
        self._runner.run([*self._prefix, PROGRAM, "reset-failed", unit])
        self._do("start" if wait else "start --no-block", unit, timeout)

    def stop(self, unit: str, timeout: float = 120.0) -> None:
        """See Service.stop."""
        self._do("stop", unit, timeout)

    def restart(self, unit: str, timeout: float = 120.0) -> None:
        """See Service.restart."""
        self._do("restart", unit, timeout)

    def reload(self, unit: str) -> None:
        """See Service.reload."""
        self._do("reload", unit, 60.0)

    def reread(self) -> None:
        """See Service.reread. Root's alone."""
        self._runner.run(["systemctl", "daemon-reload"]).expect("read the changed units")

    def _do(self, verb: str, unit: str, timeout: float) -> Result:
        # NeedDaemonReload would be cheaper to ask, but systemd 252 (Debian 12) overlooks a unit's first drop-in.
        if not self._prefix:
            self.reread()
        done = self._runner.run([*self._prefix, PROGRAM, *verb.split(), unit], timeout=timeout)
        return done.expect(f"{verb} {unit}", cure=f"Its reason: journalctl -u {unit} -n 50")
