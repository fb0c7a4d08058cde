# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A promotion by hand: what is planned, and whether a person's word that commits may go is used."""

from __future__ import annotations

from typing import Any

import pytest
from pgherd.errors import Conflict, Unreachable
from pgherd.ports.links import Links
from pgherd.promotion import change
from pgherd.promotion.promote import Promotion
from scripted import ScriptedServer
from states import cluster
from test_seal import row

THREE = cluster(3)
ASK, LAST = "AS in_recovery", ("type = 'primary'", [{"node_id": 1}])
FOLLOWS = row(has_upstream=True, pointed_at="pg1")
# Up to where pg3 has confirmed WAL, which it has lost since.
LOST = {"pg3": (1, 1 << 40)}


def links(pg2: list[Any], pg3: list[Any]) -> Links:
    servers = {"pg2": ScriptedServer("pg2", pg2), "pg3": ScriptedServer("pg3", pg3)}

    def opened(name: str) -> Any:
        if name not in servers:
            raise Unreachable(f"connect to {name}: no route to host")
        return servers[name]

    return Links(opened, lambda: None, limit=5.0)


def stands(standby: bool) -> list[tuple[str, Any]]:
    return [("pg_is_in_recovery", [{"standby": standby}])]


def looks(number: int) -> list[tuple[str, Any]]:
    return [(ASK, [FOLLOWS])] * number


@pytest.mark.parametrize("accept_loss", [False, True])
def test_the_word_of_a_person_goes_with_a_plan_that_looks_safe(accept_loss: bool) -> None:
    """Whoever does it may know more than who plans it."""
    todo, why = change.promotion(THREE, "pg2", links([LAST, *looks(1)], looks(1)), accept_loss)
    assert [step.args for step in todo.steps] == [{"primary": "pg1", "accept_loss": accept_loss}]
    assert why.startswith("2 listed standbys answer")


@pytest.mark.parametrize(
    ("known", "accept_loss", "used"),
    [({}, False, False), ({}, True, False), (LOST, True, True), (LOST, False, False)],
    ids=["safe", "safe, and the word is not used", "not safe, and the word is used", "not safe, and no word"],
)
def test_the_word_is_used_only_where_no_promotion_is_safe(
    monkeypatch: pytest.MonkeyPatch, known: dict[str, tuple[int, int]], accept_loss: bool, used: bool
) -> None:
    ran: list[bool] = []
    monkeypatch.setattr(Promotion, "_run", lambda _self, verdict, alive: ran.append((verdict.allowed, alive)))
    number = 2 if accept_loss else 1
    executor = change.ChangeExecutor(THREE, "pg2", links(stands(True) + looks(number), looks(number)), print, known)
    executor.promote("pg1", accept_loss)
    assert ran == [(not known or accept_loss, used)]


def test_without_the_word_it_is_refused() -> None:
    executor = change.ChangeExecutor(THREE, "pg2", links(stands(True) + looks(1), looks(1)), print, LOST)
    with pytest.raises(Conflict, match=r"wanted a safe promotion, found .*pg3 has lost WAL that it had confirmed"):
        executor.promote("pg1", accept_loss=False)


@pytest.mark.parametrize("accept_loss", [False, True])
def test_what_the_agent_has_promoted_itself_meanwhile_is_done(accept_loss: bool) -> None:
    lines: list[str] = []
    change.ChangeExecutor(THREE, "pg2", links(stands(False), []), lines.append).promote("pg1", accept_loss)
    assert lines == ["promote: pg2 is the primary already"]
