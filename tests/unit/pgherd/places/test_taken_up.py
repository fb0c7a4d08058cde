# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A changed description has all that runs on a host go by it, and restarts nothing that can re-read. See docs/safety.md."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pgherd.description import UNREADABLE, Told, digest
from pgherd.errors import PgherdError, Unreachable
from pgherd.places import deciding
from pgherd.places.deciding import DECIDING, wait_for_commands
from pgherd.places.host import taken_up
from pgherd.places.host.systemd import SystemdServices
from pgherd.places.host.taken_up import Agents, without
from pgherd.places.host.up_to_date import Unit, confirm, observe, plan
from pgherd.ports import processes
from pgherd.render.conf_cluster import text
from scripted import ScriptedRunner
from world import CLUSTER

UNIT = "pgherd-agent.service"
OLD, NEW = digest(text(CLUSTER).encode()), digest(text(replace(CLUSTER, sync_standbys=2)).encode())


class Says:
    """Services of a host whose agent says one line after the other, and the last one for ever."""

    def __init__(self, since: float | None, *lines: str) -> None:
        self.began, self.lines, self.told = since, list(lines), 0

    def since(self, _unit: str) -> float | None:
        return self.began

    def says(self, _unit: str) -> str:
        return self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]

    def signal(self, _unit: str, number: int) -> None:
        assert number == signal.SIGHUP
        self.told += 1

    def log(self, *names: str) -> str:
        return f"the log of {', '.join(names)}"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (taken_up, deciding):
        monkeypatch.setattr(module, "AGAIN", 0.0)
    monkeypatch.setattr(taken_up, "PASSED", 0.05)


@pytest.fixture
def path(tmp_path: Path) -> str:
    found = tmp_path / "cluster.json"
    found.write_text(text(replace(CLUSTER, sync_standbys=2)))
    return str(found)


def test_what_systemd_has_of_it() -> None:
    argv = ["systemctl", "show", "--property=StatusText", "--value", UNIT]
    services = SystemdServices(ScriptedRunner([(argv, f"{Told(OLD).line()}\n"), (argv, "\n")]))
    agents = Agents(services)
    assert agents.told(UNIT) == Told(OLD)
    assert not agents.rereads(UNIT)


@pytest.mark.parametrize(
    ("what", "lines", "limit", "since", "steps"),
    [
        ("it goes by it", [Told(NEW)], 5.0, -9.0, []),
        ("it takes it up", [Told(OLD), Told(OLD, waits="promote"), Told(NEW)], 5.0, -9.0, []),
        (
            "it refused another one before",
            [Told(OLD, refused="0" * 16), Told(OLD, refused="0" * 16), Told(NEW)],
            5.0,
            -9.0,
            [],
        ),
        (
            "it takes back a refusal",
            [Told(NEW, refused="0" * 16), Told(NEW, refused="0" * 16), Told(NEW)],
            5.0,
            -9.0,
            [],
        ),
        (
            "it takes up one that it refused before",
            [Told(OLD, refused=NEW), Told(OLD, refused=NEW), Told(NEW)],
            5.0,
            -9.0,
            [],
        ),
        ("it takes up one that it could not read", [*2 * [Told(OLD, refused=UNREADABLE)], Told(NEW)], 5.0, -9.0, []),
        (
            "it does not in time",
            [Told(OLD, waits="rejoin")],
            0.05,
            -9.0,
            ["taken up within 0.05 s: it waits for rejoin"],
        ),
        ("it ended meanwhile", [Told(OLD), Told(OLD), ""], 5.0, -9.0, ["it does not say by what it goes"]),
        ("check mode: nothing was written", [Told(OLD)], 0.0, -9.0, []),
        ("an earlier release's, from before", [""], 5.0, -9.0, ["changed since it started"]),
        ("an earlier release's, from after", [""], 5.0, 9.0, []),
        ("it does not run", [Told(OLD)], 5.0, None, ["start "]),
        ("its code changed too", [Told(OLD)], 1e9, -9.0, ["code changed since it started"]),
    ],
)
def test_what_a_host_does(
    tmp_path: Path, path: str, what: str, lines: list[Any], limit: float, since: float | None, steps: list[str]
) -> None:
    """*since*: seconds from when the description was written to the agent's start."""
    written = os.stat(path).st_mtime
    code = tmp_path / "code"
    code.touch()
    if "code" not in what:
        os.utime(code, (1.0, 1.0))
    services: Any = Says(None if since is None else written + since, *(getattr(line, "line", str)() for line in lines))
    unit = Unit(UNIT, (str(code),), path)
    todo = plan([unit], {UNIT: observe(unit, services, Agents(services, limit))})
    assert len(todo.steps) == len(steps), todo.steps
    # Signals only go to those that know them: another one would end by it.
    assert bool(services.told) == what.startswith(("it takes", "it refused", "it does not in", "it ended"))
    for step, wanted in zip(todo.steps, steps):
        assert wanted in step.what


@pytest.mark.parametrize(
    ("what", "lines", "said"),
    [
        ("it reads the file now", [Told(OLD), Told(OLD), Told(NEW)], ""),
        ("it goes by the one before still", [Told(OLD, waits="rejoin")], "it waits for rejoin"),
        ("an earlier release's", [""], ""),
    ],
)
def test_one_that_was_being_started_goes_by_the_description_too(
    path: str, what: str, lines: list[Any], said: str
) -> None:
    """Then systemd has nothing to start: it waits for the start that is under way, by the description before."""
    services: Any = Says(None, *(getattr(line, "line", str)() for line in lines))
    agents, unit = Agents(services, 0.05 if said else 5.0), Unit(UNIT, (), path)
    assert plan([unit], {UNIT: observe(unit, services, agents)}).steps
    with pytest.raises(Unreachable, match=said) if said else nullcontext():
        confirm([unit, Unit("other.service")], agents)
    assert (services.told > 0) == (lines != [""])


@pytest.mark.parametrize(("line", "restarts"), [(Told(OLD).line(), 0), ("", 1)])
def test_check_mode_foretells_a_restart_where_there_will_be_one(path: str, line: str, restarts: int) -> None:
    services: Any = Says(os.stat(path).st_mtime + 9.0, line)
    unit = Unit(UNIT, (), path)
    found = observe(unit, services, Agents(services, 0.0))
    assert len(plan([unit], {UNIT: found}, changed=[path]).steps) == restarts


def test_one_that_is_refused_is_an_error_and_no_restart(path: str) -> None:
    """It would not come up again."""
    Path(path).write_text("{")
    services: Any = Says(1.0, Told(OLD, refused=digest(b"{")).line())
    with pytest.raises(PgherdError, match="does not describe a cluster"):
        Agents(services).behind(UNIT, path)
    Path(path).write_text(text(CLUSTER))
    services = Says(1.0, Told(NEW, refused=OLD).line())
    with pytest.raises(PgherdError, match=f"the log of {UNIT}"):
        Agents(services).behind(UNIT, path)
    assert services.told, "it was told to look again"
    services = Says(1.0, Told(NEW, refused=UNREADABLE).line())
    with pytest.raises(PgherdError, match=f"the log of {UNIT}"):
        Agents(services).behind(UNIT, path)


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ([Told(OLD), Told(NEW)], ["/code"]),
        ([""], ["/code", "description"]),
        ([Told(OLD, waits="a look of barman")], ["/code", "description"]),
    ],
)
def test_what_an_agent_has_to_be_started_again_for(path: str, lines: list[Any], left: list[str]) -> None:
    services: Any = Says(1.0, *(getattr(line, "line", str)() for line in lines))
    found = without(path, ("/code", path), Agents(services, 0.05), UNIT)
    assert found == tuple(path if item == "description" else item for item in left)


@pytest.fixture(params=["promote", "switchover"])
def command(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A promotion, or a switchover, without an agent."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, "/test/pgherd", request.param, "--host", "pg1"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def running() -> dict[int, str]:
    return processes.commands("/test/pgherd", DECIDING)


def test_a_command_that_began_before_is_waited_for(command: subprocess.Popen[bytes]) -> None:
    assert list(running()) == [command.pid]
    assert processes.commands("/test/pgherd", ["guard"]) == {}
    with pytest.raises(Unreachable, match=r"/test/pgherd (promote|switchover) --host pg1"):
        wait_for_commands(running, limit=0.05)
    done = threading.Event()
    threading.Thread(target=lambda: (wait_for_commands(running, limit=20.0), done.set()), daemon=True).start()
    time.sleep(0.1)
    assert not done.is_set()
    assert command.stdin
    command.stdin.close()
    command.wait(10)
    assert done.wait(10)


def test_one_that_begins_later_is_not(command: subprocess.Popen[bytes]) -> None:
    """repmgrd may ask again and again; a number that was given to another process is another process."""
    (later,) = running().values()
    looks = iter([{7: "5 validate", command.pid: f"1{later}"}, running(), running()])
    wait_for_commands(lambda: next(looks), limit=0.0)
