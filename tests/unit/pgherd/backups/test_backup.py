# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The Barman host's one state: what is planned for which finding, and how it is carried out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pgherd.backups.backup import BackupState, BarmanSlot, Open, observe, plan
from pgherd.backups.backup_apply import BackupExecutor
from pgherd.errors import CommandError, Conflict, PgherdError, Unreachable
from pgherd.places.host.systemd import SystemdServices
from pgherd.places.host.units import units
from pgherd.ports.services import BACKUP, CRON, RECEIVER, RUNNING, SCHEDULE, STOPPED
from pgherd.programs import barman
from pgherd.programs.barman import Client
from pgherd.programs.barman_view import DONE, FAILED, WAITING, Backup, BarmanView, Check
from pgherd.render.conf_barman import BarmanLayout
from scripted import ScriptedRunner, ScriptedServer

PLACE = BarmanLayout("demo", "barman", "/nowhere")
UNITS = {CRON: ("cron",), SCHEDULE: ("timer",), RECEIVER: ("unit", "conf")}
GOOD = BackupState(
    configured=True,
    slot=BarmanSlot(active=True),
    checks=(Check("postgresql", True),),
    backups=(Backup("2", DONE), Backup("1", DONE)),
)
NO_WAL = Check("wal_archive", False, "please make sure WAL shipping is setup")


def actions(state: BackupState) -> list[str]:
    return [step.action for step in plan(PLACE, state).steps]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (GOOD, []),
        (BackupState(), ["create_slot", *["start"] * 4, "archive", "backup", "confirm"]),
        (replace(GOOD, slot=None), ["create_slot", "confirm"]),
        (replace(GOOD, idle=(RECEIVER,)), ["start", "confirm"]),
        (replace(GOOD, stale=(RECEIVER,)), ["restart", "confirm"]),
        (replace(GOOD, backups=()), ["backup", "confirm"]),
        (replace(GOOD, gap=True), ["backup", "confirm"]),
        (replace(GOOD, backups=(Backup("1", WAITING),)), ["complete", "confirm"]),
        (replace(GOOD, backups=(Backup("1", "STARTED"),), backing_up=True), ["backup", "confirm"]),
        (replace(GOOD, backups=(Backup("1", "STARTED"),)), ["backup", "delete", "confirm"]),
        (replace(GOOD, backups=(Backup("1", FAILED),)), ["backup", "delete", "confirm"]),
        (replace(GOOD, backups=(Backup("3", "STARTED"), *GOOD.backups), backing_up=True), []),
        (replace(GOOD, backups=(Backup("3", FAILED), *GOOD.backups)), ["delete", "confirm"]),
        (replace(GOOD, checks=(NO_WAL,), backups=()), ["archive", "backup", "confirm"]),
        (
            replace(GOOD, slot=BarmanSlot(active=False, lost=True)),
            ["stop", "drop_slot", "create_slot", "reset", "start", "backup", "confirm"],
        ),
        (
            replace(GOOD, slot=BarmanSlot(active=False, lost=True), idle=(RECEIVER,), backups=(Backup("1", WAITING),)),
            ["stop", "drop_slot", "create_slot", "reset", "start", "backup", "confirm"],
        ),
    ],
)
def test_plan(state: BackupState, expected: list[str]) -> None:
    assert actions(state) == expected
    todo = plan(PLACE, state)
    assert todo.changed == bool(expected)
    assert (todo.before == todo.after) == (not expected or (state.slot == GOOD.slot and _same(todo.before)))
    assert plan(PLACE, GOOD).after == {**todo.after}


def _same(before: Any) -> bool:
    return bool(before == plan(PLACE, GOOD).after)


def test_a_backup_that_is_being_taken_is_joined() -> None:
    state = replace(GOOD, backups=(Backup("1", "STARTED"),), backing_up=True)
    (step, _confirm) = plan(PLACE, state).steps
    assert (step.what, dict(step.args)) == ("wait for the backup that is being taken", {"joined": True})


def test_backups_of_another_cluster_are_refused() -> None:
    state = replace(GOOD, checks=(Check("systemid_coherence", False, "the system Id changed"),))
    with pytest.raises(Conflict, match=r"of another cluster.*the system Id changed"):
        plan(PLACE, state)


OWN, CRONS = 71, 72


@pytest.fixture(autouse=True)
def receivers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that hold the receiver's lock, one for each look; the last one stays."""
    holders = [OWN]

    def process(lock_directory: str, server: str, task: str) -> int:
        if task != "receive-wal":
            return 0
        assert server == PLACE.server
        return holders.pop(0) if holders[1:] else holders[0]

    monkeypatch.setattr(barman, "process", process)
    monkeypatch.setattr(barman, "receives", bool)
    return holders


class Known:
    """Services that run since the times in *since*."""

    def __init__(self, since: dict[str, float | None] | None = None, failing: bool = False) -> None:
        self.times = since or {}
        self.failing = failing
        self.did: list[tuple[str, str]] = []

    def state(self, name: str) -> str:
        return STOPPED if self.times.get(name) is None else RUNNING

    def log(self, *names: str) -> str:
        return SystemdServices(ScriptedRunner([]), units(0)).log(*names)

    def reread(self) -> None:
        pass

    def since(self, name: str) -> float | None:
        return self.times.get(name)

    def process(self, name: str) -> int:
        assert name == RECEIVER
        return OWN

    def start(self, name: str, timeout: float = 120.0) -> None:
        self.did.append(("start", name))
        if self.failing:
            raise CommandError(f"start {name}", ["systemctl"], 1, "", "Job failed.")

    def stop(self, name: str, timeout: float = 120.0) -> None:
        self.did.append(("stop", name))

    def restart(self, name: str, timeout: float = 120.0) -> None:
        self.did.append(("restart", name))

    def reload(self, name: str) -> None:
        raise AssertionError("nothing reloads here")


def opens(server: ScriptedServer | None) -> Open:
    @contextmanager
    def open_(timeout: float) -> Iterator[Any]:
        if server is None:
            raise Unreachable("connect to pg1: refused; connect to pg2: session is read-only")
        yield server

    return open_


def check(**failed: str) -> tuple[int, str, str]:
    said = {"postgresql": {"status": "OK", "hint": ""}}
    said.update({name: {"status": "FAILED", "hint": hint} for name, hint in failed.items()})
    return (1 if failed else 0, json.dumps({"demo": said}), "")


def listed(*backups: tuple[str, str]) -> str:
    rows = [{"backup_id": name, "status": status} for name, status in backups]
    for row in rows:
        if row["status"] in (DONE, WAITING):
            row["end_time_timestamp"], row["size_bytes"] = "5", "6"
    return json.dumps({"demo": rows})


def shown(name: str, status: str, error: str = "") -> str:
    return json.dumps({"demo": {"backup_id": name, "status": status, "error": error}})


SLOT = {"type": "physical", "active": True, "used": True, "wal_status": "reserved"}
ASK = "pg_replication_slots WHERE slot_name"


def seen(
    server: ScriptedServer | None, since: dict[str, float | None], written: Callable[[str], float | None], **bad: str
) -> BackupState:
    runner = ScriptedRunner([("check demo$", check(**bad)), ("list-backups demo$", listed(("1", DONE)))])
    return observe(PLACE, Client(runner, "demo"), Known(since), opens(server), UNITS, written)


def test_observe_a_good_one() -> None:
    state = seen(
        ScriptedServer("pg1", [(ASK, [SLOT])]), dict.fromkeys(UNITS, 10.0), lambda path: None if "gap" in path else 10.9
    )
    assert (state.configured, state.why, state.slot, state.idle, state.stale) == (True, "", BarmanSlot(True), (), ())
    assert actions(state) == []


def test_observe_what_does_not_run_and_what_is_stale() -> None:
    since = {CRON: 10.0, SCHEDULE: None, RECEIVER: 10.0}
    server = ScriptedServer("pg1", [(ASK, [])])
    state = seen(
        server, since, lambda path: {"conf": 11.0, PLACE.gap_file: None}.get(path, 9.0), replication_slot="not there"
    )
    assert (state.idle, state.stale, state.slot) == ((SCHEDULE,), (RECEIVER,), None)


def test_observe_a_lost_slot() -> None:
    server = ScriptedServer("pg1", [(ASK, [{**SLOT, "active": False, "wal_status": "lost"}])])
    assert seen(server, {}, lambda path: 1.0).slot == BarmanSlot(active=False, lost=True)


def test_observe_without_a_primary() -> None:
    state = seen(None, dict.fromkeys(UNITS, 10.0), lambda path: 1.0, postgresql="")
    assert state.why == "connect to pg1: refused; connect to pg2: session is read-only"


def test_observe_an_empty_host_asks_nobody() -> None:
    state = observe(PLACE, Client(ScriptedRunner([]), "demo"), Known(), opens(None), UNITS, lambda path: None)
    assert state == BackupState()


def test_a_logical_slot_of_the_name_is_a_conflict() -> None:
    server = ScriptedServer("pg1", [(ASK, [{**SLOT, "type": "logical"}])])
    with pytest.raises(Conflict, match="a logical one"):
        observe(PLACE, Client(ScriptedRunner([]), "demo"), Known(), opens(server), UNITS, lambda path: 1.0)


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def executor(
    runner: list[tuple[Any, Any]],
    server: list[tuple[str, Any]] | None = None,
    units: Known | None = None,
    told: Callable[[], BarmanView] | None = None,
) -> BackupExecutor:
    clock = Clock()
    session = ScriptedServer("pg1", server or [])
    client = Client(ScriptedRunner(runner), "demo")
    return BackupExecutor(PLACE, client, units or Known(), opens(session), 5, 60, told, clock.sleep, lambda: clock.now)


RESTORE_POINT = ("pg_create_restore_point", [{}])
SWITCH = ("switch-wal --archive --archive-timeout 5 demo$", "{}")


def test_a_slot_that_the_receiver_made_is_fine() -> None:
    taken = (1, json.dumps({"_ERROR": ["Replication slot 'barman' already exists"]}), "")
    executor([("--create-slot", taken)], [(ASK, [SLOT])]).create_slot()
    with pytest.raises(CommandError, match="already exists"):
        executor([("--create-slot", taken)], [(ASK, [])]).create_slot()


def test_the_first_wal_file_waits_for_the_receiver() -> None:
    idle = {**SLOT, "active": False, "used": False}
    executor([SWITCH], [(ASK, []), (ASK, [idle]), (ASK, [SLOT]), RESTORE_POINT]).archive()


def test_the_first_wal_file_has_a_deadline() -> None:
    with pytest.raises(Unreachable, match=r"through the slot barman: not within 5 s.*journalctl -u barman-receive-wal"):
        executor([], [(ASK, [])] * 6).archive()


def test_a_backup_is_taken() -> None:
    units = Known()
    executor([("list-backups", listed(("1", DONE)))], [(ASK, [SLOT]), ("CHECKPOINT", [])], units).backup(joined=False)
    assert units.did == [("start", BACKUP)]


def test_a_backup_that_lacks_wal_is_completed() -> None:
    asked = [
        ("list-backups", listed(("1", WAITING))),
        SWITCH,
        ("check-backup demo 1$", "{}"),
        ("show-backup demo 1$", shown("1", DONE)),
    ]
    executor(asked, [(ASK, [SLOT]), ("CHECKPOINT", []), RESTORE_POINT]).backup(joined=False)


def test_a_backup_that_stays_without_wal_is_an_error() -> None:
    asked = [SWITCH, ("check-backup demo 1$", "{}"), ("show-backup demo 1$", shown("1", WAITING))]
    with pytest.raises(PgherdError, match="the backup is WAITING_FOR_WALS"):
        executor(asked, [RESTORE_POINT]).complete("1")


def test_a_refused_backup_names_the_checks() -> None:
    asked = [("check demo", check(minimum_redundancy_requirements="have 0", pg_basebackup_compatible="17 and 15"))]
    with pytest.raises(
        PgherdError, match=r"pg basebackup compatible: 17 and 15\. Install the client programs"
    ) as caught:
        executor(asked, [(ASK, [SLOT]), ("CHECKPOINT", [])], Known(failing=True)).backup(joined=False)
    assert "have 0" not in str(caught.value)


def test_a_failed_backup_says_why() -> None:
    asked = [
        ("check demo", check(failed_backups="there are 1")),
        ("list-backups", listed(("1", FAILED))),
        ("show-backup demo 1$", shown("1", FAILED, "no space left on device")),
    ]
    with pytest.raises(PgherdError, match="take a backup of demo: no space left on device"):
        executor(asked, [(ASK, [SLOT]), ("CHECKPOINT", [])], Known(failing=True)).backup(joined=False)


@pytest.mark.parametrize("refusals", [1, 3, 99])
def test_one_that_was_refused_for_a_moment_is_taken_again(refusals: int) -> None:
    """Barman asks the primary anew before each backup, and waits two seconds for that."""
    left = [refusals]

    class Moody(Known):
        def start(self, name: str, timeout: float = 60.0) -> None:
            left[0] -= 1
            self.failing = left[0] >= 0
            super().start(name, timeout)

    units, nothing = Moody(), [("check demo", check()), ("list-backups", listed())]
    ends_well = refusals < 6
    asked = [*nothing * min(refusals, 6), *[("list-backups", listed(("1", DONE)))] * ends_well]
    runs = executor(asked, [(ASK, [SLOT]), ("CHECKPOINT", [])], units)
    if ends_well:
        runs.backup(joined=False)
        assert units.did[-1] == ("start", BACKUP)
    else:
        with pytest.raises(PgherdError, match="take a backup of demo: Barman says no more"):
            runs.backup(joined=False)


def test_another_ones_backup_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [True, True, False]
    monkeypatch.setattr(barman, "running", lambda *place: answers.pop(0))
    units = Known()
    executor([("list-backups", listed(("1", DONE)))] * 2, [], units).backup(joined=True)
    assert (answers, units.did) == ([], [])


def test_another_ones_backup_that_failed_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(barman, "running", lambda *place: False)
    asked = [("list-backups", listed(("1", FAILED))), ("list-backups", listed(("2", DONE), ("1", FAILED)))]
    units = Known()
    executor(asked, [(ASK, [SLOT]), ("CHECKPOINT", [])], units).backup(joined=True)
    assert units.did == [("start", BACKUP)]


def test_good_checks_are_waited_for() -> None:
    executor([("check", check(receive_wal_running="See the log")), ("check", check())]).confirm()


def test_a_unit_that_was_started_is_seen_to_run() -> None:
    units = Known({CRON: None})
    runs = executor([("check", check())], units=units)
    runs.start(CRON)
    with pytest.raises(Unreachable, match=r"see barman-cron run: not within 5 s.*journalctl -u barman-cron"):
        runs.confirm()
    units.times[CRON] = 3.0
    runs.confirm()


def test_a_receiver_of_barmans_cron_makes_room_before_the_checks_count(receivers: list[int]) -> None:
    """Its checks are good until it is stopped, and bad until the unit's receives."""
    receivers[:] = [CRONS, CRONS, 0, OWN]
    runs = executor([("check", check())], [(ASK, [SLOT])] * 10)
    runs.start(RECEIVER)
    runs.confirm()
    assert receivers == [OWN]
    receivers[:] = [CRONS]
    with pytest.raises(Unreachable, match=r"see barman-receiver run: not within 5 s.*journalctl -u barman"):
        runs.confirm()


FREE: dict[str, Any] = {**SLOT, "active": False}


@pytest.mark.parametrize(
    ("what", "slots", "receives"),
    [
        # Barman looks at the slot before it receives, and ends; systemd starts it again. Its checks are good while it looks.
        ("the slot is still another's, and ours is about to be refused", [SLOT, SLOT, SLOT], [False, False, True]),
        ("it has not come to receive yet", [FREE, FREE, SLOT], [True]),
        ("it connects, and may be refused", [FREE, SLOT], [True]),
        ("the slot is made by it", [None, SLOT], [True]),
        ("the primary is away for a moment", [Unreachable("refused"), SLOT], [True]),
    ],
)
def test_a_receiver_that_was_started_receives_before_the_checks_count(
    what: str, slots: list[Any], receives: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(barman, "receives", lambda number: receives.pop(0))
    asked = [slot if isinstance(slot, Unreachable) else [slot] if slot else [] for slot in slots]
    runner, server = ScriptedRunner([("check demo$", check())]), ScriptedServer("pg1", [(ASK, rows) for rows in asked])
    clock = Clock()
    runs = BackupExecutor(
        PLACE, Client(runner, "demo"), Known(), opens(server), 5, sleep=clock.sleep, clock=lambda: clock.now
    )
    runs.restart(RECEIVER)
    runs.confirm()
    assert clock.now == len(slots) - 1, what


def test_a_receiver_that_never_comes_to_receive_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(barman, "receives", lambda number: False)
    runs = executor([], [(ASK, [SLOT])] * 6)
    runs.restart(RECEIVER)
    with pytest.raises(Unreachable, match=r"see barman-receiver run: not within 5 s.*journalctl -u barman"):
        runs.confirm()


def test_a_backup_waits_for_the_units_receiver(receivers: list[int]) -> None:
    receivers[:] = [CRONS, OWN]
    listing = [("list-backups", listed(("1", DONE)))]
    executor(listing, [(ASK, [SLOT]), (ASK, [SLOT]), ("CHECKPOINT", [])]).backup(joined=False)
    assert receivers == [OWN]


WHOLE = BarmanView("backup1", "demo", 1.0, checks=(), backups=(), receiving=True, receiver=OWN)


@pytest.mark.parametrize(
    ("what", "view"),
    [
        ("it does not answer", Unreachable("refused")),
        ("it has seen nothing", BarmanView("backup1", "demo", 0.0)),
        ("it has no checks", replace(WHOLE, checks=None)),
        ("it cannot read the catalogue", replace(WHOLE, backups=None)),
        ("checks are bad", replace(WHOLE, checks=(Check("receive_wal_running", False),))),
        ("it saw no receiver, and good checks a second later", replace(WHOLE, receiving=False, receiver=0)),
        ("it saw one that did not receive yet", replace(WHOLE, receiving=False)),
        ("it saw the one before the restart", replace(WHOLE, receiver=OWN - 1)),
        ("it does not say which one it saw", replace(WHOLE, receiver=0)),
    ],
)
def test_the_agent_is_waited_for(what: str, view: Any) -> None:
    views: list[Any] = [view, WHOLE]

    def told() -> BarmanView:
        found = views.pop(0)
        if isinstance(found, Unreachable):
            raise found
        return found

    executor([("check", check())], told=told).confirm()
    assert views == [], what
    views += [view] * 6
    with pytest.raises(
        Unreachable, match=r"agent that WAL is received and all checks .*: not within 5 s.*journalctl -u pgherd-agent"
    ):
        executor([("check", check())], told=told).confirm()


def test_bad_checks_are_named_with_hints_and_a_cure() -> None:
    bad = check(replication_slot="slot 'barman' not active", ssh="")
    with pytest.raises(PgherdError) as caught:
        executor([("check", bad)] * 6).confirm()
    assert str(caught.value) == (
        "see all checks of demo good: replication slot: slot 'barman' not active; ssh has failed. "
        "Its reason: journalctl -u barman-receive-wal.service -n 50"
    )


def test_a_check_that_does_not_end_says_so() -> None:
    """And not that nothing was bad."""
    with pytest.raises(Unreachable, match=r"^run barman: no end after 60 s\.$"):
        executor([("check", Unreachable("run barman: no end after 60 s."))]).confirm()


def test_a_primary_that_comes_up_is_waited_for() -> None:
    states = [replace(GOOD, why="refused"), replace(GOOD, why="refused"), GOOD]
    assert executor([]).settled(lambda: states.pop(0), wait=True) == GOOD
    assert states == []


def test_a_primary_that_stays_away_is_an_error() -> None:
    with pytest.raises(Unreachable, match="refused Look whether there is a primary"):
        executor([]).settled(lambda: replace(GOOD, why="refused"), wait=True)


def test_a_forecast_waits_for_nobody() -> None:
    fresh = BackupState(configured=True, why="refused")
    assert executor([]).settled(lambda: fresh, wait=False, forecast=True) == fresh
    with pytest.raises(Unreachable, match="refused"):
        executor([]).settled(lambda: replace(GOOD, why="refused"), wait=False, forecast=True)


def test_a_primary_that_this_run_has_failed_on_is_asked_once() -> None:
    states = [BackupState(configured=True, why="refused")]
    with pytest.raises(Unreachable, match="refused Look whether there is a primary"):
        executor([]).settled(lambda: states.pop(0), wait=False)
    # One that answers all the same is as good as ever.
    assert executor([]).settled(lambda: GOOD, wait=False) == GOOD


def test_a_check_that_no_step_makes_good() -> None:
    bad = replace(GOOD, checks=(Check("ssh", False, "no"),))
    with pytest.raises(PgherdError, match="ssh: no"):
        executor([]).settled(lambda: bad, wait=False)
    states = [bad, GOOD]
    assert executor([("check", check())]).settled(lambda: states.pop(0), wait=True) == GOOD


def test_a_gap_is_remembered_until_a_backup_was_taken(tmp_path: Path) -> None:
    place = BarmanLayout("demo", "barman", str(tmp_path))
    asked = [("--drop-slot", "{}"), ("list-backups", listed(("1", DONE)))]
    session = ScriptedServer("pg1", [(ASK, [SLOT]), ("CHECKPOINT", [])])
    runs = BackupExecutor(place, Client(ScriptedRunner(asked), "demo"), Known(), opens(session))
    runs.drop_slot()
    assert Path(place.gap_file).exists()
    runs.backup(joined=False)
    assert not Path(place.gap_file).exists()
