# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Packets of one node that are dropped in its own network: a chain of iptables, run by this machine. *enter* is what a command
begins with to be in that network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from machine import run

CHAIN = "faults"


def drop(enter: Sequence[str], rules: Iterable[str], first: Iterable[str] = ()) -> None:
    """Packets that match rules (each with its target) meet them, besides those that did before. *first*: rules that come before
    all others, whatever is dropped."""
    known = is_cut(enter)
    made = "" if known else f":{CHAIN} - [0:0]\n-I INPUT -j {CHAIN}\n-I OUTPUT -j {CHAIN}\n"
    wanted = [*(() if known else first), *rules]
    text = "\n".join(f"-A {CHAIN} {rule}" for rule in wanted)
    run([*enter, "iptables-restore", "--noflush"], stdin=f"*filter\n{made}{text}\nCOMMIT\n")


def join(enter: Sequence[str]) -> bool:
    """All packets pass again; whether some did not."""
    known = is_cut(enter)
    if known:
        undo = f"*filter\n-D INPUT -j {CHAIN}\n-D OUTPUT -j {CHAIN}\n-F {CHAIN}\n-X {CHAIN}\nCOMMIT\n"
        run([*enter, "iptables-restore", "--noflush"], stdin=undo)
    return known


def is_cut(enter: Sequence[str]) -> bool:
    """Whether some rules are there."""
    return f"-N {CHAIN}" in run([*enter, "iptables", "-S"], check=False)
