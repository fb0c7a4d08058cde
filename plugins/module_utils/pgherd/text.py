# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Text of others, before people see it: a server, a program or a table may hold what a terminal would obey."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

# What stands in the place of a character that is no text. ASCII: it is shown wherever a terminal shows anything.
REPLACED = "?"

T = TypeVar("T")


def printable(text: str) -> str:
    """*text* with every character replaced that is not shown as itself: control characters (escape sequences begin with
    one), marks that turn the direction of writing, halves of surrogate pairs. Ends of lines stay."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\n" else REPLACED for one in text)


def one_line(text: str) -> str:
    """*text* likewise, in one line."""
    return printable(" ".join(text.splitlines()) if "\n" in text or "\r" in text else text)


def cleaned(value: T) -> T:
    """Plain data or a dataclass of such with every text in it as one_line() makes it."""
    found: Any = value
    if isinstance(value, str):
        found = one_line(value)
    elif isinstance(value, (tuple, list)):
        found = type(value)(map(cleaned, value))
    elif isinstance(value, Mapping):
        found = {cleaned(key): cleaned(item) for key, item in value.items()}
    elif is_dataclass(value) and not isinstance(value, type):
        found = replace(value, **{one.name: cleaned(getattr(value, one.name)) for one in fields(value) if one.init})
    return cast(T, found)


def say(line: str) -> None:
    """One line on standard error, a terminal's or the journal's, at once."""
    sys.stderr.write(f"{printable(line)}\n")
    sys.stderr.flush()
