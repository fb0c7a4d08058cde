# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A stream under a standby's name is no standby: who is ended, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from here import here_of
from pgherd.agent.foreign_duty import ForeignDuty
from pgherd.errors import SqlError
from pgherd.observe.foreign_streams import END, foreign
from pgherd.observe.node_state import Stranger, ask
from pgherd.ports.links import Links
from scripted import ScriptedServer
from states import cluster, primary
from test_seal import ASK, row

THREE = cluster(3, witness=True)
BARMAN = Stranger(7, "streaming_barman", "barman_receive_wal", "barman")
FALSE = Stranger(8, "streaming_barman", "pg2")


@pytest.mark.parametrize(
    ("what", "stranger", "ended"),
    [
        ("Barman's own", BARMAN, False),
        ("a standby's name", FALSE, True),
        ("PostgreSQL looks at no capitals", Stranger(8, "app", "PG2"), True),
        ("its own node's name: it may be a standby tomorrow", Stranger(8, "app", "pg1"), True),
        ("a standby's slot, which that one cannot use then", Stranger(8, "app", "x", "repmgr_slot_3"), True),
        ("a subscriber", Stranger(8, "app", "sub", "sub"), False),
        ("a witness confirms nothing", Stranger(8, "app", "w1"), False),
    ],
)
def test_who_is_foreign(what: str, stranger: Stranger, ended: bool) -> None:
    assert (foreign(THREE, primary("pg1", strangers=(stranger,))) != ()) is ended, what


def duty(*servers: ScriptedServer) -> tuple[ForeignDuty, list[str]]:
    said: list[str] = []
    waiting = list(servers)
    links = Links(lambda _name: waiting.pop(0), lambda: None)
    here = here_of(THREE, "pg1", links, say=said.append)
    return ForeignDuty(here), said


def ending(answer: Any = ()) -> ScriptedServer:
    return ScriptedServer("pg1", [("pg_terminate_backend", answer)])


def test_ended_at_every_look_and_said_once() -> None:
    servers = [ending(), ending(), ending()]
    ends, said = duty(*servers)
    for strangers in ((FALSE, BARMAN), (FALSE,), (BARMAN,), (FALSE,)):
        ends.tick(primary("pg1", strangers=strangers))
    assert [server.said[0] for server in servers] == [(" ".join(END.split()), (8, "streaming_barman"))] * 3
    assert [line.split(";")[0] for line in said] == ["foreign stream: streaming_barman streams as 'pg2'"] * 2


def test_a_superusers_is_said() -> None:
    refused = SqlError("end it", "pg1", "must be a superuser to terminate superuser process", "42501")
    ends, said = duty(ending(refused), ending(refused))
    for _look in range(2):
        ends.tick(primary("pg1", strangers=(FALSE,)))
    assert [line for line in said if "not ended" in line] == [said[-1]]


def test_it_is_no_sender() -> None:
    answer = row(strangers='[[8, "streaming_barman", "pg2", ""]]')
    found = ask("pg1", ScriptedServer("pg1", [(ASK, [answer])]))
    assert (found.strangers, found.senders) == ((FALSE,), {})
