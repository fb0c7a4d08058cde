# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Runs ansible-playbook as a person does, and says what it said; it can be killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SITE = "pgherd.cluster.site"
Event = dict[str, Any]


@dataclass(frozen=True, repr=False)
class Run:
    """One run: exit code (negative: killed), PLAY RECAP by host, events of the tasks, other lines that were printed."""

    rc: int
    recap: Mapping[str, Mapping[str, int]]
    events: tuple[Event, ...]
    said: str
    seconds: float

    @property
    def changed(self) -> dict[str, int]:
        """Number of changed tasks of each host that has some."""
        return {host: counts["changed"] for host, counts in self.recap.items() if counts["changed"]}

    @property
    def failed(self) -> dict[str, str]:
        """By host that failed, its message."""
        found: dict[str, str] = {}
        for host, _task, result in self._results("v2_runner_on_failed"):
            parts = [result, *result.get("results", ())]
            found[host] = "\n".join(str(part["msg"]) for part in parts if part.get("msg"))
        return found

    @property
    def unreachable(self) -> set[str]:
        """Hosts that could not be reached."""
        return {host for host, counts in self.recap.items() if counts["unreachable"]}

    def what_changed(self, host: str) -> list[str]:
        """What the tasks of *host* say that they changed: the steps where a task tells them, else its name."""
        found: list[str] = []
        for name, task, result in self._results("v2_runner_on_ok"):
            if name == host and result.get("changed"):
                found += result.get("steps") or [task]
        return found

    def told(self, host: str) -> str:
        """All messages of the tasks of *host* that went well."""
        return "\n".join(
            str(result["msg"])
            for name, _task, result in self._results("v2_runner_on_ok")
            if name == host and result.get("msg")
        )

    @property
    def last_line(self) -> str:
        """The line of health."""
        lines = [line for line in self.said.splitlines() if "  primary " in line]
        return lines[-1] if lines else ""

    def _results(self, kind: str) -> list[tuple[str, str, dict[str, Any]]]:
        return [
            (host, event["task"]["name"], result)
            for event in self.events
            if event["_event"] == kind
            for host, result in event["hosts"].items()
        ]

    def __repr__(self) -> str:
        recap = "\n".join(f"{host}: {dict(counts)}" for host, counts in sorted(self.recap.items()))
        changes = "\n".join(f"{host} changed: {self.what_changed(host)}" for host in self.changed)
        failures = "\n".join(f"{host} failed: {message}" for host, message in self.failed.items())
        return f"exit code {self.rc} after {self.seconds:.1f} s\n{self.said}\n{recap}\n{changes}\n{failures}"


def environment(lab: str) -> dict[str, str]:
    """The environment of Ansible's programs; *lab* names the test hosts."""
    quiet = {"ANSIBLE_HOST_PATTERN_MISMATCH": "ignore", "ANSIBLE_DEPRECATION_WARNINGS": "0", "ANSIBLE_NOCOLOR": "1"}
    return {**os.environ, **quiet, "LAB_CLUSTER": lab}


def ansible_playbook(
    inventory: Path,
    *words: str,
    lab: str = "none",
    extra: Mapping[str, Any] | None = None,
    stop_at: Callable[[Event], bool] | None = None,
    timeout: float = 900.0,
    env: Mapping[str, str] | None = None,
) -> Run:
    """Run ``ansible-playbook -i inventory WORDS -e extra``; *lab* names the test hosts, *env* is more of its environment.

    *stop_at* sees each event as it comes; when it says so, the whole process group gets SIGKILL, as when the control
    machine loses power. So it does after *timeout* seconds.
    """
    environ = {**environment(lab), **(env or {}), "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl"}
    command = ["ansible-playbook", "-i", str(inventory), *words]
    if extra:
        command += ["-e", json.dumps(extra)]
    started = time.monotonic()
    events: list[Event] = []
    said: list[str] = []
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        watchdog = threading.Timer(timeout, _kill, [process])
        watchdog.start()
        try:
            assert process.stdout
            for line in process.stdout:
                if not line.startswith('{"_event"'):
                    said.append(line)
                    continue
                events.append(json.loads(line))
                if stop_at and stop_at(events[-1]):
                    _kill(process)
                    break
            process.wait()
        finally:
            watchdog.cancel()
            _kill(process)
        errors.seek(0)
        said.append(errors.read())
    recap = events[-1].get("stats", {}) if events else {}
    done = tuple(event for event in events if event["_event"].startswith("v2_runner"))
    return Run(process.returncode, recap, done, "".join(said), time.monotonic() - started)


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
