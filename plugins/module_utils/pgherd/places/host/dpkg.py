# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which Debian packages a host has: what dpkg and apt keep of it, without apt's own view of all there are, which takes a
second to open."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

from ...errors import Unreachable
from ...ports.run import Runner

# apt's own file, apt-mark(8): a stanza for each package that came for another's sake.
STATES = "/var/lib/apt/extended_states"
# Three letters, dpkg-query(1): what is wanted, what is so, and what is wrong.
_LIST = ("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Abbrev}\n")


def missing(wanted: Sequence[str], runner: Runner, states: str = STATES) -> list[str]:
    """Those of the *wanted* packages with which apt has something to do: they are not installed, or only for another's sake, so
    that they would go with it. A name that only apt understands, with a version or a pattern, is among them."""
    try:
        listed = runner.run(_LIST)
    except Unreachable:
        return list(wanted)
    lines = (line.split() for line in listed.out.splitlines())
    there = {words[0] for words in lines if len(words) == 2 and re.fullmatch("[ih]i", words[1])}
    text = ""
    with suppress(OSError), open(states, encoding="utf-8") as stream:
        text = stream.read()
    return [name for name in wanted if name not in there - automatic(text)]


def automatic(states: str) -> set[str]:
    """Packages that came for another's sake, by the text of STATES."""
    stanzas = (dict(re.findall(r"^(\S+): *(.*)$", part, re.MULTILINE)) for part in states.split("\n\n"))
    return {one["Package"] for one in stanzas if one.get("Auto-Installed") == "1" and "Package" in one}
