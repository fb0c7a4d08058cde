# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Gives the demo something to look at: the date of Easter in every Gregorian year, written and read through pgpool.

load_demo.py [LINE]      libpq's line, otherwise that of the demo on hosts
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator

import psycopg
from dsn import dsn
from machine import LabError

YEARS = range(1583, 4100)
_TABLE = "CREATE TABLE IF NOT EXISTS easter (year int PRIMARY KEY, day date NOT NULL, epact int NOT NULL)"
_STAGE = "CREATE TEMPORARY TABLE staged (LIKE easter) ON COMMIT DROP"
_INSERT = "INSERT INTO easter SELECT * FROM staged ON CONFLICT (year) DO NOTHING"


def easter(year: int) -> tuple[int, datetime.date, int]:
    """Year, Easter Sunday and the Gregorian epact (age of the moon on 1 January, days), by Meeus, Jones and Butcher."""
    golden, century = year % 19, year // 100
    epact_shift = century - century // 4 - (8 * century + 13) // 25
    moon = (epact_shift + 19 * golden + 15) % 30
    moon -= moon // 28 * (1 - moon // 28 * (29 // (moon + 1)) * ((21 - golden) // 11))
    weekday = (year + year // 4 + moon + 2 - century + century // 4) % 7
    offset = moon - weekday
    month = 3 + (offset + 40) // 44
    day = offset + 28 - 31 * (month // 4)
    epact = (11 * golden + 8 - century + century // 4 + (8 * century + 13) // 25) % 30
    return year, datetime.date(year, month, day), epact


def _rows() -> Iterator[tuple[int, datetime.date, int]]:
    return (easter(year) for year in YEARS)


def main() -> int:
    """Load what is missing and say what can be asked."""
    try:
        line = sys.argv[1] if sys.argv[1:] else dsn()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    with psycopg.connect(line) as connection, connection.cursor() as cursor:
        cursor.execute(_TABLE)
        cursor.execute(_STAGE)
        with cursor.copy("COPY staged FROM STDIN") as copy:
            for row in _rows():
                copy.write_row(row)
        cursor.execute(_INSERT)
        print(f"{max(cursor.rowcount, 0)} rows written, ", end="")
        cursor.execute("SELECT count(*), count(*) FILTER (WHERE to_char(day, 'MMDD') = '0416') FROM easter")
        total, april = cursor.fetchone() or (0, 0)
        print(f"easter holds {total} years; in {april} of them Easter falls on 16 April")
    return 0


if __name__ == "__main__":
    sys.exit(main())
