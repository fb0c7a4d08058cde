# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A converged cluster that is broken in one way, and what its status says of it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from deployed import described, inventory, until

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs/status.schema.json").read_text())
Document = dict[str, Any]


def group(name: str) -> list[str]:
    """Hosts of one group; skips the test where the inventory has none."""
    hosts = described().groups.get(name)
    if not hosts:
        pytest.skip(f"the inventory has no {name}")
    return hosts


def on(host: str, *argv: str, expect: Sequence[int] | None = (0,)) -> tuple[int, str]:
    """Run a command as root on one host: exit code and standard output."""
    done = described().hosts[host].result(" ".join(["%s"] * len(argv)), *argv)
    assert expect is None or done.rc in expect, done
    return done.rc, done.stdout


def status(host: str) -> tuple[int, Document]:
    """Exit code and document as that host has it."""
    code, text = on(host, "pgherd", "status", "--json", expect=(0, 1, 2, 3))
    document = json.loads(text)
    jsonschema.validate(document, SCHEMA)
    assert document["exit_code"] == code
    return code, document


def said(document: Document) -> set[tuple[str, str]]:
    """(id, node) of each problem."""
    return {(problem["id"], problem["node"]) for problem in document["problems"]}


def wait(host: str, wanted: Callable[[Document], bool], limit: float = 150.0) -> Document:
    """Poll the status until it is as *wanted*."""
    deadline = time.monotonic() + limit
    while True:
        _code, document = status(host)
        if wanted(document):
            return document
        assert time.monotonic() < deadline, json.dumps(document["problems"], indent=1)


def problem(document: Document, kind: str, node: str, naming: str = "") -> dict[str, Any]:
    """The one problem of that kind, whose text names what *naming* says."""
    (found,) = problems(document, kind, node, naming)
    return found


def problems(document: Document, kind: str, node: str, naming: str = "") -> list[dict[str, Any]]:
    """All of that kind."""
    return [
        dict(item)
        for item in document["problems"]
        if (item["id"], item["node"]) == (kind, node) and naming in item["text"]
    ]


def cure(found: dict[str, Any], *more: str, expect: Sequence[int] = (0,)) -> None:
    """Run the command that a problem names, where it says: as root of a host, which may exit as *expect* says, or where the
    inventory is, there with *more* words for what a person has put into the inventory."""
    words = shlex.split(found["cure"]["command"])
    if found["cure"]["on"]:
        on(found["cure"]["on"], *words, expect=expect)
        return
    env = {**os.environ, "ANSIBLE_INVENTORY": str(inventory()), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run([*words, *more], env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def healthy(document: Document) -> bool:
    """Whether nothing is wrong."""
    return not document["problems"]


class Herd:
    """The cluster under test."""

    def __init__(self) -> None:
        self.nodes = group("postgres")
        _code, document = status(self.nodes[0])
        views = {view["name"]: view for view in document["topology"]["nodes"] if view["kind"] == "postgres"}
        self.primary = next(name for name, view in views.items() if not view["postgres"]["in_recovery"])
        self.version = views[self.primary]["postgres"]["version"] // 10000
        upstreams = {view["postgres"]["upstream"] for view in views.values()}
        # A leaf, so that breaking it breaks nobody else.
        self.leaf = next(name for name in reversed(list(views)) if name not in upstreams and name != self.primary)
        names = views[self.primary]["postgres"]["synchronous_standby_names"]
        self.leaf_confirms = f'"{self.leaf}"' in names

    def picture(self) -> tuple[int, list[str]]:
        """Exit code and lines of the picture."""
        code, text = on(self.primary, "pgherd", "status", expect=(0, 1, 2, 3))
        return code, text.splitlines()

    def pictured(self, code: int, so: Callable[[list[str]], object] = bool) -> list[str]:
        """The picture's lines, once it has that exit code and they are *so*: a part may miss its short limit in one look."""

        def look() -> list[str]:
            found, lines = self.picture()
            return lines if found == code and so(lines) else []

        return until(f"a picture with exit code {code}", look, 90)

    def row(self, name: str) -> list[str]:
        """The row of one node, in words."""
        _code, lines = self.picture()
        return next(words for words in (line.lstrip("|` -").split() for line in lines) if words[0] == name)

    def write(self, megabytes: int, checkpoint: bool = True, by: str = "") -> None:
        """Make the primary, or *by*, write that much WAL, and note how far it is."""
        fill = (
            f"SELECT pg_logical_emit_message(false, 'test', repeat('x', 1048576)) FROM generate_series(1, {megabytes})"
        )
        self.sql(by or self.primary, f"SELECT count(*) FROM ({fill}) AS written" + "; CHECKPOINT" * checkpoint)

    def sql(self, node: str, statement: str) -> str:
        """Run a statement on one node."""
        return on(node, "sudo", "-u", "postgres", "psql", "-XAtqc", statement)[1]

    def unit(self) -> str:
        """PostgreSQL's unit."""
        return f"postgresql@{self.version}-main"


@contextmanager
def undone(host: str, *argv: str) -> Iterator[None]:
    """Run *argv* on *host* in the end, should the test fail before it could cure."""
    try:
        yield
    except BaseException:
        on(host, *argv, expect=None)
        raise
