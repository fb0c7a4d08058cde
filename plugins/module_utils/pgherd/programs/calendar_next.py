# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""When a time of systemd's timers comes next, where no systemd says it. Pure. For their form see calendar_times.py."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..errors import PgherdError
from .calendar_times import EXAMPLE, problem

_WORDS = {
    "minutely": "*-*-* *:*:00",
    "hourly": "*-*-* *:00:00",
    "daily": "*-*-* 00:00:00",
    "weekly": "Mon *-*-* 00:00:00",
    "monthly": "*-*-01 00:00:00",
    "quarterly": "*-01,04,07,10-01 00:00:00",
    "yearly": "*-01-01 00:00:00",
    "annually": "*-01-01 00:00:00",
    "anually": "*-01-01 00:00:00",
    "semiannually": "*-01,07-01 00:00:00",
    "semi-annually": "*-01,07-01 00:00:00",
    "biannually": "*-01,07-01 00:00:00",
    "bi-annually": "*-01,07-01 00:00:00",
}
_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Days that are looked at: February 29 comes after eight years at the latest.
_FAR = 366 * 9
_YEARS = range(1970, 2200)


@dataclass(frozen=True)
class Calendar:
    """Which days and times of day an expression means. *from_end*: days are counted from the end of the month, 1 the last."""

    weekdays: frozenset[int]
    years: frozenset[int]
    months: frozenset[int]
    days: frozenset[int]
    from_end: bool
    times: tuple[time, ...]
    zone: tzinfo | None

    def has(self, day: date) -> bool:
        """Whether it means a time on *day*."""
        number = calendar.monthrange(day.year, day.month)[1] - day.day + 1 if self.from_end else day.day
        return (
            day.weekday() in self.weekdays
            and day.year in self.years
            and day.month in self.months
            and number in self.days
        )


def next_after(expression: str, moment: datetime) -> datetime | None:
    """The first time that the *expression* means after *moment*, which has a zone; that one's is meant where the expression names
    none. None where none comes. Raises PgherdError for what is no such expression."""
    if expression.strip().startswith("@"):
        once = datetime.fromtimestamp(int(expression.strip()[1:]), moment.tzinfo)
        return once if once > moment else None
    found = parsed(expression)
    here = moment.astimezone(found.zone) if found.zone else moment
    for later in range(_FAR):
        day = here.date() + timedelta(days=later)
        if found.has(day):
            for at in found.times:
                one = datetime.combine(day, at, here.tzinfo)
                if one > here:
                    return one
    return None


def parsed(expression: str) -> Calendar:
    """What the *expression* means. Raises PgherdError."""
    wrong = problem(expression)
    if wrong:
        raise PgherdError(f"tell when {expression} is: it {wrong}.", "Set cluster_barman_schedule.")
    words, zone = expression.split(), None
    if len(words) > 1 and not re.search(r"[:*~]|^\d", words[-1]) and not _is_days(words[-1]):
        zone = _zone(words.pop())
    words = _WORDS.get(" ".join(words).lower(), " ".join(words)).split()
    weekdays = frozenset(range(7))
    if words and _is_days(words[0]):
        weekdays = _days(words.pop(0))
    at = words.pop() if words and ":" in words[-1] else "00:00:00"
    on = words.pop() if words else "*-*-*"
    if words:
        raise PgherdError(f"tell when {expression} is: {words[0]} is not understood.", f"Write one such as {EXAMPLE}.")
    from_end = "~" in on
    parts = on.replace("~", "-").split("-")
    years, months, days = ["*", *parts][-3:] if len(parts) == 2 else parts
    hours, minutes, *rest = at.split(":")
    times = [
        time(hour, minute, second)
        for hour in sorted(_numbers(hours, range(24)))
        for minute in sorted(_numbers(minutes, range(60)))
        for second in sorted(_numbers(rest[0] if rest else "0", range(60)))
    ]
    return Calendar(
        weekdays,
        _numbers(years, _YEARS),
        _numbers(months, range(1, 13)),
        _numbers(days, range(1, 32)),
        from_end,
        tuple(times),
        zone,
    )


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise PgherdError(
            f"tell when it is in {name}: that zone is not known here.", "Write the time in UTC."
        ) from error


def _is_days(word: str) -> bool:
    return word[:3].lower() in _NAMES and word.lower() not in _WORDS


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for item in text.lower().strip(",").split(","):
        first, _dots, last = item.replace("..", "-").partition("-")
        begin, end = _NAMES.index(first[:3]), _NAMES.index((last or first)[:3])
        found |= {*range(begin, end + 1)}
    return frozenset(found)


def _numbers(text: str, every: range) -> frozenset[int]:
    """The numbers of *every* that a list of numbers, ranges and steps means."""
    found: set[int] = set()
    for item in text.split(","):
        numbers, _slash, step = item.partition("/")
        first, _dots, last = numbers.partition("..")
        begin = every[0] if first == "*" else int(float(first))
        if every is _YEARS and first != "*" and begin < 100:
            begin += 2000 if begin < 70 else 1900
        end = int(float(last)) if last else every[-1] if first == "*" or step else begin
        found |= {*range(begin, end + 1, max(1, int(float(step or 1))))}
    return frozenset(found & {*every})
