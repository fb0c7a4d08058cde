# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Settings that a user writes for a program, in the forms that its file can hold, and those that are not the user's. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def problems(variable: str, ours: Mapping[str, str], settings: Mapping[str, Any], lists: bool = True) -> Iterator[str]:
    """One sentence for each of the *settings* in *variable* that is one of *ours* (by lower-case name: what to do in its
    place), or whose value no file could hold. *lists*: the program has settings that are lists. None shows a value."""
    seen: dict[str, str] = {}
    for given, value in settings.items():
        # All of the programs read names so.
        name = str(given).lower()
        if name in seen:
            yield f"{variable}: {seen[name]} and {given} are one setting; write it once."
        seen[name] = str(given)
        if name in ours:
            yield f"{variable}: {name} is not to be set there: {ours[name]}."
        elif value is None or isinstance(value, dict):
            yield f"{variable}: {name} has no value that a file could hold; write one, or take it out."
        elif isinstance(value, (list, tuple)) and not (lists and all(_is_word(item) for item in value)):
            words = "is a list of other things than words" if lists else "is a list"
            yield f"{variable}: {name} {words}; write it as one text."


def _is_word(item: Any) -> bool:
    return isinstance(item, (str, int, float)) and not isinstance(item, bool)


def normal(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A user's *settings* by their names in lower case, lists as the programs write them."""
    return {
        str(name).lower(): ",".join(str(item) for item in value) if isinstance(value, (list, tuple)) else value
        for name, value in settings.items()
    }
