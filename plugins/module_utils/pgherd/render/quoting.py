# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the texts of several programs have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any


def single_quoted(value: Any) -> str:
    """A value in the syntax that postgresql.conf, pgpool.conf and repmgr.conf share: booleans as on/off, numbers bare,
    everything else in single quotes, with quotes doubled and backslashes escaped (manual, 19.1.2 "Parameter
    Interaction via the Configuration File")."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace("'", "''")
    return f"'{text}'"


def unquoted(text: str) -> str:
    """The value that stands in such a file as *text*, in quotes or bare: single_quoted() the other way round, as far as servers
    and programs of ours write it (DeescapeQuotedString() in guc-file.l reads codes of characters too)."""
    if len(text) < 2 or not text[0] == text[-1] == "'":
        return text
    return re.sub(r"''|\\(.)", lambda found: found.group(1) or "'", text[1:-1])


def passfile(entries: list[tuple[str, Any, str, str, str]]) -> str:
    """A libpq password file from (host, port, database, user, password) rows; ``*`` matches anything.

    Backslash and colon are escaped as in the manual, 34.16 "The Password File".
    """
    return "".join(":".join(_escaped(part) for part in entry) + "\n" for entry in entries)


def login_of(hosts: Iterable[str] | None, databases: Iterable[str], users: Iterable[str]) -> str:
    """A regular expression for lines of a password file, by what must stand in them; the port may be any, and so may the host
    where *hosts* is None. See File.own."""
    any_ = r"(?:\\.|[^:\\])*"

    def one_of(texts: Iterable[str]) -> str:
        return f"(?:{'|'.join(re.escape(_escaped(text)) for text in texts)})"

    return f"^{any_ if hosts is None else one_of(hosts)}:{any_}:{one_of(databases)}:{one_of(users)}:"


def _escaped(text: Any) -> str:
    return str(text).replace("\\", "\\\\").replace(":", "\\:")


HEADER = "# Written by pgherd.cluster. Change the inventory, not this file.\n"
