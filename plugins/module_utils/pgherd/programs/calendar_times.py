# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Times of systemd's timers, as systemd.time(7) has them under CALENDAR EVENTS. Pure.

What has this form may still be no time, the 40th of a month say: systemd-analyze says so on the host before the timer is
written.
"""

from __future__ import annotations

import re

_WORDS = (
    "minutely|hourly|daily|weekly|monthly|quarterly|yearly|annually|anually|semiannually|semi-annually|biannually"
    "|bi-annually"
)
_DAY = "(mon(day)?|tue(s|sday)?|wed(nesday)?|thu(r|rs|rsday)?|fri(day)?|sat(urday)?|sun(day)?)"
_DAYS = rf"{_DAY}((\.\.|-|,){_DAY})*,?"
_PART = r"(\*|\d+(\.\d+)?(\.\.\d+(\.\d+)?)?)(/\d+(\.\d+)?)?"
_LIST = rf"{_PART}(,{_PART})*"
_DATE = rf"({_LIST}-)?{_LIST}[-~]{_LIST}"
_TIME = rf"{_LIST}:{_LIST}(:{_LIST})?"
_ZONE = r"UTC|[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*"
_EXPRESSION = re.compile(rf"({_WORDS})|({_DAYS})?(^|\s*)({_DATE})?(^|\s+)?({_TIME})?", re.IGNORECASE)
_CRON = re.compile(r"[0-9*/,A-Za-z-]+")
# cron's words, and its days of the week; 7 is Sunday too.
_CRON_WORDS = {"@midnight": "daily", "@annually": "yearly"}
_CRON_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
EXAMPLE = "*-*-* 02:00:00"


def problem(text: str) -> str:
    """What is wrong with a calendar expression, '' for nothing: cron's form with systemd's in its place where that is plain."""
    text = text.strip()
    # Seconds since 1970 are systemd's.
    if text.startswith("@") and not text[1:].isdigit():
        return f"is cron's form; write {_CRON_WORDS.get(text, text[1:])}"
    fields = text.split()
    if len(fields) in (5, 6) and all(_CRON.fullmatch(field) for field in fields):
        return f"is cron's form; write {_from_cron(fields)}"
    body, _blank, zone = text.rpartition(" ")
    whole = body if body and re.fullmatch(_ZONE, zone) and not re.fullmatch(f"{_DAYS}|{_WORDS}", zone, re.I) else text
    if text[:1] == "@" or (whole and _EXPRESSION.fullmatch(whole.strip())):
        return ""
    return f"is not a systemd calendar expression; write one such as {EXAMPLE}"


def _from_cron(fields: list[str]) -> str:
    minute, hour, day, month, weekday = fields[:5]
    if not (minute.isdigit() and hour.isdigit() and all(one == "*" or one.isdigit() for one in (day, month, weekday))):
        return f"one of systemd's, such as {EXAMPLE}"
    named = f"{_CRON_DAYS[int(weekday) % 7]} " if weekday != "*" else ""
    parts = ("*" if one == "*" else f"{int(one):02}" for one in (month, day))
    return f"{named}*-{'-'.join(parts)} {int(hour):02}:{int(minute):02}:00"
