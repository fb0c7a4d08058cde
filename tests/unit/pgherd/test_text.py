# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Nothing that others wrote reaches a terminal or the journal as more than text."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from pgherd import cli
from pgherd.agent.loop import Agent
from pgherd.agent.part import Decision, log
from pgherd.errors import PgherdError
from pgherd.observe.views import BarmanSeen, Event, NodeView, PgpoolView
from pgherd.places.host.words import words
from pgherd.pools import gate
from pgherd.promotion import command
from pgherd.status.report import report
from pgherd.text import cleaned, one_line, printable
from world import CLUSTER, healthy

WORLD = healthy()

# Clears the screen and sets the title; the same with one character; turns the writing; half of a pair.
ESCAPES = "\x1b[2J\x1b]0;x\x07 \x9b31m \u202e \ud800 \r\x08"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pg1 streams", "pg1 streams"),
        ("päss 日本 🙂", "päss 日本 🙂"),
        ("\x1b[31mred\x1b[0m", "?[31mred?[0m"),
        ("two\nlines", "two\nlines"),
        ("a\tb\rc\x00d\x7fe\x9bf", "a?b?c?d?e?f"),
        ("\u202eabc\u2028", "?abc?"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert one_line(text) == printable(" ".join(text.splitlines())) or "\n" not in text


def bad(text: str) -> bool:
    return any(not one.isprintable() and one != "\n" for one in text)


def everywhere(value: Any) -> Any:
    """A topology in which every text that a server, a pgpool or Barman gave ends with escape sequences."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = {"name", "kind", "cluster"} if isinstance(value, (NodeView, PgpoolView, BarmanSeen)) else set()
        changes = {
            item.name: everywhere(getattr(value, item.name))
            for item in dataclasses.fields(value)
            if item.name not in own
        }
        return dataclasses.replace(value, **changes)
    if isinstance(value, tuple):
        return tuple(map(everywhere, value))
    return value + ESCAPES if isinstance(value, str) and not value[:1].isdigit() and "/" not in value else value


def test_a_picture_of_hostile_parts() -> None:
    """All that is drawn and told, from events, Barman's hints, errors, states and names."""
    hostile = dataclasses.replace(everywhere(WORLD), cluster=WORLD.cluster)
    metadata = hostile.nodes[0].repmgr
    assert metadata is not None
    event = Event(
        node_id=1, event="child_node_disconnect", successful=True, details=f'"pg5" {ESCAPES}', at=WORLD.seen_at
    )
    nodes = (
        dataclasses.replace(hostile.nodes[0], repmgr=dataclasses.replace(metadata, events=(event,))),
        *hostile.nodes[1:],
    )
    silent = NodeView("pg5", "postgres", 5, WORLD.seen_at, why=f"refused{ESCAPES}")
    hostile = dataclasses.replace(hostile, nodes=(*nodes[:4], silent))
    found = report(CLUSTER, hostile, words)
    assert found.problems
    for text in (found.line(), found.picture(), json.dumps(found.document(), ensure_ascii=False)):
        assert not bad(text)
    assert found.picture(colour=True).count("\x1b") > 0, "its own colours stay"
    assert "\x1b" not in found.picture()


def test_a_clean_topology_is_as_it_was() -> None:
    assert cleaned(WORLD) == WORLD
    assert not bad(str(cleaned(everywhere(WORLD))))


@pytest.mark.parametrize("speak", [log, command.say, gate._say, cli.say])
def test_lines(speak: Any, capsys: pytest.CaptureFixture[str]) -> None:
    speak(f"promote: {ESCAPES}")
    assert not bad(capsys.readouterr().err)


def test_an_error_of_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_options: Any) -> int:
        raise PgherdError(f"ask pg1: {ESCAPES}")

    monkeypatch.setattr(cli, "_status", fails)
    assert cli.main(["status"]) == 3
    said = capsys.readouterr().err
    assert said.startswith("pgherd: ask pg1: ?[2J")
    assert not bad(said)


def test_the_journal_has_no_line_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    class Part:
        name = "node"
        interval = 1.0

        def tick(self, now: float) -> tuple[Decision, ...]:
            return (Decision(f"sees pg2 say x{ESCAPES}\nnode: promotes pg3"),)

    agent = Agent(())
    agent._tick(Part(), 0.0, "")  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert not bad(said)
