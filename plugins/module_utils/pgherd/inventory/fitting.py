# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether values, or the names in them, are made of what they may be made of. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .hosts import safe


def fits(pattern: re.Pattern[str], what: str) -> Callable[[str, Any], Iterator[str]]:
    """A check that has one sentence for each value, or entry of a list, that the *pattern* of *what* does not fit; an empty one
    is none."""

    def check(variable: str, value: Any) -> Iterator[str]:
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if item not in (None, "") and not pattern.fullmatch(str(item)):
                yield f"{variable}: {safe(str(item))} is not {what}; mend it."

    return check


def keys(pattern: re.Pattern[str], what: str) -> Callable[[str, Any], Iterator[str]]:
    """The same of a dictionary's names."""

    def check(variable: str, value: Mapping[str, Any]) -> Iterator[str]:
        for key in value:
            if not pattern.fullmatch(str(key)):
                yield f"{variable}: {safe(str(key))} is not {what}; mend it."

    return check
