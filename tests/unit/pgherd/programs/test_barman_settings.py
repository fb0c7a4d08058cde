# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Values that Barman would ignore, and times that no timer has, are refused before a host is touched."""

from __future__ import annotations

from typing import Any

import pytest
from pgherd.inventory.values import value_problems
from pgherd.programs import barman_settings
from pgherd.programs.calendar_times import problem

# systemd.time(7), CALENDAR EVENTS, and `systemd-analyze calendar` of systemd 252 and 257 takes each.
TIMES = """\
minutely
hourly
daily
weekly
Weekly
semiannually
*-*-* 02:00:00
02:00
2:0
02:00 UTC
Mon..Fri *-*-* 02:00/15:00 Europe/Berlin
Sat,Thu,Mon..Wed,Sat..Sun
Mon,Sun 12-*-* 2,1:23
Wed *-1
Wed..Wed,Wed *-1
Wed, 17:48
Wed..Sat,Tue 12-10-15 1:2:3
*-*-7 0:0:0
10-15
monday *-12-* 17:00
Mon,Fri *-*-3,1,2 *:30:45
12,14,13,12:20,10,30
12..14:10,20,30
mon,fri *-1/2-1,3 *:30:45
03-05 08:05:40
08:05:40
05:40
Sat,Sun 12-05 08:05:40
Sat,Sun 08:05:40
2003-03-05 05:40
05:40:23.4200004/3.1700005
2003-02..04-05
2003-03-05 05:40 UTC
2003-03-05
03-05
*:2/3
2015-10-25 01:00:00 Europe/Berlin
*-*~1 03:00
Mon *-05~07/1
@1395716396
anually
daily UTC
Mon *-*-* 4:00 America/Argentina/Ushuaia"""


@pytest.mark.parametrize("text", TIMES.splitlines())
def test_times_of_systemd(text: str) -> None:
    assert problem(text) == ""
    assert value_problems("cluster_barman_schedule", text) == []


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        # T2
        ("0 2 * * *", "is cron's form; write *-*-* 02:00:00"),
        ("30 4 1 * *", "is cron's form; write *-*-01 04:30:00"),
        ("5 23 * 12 0", "is cron's form; write Sun *-12-* 23:05:00"),
        ("5 23 * * 7", "is cron's form; write Sun *-*-* 23:05:00"),
        ("*/15 * * * *", "is cron's form; write one of systemd's, such as *-*-* 02:00:00"),
        ("0 2 * * MON-FRI", "is cron's form; write one of systemd's"),
        ("0 2 * * * root", "is cron's form; write *-*-* 02:00:00"),
        ("@daily", "is cron's form; write daily"),
        ("@midnight", "is cron's form; write daily"),
        ("every day", "is not a systemd calendar expression; write one such as *-*-* 02:00:00"),
        ("daily at 2", "is not a systemd calendar expression"),
        ("2am", "is not a systemd calendar expression"),
        ("0200", "is not a systemd calendar expression"),
        ("7d", "is not a systemd calendar expression"),
        ("", "is not a systemd calendar expression"),
        ("02:00; reboot", "is not a systemd calendar expression"),
        ("%h", "is not a systemd calendar expression"),
    ],
)
def test_what_is_no_time_of_systemd(text: str, cure: str) -> None:
    assert problem(text).startswith(cure)
    (said,) = value_problems("cluster_barman_schedule", text)
    assert said.startswith("cluster_barman_schedule: ")
    assert cure in said


@pytest.mark.parametrize(
    ("policy", "right"),
    [
        ("RECOVERY WINDOW OF 7 DAYS", True),
        ("recovery window of 2 week", True),
        ("RECOVERY WINDOW OF 1 MONTH", True),
        ("REDUNDANCY 3", True),
        ("", True),
        ("REDUNDANCY 0", False),
        ("REDUNDANCY", False),
        ("7 DAYS", False),
        ("RECOVERY WINDOW OF 7 YEARS", False),
        ("RECOVERY WINDOW 7 DAYS", False),
        (7, False),
    ],
)
@pytest.mark.parametrize("variable", ["cluster_barman_retention", "cluster_barman_settings"])
def test_retention(variable: str, policy: Any, right: bool) -> None:
    said = value_problems(variable, policy if variable == "cluster_barman_retention" else {"retention_policy": policy})
    assert len(said) == (not right), said
    assert right or "REDUNDANCY 3 or RECOVERY WINDOW OF 7 DAYS" in said[0]


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("immediate_checkpoint", [True, "on", "False", "0"], ["maybe", 2]),
        ("minimum_redundancy", [0, 3, "3"], ["three", -1, True]),
        ("parallel_jobs", [4], ["4x"]),
        ("bandwidth_limit", [4000], ["4 MB"]),
        ("last_backup_maximum_age", ["2 DAYS", "1 week", "36 hours"], ["2", "2d", "2 YEARS"]),
        ("last_backup_minimum_size", ["10 Gi", "500", "2k"], ["big"]),
        ("reuse_backup", ["link", False], ["yes"]),
        ("create_slot", ["manual"], ["on"]),
        ("slot_name", ["barman_2"], ["Barman-2", "a" * 64]),
        ("log_level", ["DEBUG"], ["LOUD"]),
        ("compression", ["gzip", "zstd"], []),
        ("description", ['it\'s: 100 %, "really"', None], []),
    ],
)
def test_values_that_barman_reads(name: str, right: list[Any], wrong: list[Any]) -> None:
    for value in right:
        assert value_problems("cluster_barman_settings", {name: value}) == []
    for value in wrong:
        (said,) = value_problems("cluster_barman_settings", {name: value})
        assert said.startswith(f"cluster_barman_settings: {name} is not what Barman can read; write it as ")


@pytest.mark.parametrize("name", barman_settings.OURS)
def test_what_is_not_the_users(name: str) -> None:
    (said,) = value_problems("cluster_barman_settings", {name: "x"})
    assert said == f"cluster_barman_settings: {name} is not to be set there: {barman_settings.OURS[name]}."
