# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""When systemd's times come, without systemd. Rows are what `systemd-analyze calendar --base-time=… --iterations=1` says."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from pgherd.errors import PgherdError
from pgherd.programs.calendar_next import next_after

# A Wednesday.
NOW = datetime(2026, 7, 15, 10, 30, 15, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("expression", "when"),
    [
        ("*-*-* 02:00:00", "2026-07-16 02:00:00"),
        ("02:00", "2026-07-16 02:00:00"),
        ("*-*-* 10:30:15", "2026-07-16 10:30:15"),
        ("*-*-* 10:30:16", "2026-07-15 10:30:16"),
        ("minutely", "2026-07-15 10:31:00"),
        ("hourly", "2026-07-15 11:00:00"),
        ("daily", "2026-07-16 00:00:00"),
        ("weekly", "2026-07-20 00:00:00"),
        ("monthly", "2026-08-01 00:00:00"),
        ("quarterly", "2026-10-01 00:00:00"),
        ("yearly", "2027-01-01 00:00:00"),
        ("semiannually", "2027-01-01 00:00:00"),
        ("Sun *-*-* 03:15:00", "2026-07-19 03:15:00"),
        ("Sun 03:15", "2026-07-19 03:15:00"),
        ("Sun", "2026-07-19 00:00:00"),
        ("Mon..Fri 22:00", "2026-07-15 22:00:00"),
        ("Sat,Sun 22:00", "2026-07-18 22:00:00"),
        ("*:0/20", "2026-07-15 10:40:00"),
        ("*-*-* *:00/15:00", "2026-07-15 10:45:00"),
        ("*-*-* 8..11:05:00", "2026-07-15 11:05:00"),
        ("*-*-1,20 01:00", "2026-07-20 01:00:00"),
        ("*-02~01", "2027-02-28 00:00:00"),
        ("*-*~3 04:00", "2026-07-29 04:00:00"),
        ("02-29", "2028-02-29 00:00:00"),
        ("2027-03-04 05:06:07", "2027-03-04 05:06:07"),
        ("*-*-* 02:00:00 Europe/Berlin", "2026-07-16 00:00:00"),
        ("*-*-* 02:00:00 UTC", "2026-07-16 02:00:00"),
        ("@1800000000", "2027-01-15 08:00:00"),
    ],
)
def test_what_comes_next(expression: str, when: str) -> None:
    found = next_after(expression, NOW)
    assert found is not None
    assert f"{found.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}" == when


@pytest.mark.parametrize("expression", ["2020-01-01", "@1000"])
def test_what_is_over_never_comes(expression: str) -> None:
    assert next_after(expression, NOW) is None


@pytest.mark.parametrize("expression", ["0 2 * * *", "tomorrow", "*-*-* 02:00:00 Nowhere/Land"])
def test_what_is_no_time_is_said(expression: str) -> None:
    with pytest.raises(PgherdError, match="tell when"):
        next_after(expression, NOW)
