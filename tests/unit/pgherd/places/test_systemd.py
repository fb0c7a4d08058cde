# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A host's services: the core's names and states on one side, units and systemd's words on the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pgherd.errors import CommandError
from pgherd.options import Options
from pgherd.places.host import systemd, units, up_to_date
from pgherd.places.host.files import postgres
from pgherd.places.host.files.facts import HostFacts
from pgherd.places.host.systemd import SUDO, SystemdServices
from pgherd.ports.services import AGENT, PGPOOL, POSTGRES, RECEIVER, REPMGRD
from scripted import ScriptedRunner
from world import CLUSTER

UNIT = "postgresql@17-main.service"
SYSTEMCTL = "/usr/bin/systemctl"


def services(*script: tuple[list[str], object], prefix: tuple[str, ...] = ()) -> SystemdServices:
    return SystemdServices(ScriptedRunner(list(script)), units.units(17), prefix)


@pytest.mark.parametrize(
    ("said", "rc", "state"),
    [
        ("active", 0, "running"),
        ("reloading", 0, "running"),
        ("activating", 3, "starting"),
        ("deactivating", 3, "stopping"),
        ("inactive", 3, "stopped"),
        ("failed", 3, "failed"),
        ("", 1, ""),
    ],
)
def test_states_are_neutral(said: str, rc: int, state: str) -> None:
    assert services((["systemctl", "is-active", UNIT], (rc, f"{said}\n", ""))).state(POSTGRES) == state


@pytest.mark.parametrize(
    ("said", "since"),
    [
        ("ActiveState=active\nActiveEnterTimestamp=@1700000000\n", 1700000000.0),
        ("ActiveState=inactive\nActiveEnterTimestamp=@1700000000\n", None),
        ("ActiveState=active\nActiveEnterTimestamp=\n", None),
    ],
)
def test_since(said: str, since: float | None) -> None:
    argv = ["systemctl", "show", "--timestamp=unix", "--property=ActiveState,ActiveEnterTimestamp", "repmgrd.service"]
    assert services((argv, said)).since(REPMGRD) == since


@pytest.mark.parametrize(("said", "process"), [("4711\n", 4711), ("0\n", 0), ("", 0)])
def test_process(said: str, process: int) -> None:
    argv = ["systemctl", "show", "--property=MainPID", "--value", "barman-receive-wal.service"]
    assert services((argv, said)).process(RECEIVER) == process


def test_root_has_changed_units_read_first() -> None:
    asked = [
        ([SYSTEMCTL, "reset-failed", UNIT], ""),
        (["systemctl", "daemon-reload"], ""),
        ([SYSTEMCTL, "start", "--no-block", UNIT], ""),
    ]
    services(*asked).start(POSTGRES, wait=False)


def test_another_user_goes_through_sudo() -> None:
    asked = [([*SUDO, SYSTEMCTL, "reset-failed", UNIT], ""), ([*SUDO, SYSTEMCTL, "start", UNIT], "")]
    services(*asked, prefix=SUDO).start(POSTGRES)


def test_what_does_not_start_names_the_log() -> None:
    failed = ([*SUDO, SYSTEMCTL, "restart", "pgpool2.service"], (1, "", "Job failed"))
    with pytest.raises(CommandError, match=r"journalctl -u pgpool2.service -n 50"):
        services(failed, prefix=SUDO).restart(PGPOOL)


def test_one_log_of_two() -> None:
    assert services().log(PGPOOL, AGENT) == "journalctl -u pgpool2.service -u pgherd-agent.service -n 50"


def test_when_the_unit_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tmp_path / "pgherd.conf"
    monkeypatch.setattr(systemd, "drop_in", lambda unit: str(ours) if unit == UNIT else "/nowhere")
    assert services().written(POSTGRES) == 0.0
    ours.touch()
    assert services().written(POSTGRES) == ours.stat().st_mtime
    assert services().written(PGPOOL) == 0.0


def test_no_session_of_postgresql_gets_a_signal_of_systemds() -> None:
    """SIGINT has a session answer COMMIT for a row that no standby has, SIGTERM to all may never end. See docs/safety.md."""
    lines = postgres.unit_text("pg1", "/srv/pg").splitlines()
    assert [line for line in lines if line.startswith("Kill")] == ["KillMode=mixed", "KillSignal=SIGINT"]


def test_the_drop_in_is_the_one_that_is_rendered() -> None:
    rendered = {
        file.path
        for file in postgres.files(
            replace(CLUSTER, options=Options.of({**vars(CLUSTER.options), "wal_keep_size": "1GB"})),
            "pg1",
            HostFacts(17),
            {},
        )
    }
    assert units.drop_in(UNIT) in rendered


@pytest.mark.parametrize(
    ("since", "asked"),
    [
        (None, [([SYSTEMCTL, "reset-failed", "x.service"], ""), ([SYSTEMCTL, "start", "x.service"], "")]),
        (1.0, [([SYSTEMCTL, "restart", "x.service"], "")]),
        (9.0, [([SYSTEMCTL, "reload", "x.service"], "")]),
    ],
)
def test_units_that_are_named_are_brought_up_to_date(since: float | None, asked: list[tuple[list[str], str]]) -> None:
    """What a plan of theirs says is what the services take."""
    unit = up_to_date.Unit("x.service", ("/f",), reloads=("/d",))
    todo = up_to_date.plan([unit], {"x.service": up_to_date.UnitState(since, {"/f": 9.0})}, written=["/d/conf"])
    reread = (["systemctl", "daemon-reload"], "")
    todo.apply(SystemdServices(ScriptedRunner([*asked[:-1], reread, asked[-1]])))
