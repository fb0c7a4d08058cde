# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""One session of somebody on a host, in that host's network: ``nsenter --net ... python session.py``.

Reads {"dsn", "statements", "stay"} as JSON and prints the one value of the last statement, or with {"each": true} a list as
JSON of how the server refused each, '' where it did not. Leaves then; with *stay* when its standard input ends. What it could
not do is on standard error, exit code 1.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import psycopg


def main() -> int:
    """Do it."""
    told = json.loads(sys.stdin.readline())
    try:
        with psycopg.connect(told["dsn"], autocommit=True, prepare_threshold=None) as session:
            if told.get("each"):
                print(json.dumps([_refusal(session, statement) for statement in told["statements"]]), flush=True)
                return 0
            found = None
            for statement in told["statements"]:
                cursor = session.execute(statement)
                found = cursor.fetchone() if cursor.description else None
            print("" if found is None else found[0], flush=True)
            if told["stay"]:
                sys.stdin.read()
    except psycopg.Error as error:
        sys.stderr.write(str(error))
        return 1
    return 0


def _refusal(session: psycopg.Connection[Any], statement: str) -> str:
    try:
        session.execute(statement)
    except psycopg.Error as error:
        return str(error)
    return ""


if __name__ == "__main__":
    sys.exit(main())
