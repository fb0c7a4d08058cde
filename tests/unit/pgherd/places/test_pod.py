# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Process 1 of a pod with a real PostgreSQL: nothing here needs a service manager, or root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from pgherd import cli
from pgherd.agent import guard_client
from pgherd.errors import CommandError, PgherdError, Unreachable
from pgherd.model import POD
from pgherd.places import chosen
from pgherd.places.host.systemd import SystemdServices
from pgherd.places.pod.first import first
from pgherd.places.pod.objects.template import LEFT
from pgherd.places.pod.programs import member, of
from pgherd.places.pod.services import PodServices
from pgherd.places.pod.supervisor import INTERVAL
from pgherd.ports.services import (
    AGENT,
    BACKUP,
    CRON,
    FAILED,
    PGPOOL,
    POSTGRES,
    RECEIVER,
    REPMGRD,
    RUNNING,
    SCHEDULE,
    STARTING,
    STOPPED,
)
from world import CLUSTER

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
AS = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
pytestmark = pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL's programs are not installed here")


def until(done: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "not within its time"
        time.sleep(0.02)


def lasting(process: subprocess.Popen[bytes], seconds: float) -> tuple[float, float]:
    """How long *process* took to end, and for how much of that the machine did not let this one look: it was asleep for longer
    than it had asked for. The same holds for process 1, which is no better placed and looks as often."""
    began, late, pause = time.monotonic(), 0.0, INTERVAL
    before = began
    while process.poll() is None:
        assert before - began < seconds, "it does not end"
        time.sleep(pause)
        before, last = time.monotonic(), before
        late += max(0.0, before - last - pause)
    return time.monotonic() - began, late


def status(pid: int) -> tuple[str, int]:
    """State and parent of a process, ('', 0) where there is none."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", 0
    return words[0], int(words[1])


class Pod:
    """A pod in *place*, whose process 1 ends within *limit* seconds."""

    def __init__(self, place: Path, limit: float = 10.0) -> None:
        assert PROGRAMS is not None
        self.place, self.services = place, PodServices(f"{place}/services")
        self.log = place / "log"
        script, version = Path(__file__).parents[1] / "pod_process.py", PROGRAMS.parent.name
        with self.log.open("w") as log:
            argv = [sys.executable, str(script), str(place), str(limit), version]
            self.process = subprocess.Popen(argv, stderr=log, stdout=log)
        until((place / "services").exists)
        until(lambda: self.services.state(AGENT) == RUNNING)

    def guarded(self) -> int:
        """How often the guard was asked."""
        path = self.place / "guard"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def run(self, program: str, *words: str) -> str:
        done = subprocess.run([f"{PROGRAMS}/{program}", *words], capture_output=True, text=True, check=True, **AS)  # type: ignore[call-overload]
        return str(done.stdout)

    def sql(self, statement: str) -> str:
        return self.run("psql", "-XAtq", "-h", str(self.place), "-U", "postgres", "-c", statement, "postgres").strip()

    def children(self) -> dict[int, str]:
        """The children of process 1, with their states."""
        found = {int(entry.name): status(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
        return {pid: state for pid, (state, parent) in found.items() if parent == self.process.pid}

    def between(self, *words: str) -> float:
        """The seconds from the line that has the first of two *words* to that with the other, by process 1's clock."""
        lines = self.log.read_text().splitlines()
        first, last = (float(line.split()[0]) for word in words for line in lines if f"process 1: {word}" in line)
        return last - first

    def end(self, seconds: float) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        place = Path(made)
        if AS:
            shutil.chown(place, "postgres", "postgres")
        place.chmod(0o755)
        argv = [f"{PROGRAMS}/initdb", "-D", f"{place}/data", "--no-sync", "-U", "postgres", "-A", "trust", "--locale=C"]
        subprocess.run(argv, check=True, capture_output=True, **AS)  # type: ignore[call-overload]
        yield place


def made(template: Path, place: Path) -> Path:
    """A place with PostgreSQL's data and configuration."""
    subprocess.run(["cp", "-a", f"{template}/data", str(place)], check=True)
    conf = f"listen_addresses = ''\nunix_socket_directories = '{place}'\nfsync = off\nshared_buffers = 1MB\n"
    (place / "postgresql.conf").write_text(conf)
    if AS:
        for path in (place, place / "postgresql.conf"):
            shutil.chown(path, "postgres", "postgres")
    return place


@pytest.fixture(scope="module")
def pod(template: Path) -> Iterator[Pod]:
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        found = Pod(made(template, Path(place)))
        try:
            yield found
        finally:
            found.end(15)


@pytest.fixture
def running(pod: Pod) -> Pod:
    """With a server that runs."""
    (pod.place / "refuse").unlink(missing_ok=True)
    pod.services.start(POSTGRES)
    return pod


def test_a_start_is_guarded_and_waited_for(pod: Pod) -> None:
    asked, began = pod.guarded(), time.time()
    assert pod.services.state(POSTGRES) == STOPPED
    assert (pod.services.process(POSTGRES), pod.services.since(POSTGRES)) == (0, None)
    pod.services.start(POSTGRES)
    assert pod.services.state(POSTGRES) == RUNNING
    assert pod.guarded() == asked + 1
    assert pod.sql("SELECT 1") == "1"
    pid = int((pod.place / "data/postmaster.pid").read_text().splitlines()[0])
    assert pod.services.process(POSTGRES) == pid
    assert pod.process.pid in status(pid)
    since = pod.services.since(POSTGRES)
    assert int(began) <= float(since or 0.0) <= time.time()
    pod.services.start(POSTGRES)
    assert (pod.services.process(POSTGRES), pod.guarded()) == (pid, asked + 1), "what runs is not started again"


def test_a_reload(running: Pod) -> None:
    with (running.place / "postgresql.conf").open("a") as conf:
        conf.write("work_mem = '5MB'\n")
    running.services.reload(POSTGRES)
    until(lambda: running.sql("SHOW work_mem") == "5MB")


def test_a_crash_is_seen_and_the_guard_asked_again(running: Pod) -> None:
    pid, asked = running.services.process(POSTGRES), running.guarded()
    os.kill(pid, signal.SIGKILL)
    until(lambda: running.services.process(POSTGRES) not in (0, pid) and running.services.state(POSTGRES) == RUNNING)
    assert running.guarded() > asked
    assert status(pid) == ("", 0), "it is no zombie"
    assert running.sql("SELECT 1") == "1"


def test_an_agent_that_ends_leaves_the_server_alone(running: Pod) -> None:
    agent, server = running.services.process(AGENT), running.services.process(POSTGRES)
    os.kill(agent, signal.SIGKILL)
    until(lambda: running.services.process(AGENT) not in (0, agent))
    running.services.restart(AGENT)
    assert running.services.process(POSTGRES) == server


def test_a_restart_need_not_be_waited_for(pod: Pod) -> None:
    """It is not up before something is there that may never come: a repmgrd whose node nobody has registered."""
    registered = pod.place / "registered"
    registered.touch()
    pod.services.start("member")
    before = pod.services.process("member")
    registered.unlink()
    pod.services.restart("member", wait=False)
    until(lambda: status(before) == ("", 0))
    assert (pod.services.state("member"), pod.services.process("member")) == (STARTING, 0)
    # Again while it waits, and it is one that comes up.
    pod.services.restart("member", wait=False)
    registered.touch()
    until(lambda: pod.services.state("member") == RUNNING)
    assert pod.services.process("member") not in (0, before)
    # One that is stopped before it has ended stays so.
    pod.services.restart("member", wait=False)
    pod.services.stop("member")
    assert pod.services.state("member") == STOPPED


def test_a_stop_is_a_shutdown_and_lasts(running: Pod) -> None:
    asked = running.guarded()
    running.services.stop(POSTGRES)
    assert running.services.state(POSTGRES) == STOPPED
    assert "shut down" in running.run("pg_controldata", f"{running.place}/data")
    assert not (running.place / "data/postmaster.pid").exists()
    time.sleep(0.3)
    assert (running.services.state(POSTGRES), running.guarded()) == (STOPPED, asked)


def test_one_that_was_shut_down_by_a_signal_stays_down(running: Pod) -> None:
    """As its agent does it; see data/postmaster.py."""
    os.kill(running.services.process(POSTGRES), signal.SIGINT)
    until(lambda: running.services.state(POSTGRES) == STOPPED)
    running.services.stop(POSTGRES)


def test_nothing_starts_that_the_guard_refuses(running: Pod) -> None:
    running.services.stop(POSTGRES)
    (running.place / "refuse").touch()
    with pytest.raises(CommandError, match=r"start postgres: .*what has to come before it ended with exit code 1"):
        running.services.start(POSTGRES)
    until(lambda: running.services.state(POSTGRES) == FAILED)
    assert running.services.process(POSTGRES) == 0
    running.services.stop(POSTGRES)
    assert running.services.state(POSTGRES) == FAILED, "a person did not stop it"
    (running.place / "refuse").unlink()
    running.services.start(POSTGRES)
    assert running.services.state(POSTGRES) == RUNNING


def test_what_does_not_end_is_killed_in_its_time(pod: Pod) -> None:
    pod.services.start("stubborn")
    pid, began = pod.services.process("stubborn"), time.monotonic()
    pod.services.stop("stubborn")
    assert 0.5 < time.monotonic() - began < 5.0
    assert (pod.services.state("stubborn"), status(pid)) == (STOPPED, ("", 0))


def test_a_limit_is_the_callers_alone(pod: Pod) -> None:
    pod.services.start("stubborn")
    with pytest.raises(Unreachable, match=r"stop stubborn: it has not ended after 0\.05 s"):
        pod.services.stop("stubborn", timeout=0.05)
    until(lambda: pod.services.state("stubborn") == STOPPED)


def test_orphans_are_adopted_and_reaped(pod: Pod) -> None:
    pod.services.start("parent", wait=False)
    until(lambda: pod.services.state("parent") == STOPPED)
    orphan = int((pod.place / "orphan").read_text())
    assert status(orphan)[1] in (pod.process.pid, 0)
    until(lambda: status(orphan) == ("", 0))
    assert "Z" not in pod.children().values()


@pytest.mark.parametrize(("name", "why"), [("missing", "No such file or directory"), ("other", "does not run it")])
def test_what_cannot_be_started_says_why(pod: Pod, name: str, why: str) -> None:
    with pytest.raises(PgherdError, match=why):
        pod.services.start(name)


def test_without_process_1_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="state postgres: process 1 does not answer"):
        PodServices(f"{tmp_path}/services").state(POSTGRES)


def test_all_end_within_the_limit(template: Path) -> None:
    """With a session that would go on, something that has more time than there is, and an orphan."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        pod = Pod(made(template, Path(place)), limit=6.0)
        try:
            for name in (POSTGRES, "slow"):
                pod.services.start(name)
            pod.services.start("parent", wait=False)
            until((pod.place / "orphan").exists)
            argv = [f"{PROGRAMS}/psql", "-h", place, "-U", "postgres", "-c", "SELECT pg_sleep(100)", "postgres"]
            client = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **AS)  # type: ignore[call-overload]
            until(lambda: pod.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(100)%'") != "1")
            before = pod.children()
            pod.process.send_signal(signal.SIGTERM)
            took, late = lasting(pod.process, 20.0)
            assert pod.process.returncode == 0
            assert took > 4.5
            # By its own clock the limit, a second for what SIGKILL ends, and a half; for who waits, what a pod has besides.
            assert pod.between("ends all within", "nothing runs any more") - late < 7.5, pod.log.read_text()
            assert took - late < 6.0 + LEFT, f"{took:.1f} s, {late:.1f} s late\n{pod.log.read_text()}"
            assert client.wait(5) != 0
            assert [pid for pid in before if status(pid) != ("", 0)] == []
            assert "Database cluster state:               shut down" in pod.run("pg_controldata", f"{place}/data")
            with pytest.raises(Unreachable):
                pod.services.state(POSTGRES)
        finally:
            with suppress(ProcessLookupError):
                pod.process.kill()


@pytest.mark.parametrize(
    ("me", "services"),
    [
        ("pg1", [AGENT, POSTGRES, REPMGRD]),
        ("pool1", [AGENT, PGPOOL]),
        ("backup1", [AGENT, CRON, SCHEDULE, RECEIVER, BACKUP]),
    ],
)
def test_what_runs_in_which_pod(me: str, services: list[str]) -> None:
    found = of(CLUSTER, me)
    assert list(found) == services
    assert all(program.argv[0].startswith("/") for program in found.values())
    assert found[AGENT].argv == ("/usr/bin/pgherd", "agent", "--host", me)
    assert [name for name, program in found.items() if program.once] == [name for name in services if name == BACKUP]


@pytest.mark.parametrize(
    ("me", "filled", "begun"),
    [
        ("pg1", True, [AGENT, POSTGRES, REPMGRD]),
        ("pg1", False, [AGENT, REPMGRD]),
        ("pool1", True, [AGENT, PGPOOL]),
        ("backup1", True, [AGENT, CRON, SCHEDULE, RECEIVER]),
    ],
)
def test_what_runs_from_the_beginning(me: str, filled: bool, begun: list[str]) -> None:
    """Where there are no data, the agent sees to that; repmgrd waits by itself."""
    assert first(of(CLUSTER, me), filled) == begun


def test_barman_finds_its_passwords() -> None:
    assert {program.env["PGPASSFILE"] for program in of(CLUSTER, "backup1").values()} == {"/var/lib/barman/.pgpass"}
    assert not any(program.env for name in ("pg1", "pool1") for program in of(CLUSTER, name).values())


def test_what_is_done_once_is_waited_for(pod: Pod) -> None:
    began = time.monotonic()
    pod.services.start("job")
    assert time.monotonic() - began >= 0.3
    assert pod.services.state("job") == STOPPED
    (pod.place / "refuse").touch()
    with pytest.raises(CommandError, match=r"start job: .*ended with exit code 3"):
        pod.services.start("job")
    (pod.place / "refuse").unlink()
    assert pod.services.state("job") == FAILED


def test_a_node_is_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its programs, and what its agent and its guard get, when the image says that it is a pod."""
    found = of(CLUSTER, "pg2")
    assert list(found) == [AGENT, POSTGRES, REPMGRD]
    where = ("/run/pgherd/command", "--host", "pg2", "--data", "/var/lib/postgresql/17/main")
    assert found[POSTGRES].before == ((sys.executable, "-I", "-S", guard_client.__file__, *where),)
    assert found[REPMGRD].before == (member("/usr/lib/postgresql/17/bin", 2, 5432),)
    assert found[POSTGRES].argv[0] == "/usr/lib/postgresql/17/bin/postgres"
    monkeypatch.setenv(chosen.VARIABLE, "pod")
    pods = replace(CLUSTER, nodes=tuple(replace(node, place=POD) for node in CLUSTER.nodes))
    here = chosen.here(pods, "pg2", print)
    assert isinstance(here.services, PodServices)
    assert (here.me, here.layout.version, chosen.commands()) == ("pg2", 17, "/run/pgherd/command")
    stopped: list[str] = []
    monkeypatch.setattr(PodServices, "stop", lambda self, name: stopped.append(name))
    for links in (here.links, chosen.links_from(pods, "pg2")):
        links.stop()
    assert stopped == [POSTGRES, POSTGRES]
    monkeypatch.delenv(chosen.VARIABLE)
    assert isinstance(chosen.here(CLUSTER, "pg2", print).services, SystemdServices)
    assert chosen.commands() == "/run/pgherd-agent/command"


def test_repmgrd_waits_until_its_node_is_registered(pod: Pod) -> None:
    """Quietly, whatever is not there yet: a server, the database, the table, the row."""
    given = {"text": True, **AS}

    def write(*statements: str) -> None:
        words = [word for statement in statements for word in ("-c", statement)]
        pod.run("psql", "-h", str(pod.place), "-U", "postgres", "-d", "repmgr", *words)

    argv = member(str(PROGRAMS), 2, 5432, str(pod.place))
    waiting = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **given)  # type: ignore[call-overload]
    try:
        assert waiting.stdout.readline().startswith("waits until this node is registered")
        pod.services.start(POSTGRES)
        pod.sql("CREATE DATABASE repmgr")
        write("CREATE SCHEMA repmgr", "CREATE TABLE repmgr.nodes AS SELECT 1 AS node_id")
        assert waiting.poll() is None
        write("INSERT INTO repmgr.nodes VALUES (2)")
        assert (waiting.wait(60), waiting.stdout.read()) == (0, "")
    finally:
        waiting.kill()
        waiting.communicate()
    # Of one that is known nothing is said.
    argv = member(str(PROGRAMS), 1, 5432, str(pod.place))
    done = subprocess.run(argv, capture_output=True, check=True, **given)  # type: ignore[call-overload]
    assert done.stdout + done.stderr == ""


def test_its_services_are_told_by_the_command(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(cli, "say", said.append)
    monkeypatch.setattr("pgherd.places.pod.here.SERVICES", f"{pod.place}/services")
    assert cli.main(["service", "restart", "agent"]) == 3
    assert said == ["pgherd: speak with process 1: this is no pod. A host's services are systemd's."]
    monkeypatch.setenv(chosen.VARIABLE, "pod")
    before = pod.services.process(AGENT)
    assert [cli.main(["service", verb, "agent"]) for verb in ("restart", "state")] == [0, 0]
    assert (said[1:], pod.services.process(AGENT) != before) == ([RUNNING], True)
