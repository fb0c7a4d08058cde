# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which pod a service leads to, by what agents answer; and to whom a pod that ends hands over."""

from __future__ import annotations

from typing import Any

import pytest
from pgherd.places.pod.labels import (
    BRISK,
    BRISKLY,
    LOOK,
    READ,
    ROLE,
    AgentAnswers,
    differing,
    event,
    is_stale,
    last_role,
    pause,
    real_primary,
    waited_for,
    wanted,
)
from pgherd.places.pod.prestop import successor

NO = {"ok": False}
P_BACKED = AgentAnswers({"ok": True, "standbys": ["b"]}, NO)
P_ALONE = AgentAnswers({"ok": True, "standbys": []}, NO)
P_FENCED = AgentAnswers({"ok": False, "standbys": ["b"], "why": "a is fenced"}, NO)
S_STREAMS = AgentAnswers({"ok": False, "primary": "a"}, {"ok": True, "primary": "a", "streams": True})
S_JOINS = AgentAnswers({"ok": False, "primary": "a"}, {"ok": True, "primary": "a", "streams": False})
S_KEEPS = AgentAnswers({"ok": False, "primary": ""}, {"ok": True, "primary": "", "streams": False})
S_ODD = AgentAnswers({"ok": False, "primary": "a"}, {"ok": False, "primary": "a", "streams": True})
S_LATE = AgentAnswers({"ok": False, "primary": "a"}, {"ok": False, "primary": "a"})
S_LOST = AgentAnswers({"ok": False, "primary": ""}, {"ok": False, "primary": ""})
SILENT = AgentAnswers()
HALF = AgentAnswers(None, NO)


@pytest.mark.parametrize(
    ("said", "role", "read", "primary"),
    [
        (P_BACKED, "primary", None, "me"),
        (P_ALONE, "primary", "true", "me"),
        (P_FENCED, None, None, ""),
        (S_STREAMS, "standby", "true", "a"),
        # It is read from, and has no role: who has none is asked often, since it may be promoted.
        (S_JOINS, None, "true", "a"),
        (S_KEEPS, None, "true", ""),
        (S_ODD, None, None, "a"),
        (S_LATE, None, None, "a"),
        (S_LOST, None, None, ""),
        (SILENT, None, None, ""),
        (HALF, None, None, ""),
        # Words that only look like a yes.
        (AgentAnswers({"ok": 1}, {"ok": "true"}), None, None, ""),
    ],
)
def test_labels(said: AgentAnswers, role: str | None, read: str | None, primary: str) -> None:
    assert wanted(said) == {ROLE: role, READ: read}
    assert real_primary("me", said) == primary


def test_an_agent_without_a_role_is_asked_often_for_a_while() -> None:
    assert [pause(seconds) for seconds in (0, 0.01, BRISKLY - 1, BRISKLY, 9999)] == [LOOK, BRISK, BRISK, LOOK, LOOK]


@pytest.mark.parametrize(
    ("said", "silent", "waits"),
    [
        (SILENT, 0.5, True),
        (HALF, 2.9, True),
        (SILENT, 3.0, False),
        (SILENT, float("inf"), False),
        # A no is no silence.
        (P_FENCED, 0.0, False),
        (S_LOST, 0.0, False),
        (AgentAnswers({"ok": True, "standbys": []}), 0.0, False),
    ],
)
def test_an_agent_that_is_only_busy_keeps_its_labels(said: AgentAnswers, silent: float, waits: bool) -> None:
    assert waited_for(said, silent) is waits


@pytest.mark.parametrize(
    ("found", "labels", "change"),
    [
        ({}, {ROLE: "standby", READ: "true"}, {ROLE: "standby", READ: "true"}),
        ({ROLE: "primary"}, {ROLE: None, READ: None}, {ROLE: None}),
        ({ROLE: "primary", READ: "true", "app": "x"}, {ROLE: "primary", READ: None}, {READ: None}),
        ({ROLE: "standby", READ: "true"}, {ROLE: "standby", READ: "true"}, {}),
    ],
)
def test_only_what_differs_is_changed(found: dict[str, str], labels: dict[str, Any], change: dict[str, Any]) -> None:
    assert differing(found, labels) == change


@pytest.mark.parametrize(
    ("name", "primary", "found", "stale"),
    [
        ("b", "a", {ROLE: "primary"}, True),
        ("a", "a", {ROLE: "primary"}, False),
        ("b", "", {ROLE: "primary"}, False),
        ("b", "a", {ROLE: "standby"}, False),
        ("b", "a", {}, False),
    ],
)
def test_whose_label_is_taken(name: str, primary: str, found: dict[str, str], stale: bool) -> None:
    assert is_stale(name, primary, found) is stale


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (None, "primary", "BecamePrimary"),
        ("standby", "primary", "BecamePrimary"),
        ("primary", "standby", "Rejoined"),
        (None, "standby", "BecameStandby"),
        ("primary", None, "LeftService"),
        ("primary", "primary", None),
        (None, None, None),
    ],
)
def test_what_is_told(before: str | None, after: str | None, reason: str | None) -> None:
    told = event({ROLE: before}, {ROLE: after}, "me")
    assert (told[0] if told else None) == reason


@pytest.mark.parametrize(
    ("found", "wanted_roles", "reasons"),
    [
        # A former primary has no role before it is a standby, by its own agent or since another took the label away.
        (["primary", None], [None, "standby"], ["LeftService", "Rejoined"]),
        (["standby", "primary", None], ["primary", None, "standby"], ["BecamePrimary", "LeftService", "Rejoined"]),
        (["standby", None], ["primary", "standby"], ["BecamePrimary", "Rejoined"]),
        # Once; after that it is a standby like any other.
        (
            ["primary", None, "standby", None],
            [None, "standby", None, "standby"],
            ["LeftService", "Rejoined", "LeftService", "BecameStandby"],
        ),
        (["standby", None], [None, "standby"], ["LeftService", "BecameStandby"]),
        ([None], ["standby"], ["BecameStandby"]),
    ],
)
def test_who_comes_back(found: list[str | None], wanted_roles: list[str | None], reasons: list[str]) -> None:
    """From one change of a pod's labels to the next: *found* before each, and what is wanted."""
    last, heard = None, []
    for was, now in zip(found, wanted_roles):
        told = event({ROLE: was}, {ROLE: now}, "me", last)
        heard += [told[0]] if told else []
        last = last_role(last, {ROLE: was}, {ROLE: now})
    assert heard == reasons


@pytest.mark.parametrize(
    ("candidates", "ending", "target"),
    [
        (["b", "c"], [], "b"),
        (["b", "c"], ["b"], "c"),
        (["b", "c"], ["a", "b", "c"], ""),
        ([], [], ""),
    ],
)
def test_nobody_who_ends_is_handed_over_to(candidates: list[str], ending: list[str], target: str) -> None:
    assert successor(candidates, ending) == target
