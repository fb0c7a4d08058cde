# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What follows from what all nodes have said in a run: who is restarted in which order, whom nobody waits for."""

from __future__ import annotations

from typing import Any

import pytest
from pgherd.model import Cluster, Node
from pgherd.nodes.instance import Instance
from pgherd.nodes.rollout import Restarts, Rollout

CLUSTER = Cluster(
    "demo",
    (
        Node("pg1", 1, "postgres", "pg1"),
        Node("pg2", 2, "postgres", "pg2", "pg1"),
        Node("pg3", 3, "postgres", "pg3", "pg2"),
        Node("w1", 9, "witness", "w1", "pg1"),
    ),
)
# As the inventory has them, which is not the order of their numbers.
ALL = ("pg3", "pg1", "pg2", "w1")
PAGES = {"huge_pages": "try -> on"}


def server(name: str, pending: bool = True, lowered: bool = False) -> Instance:
    """A running one; pg1 is the primary, and the witness that of its own cluster."""
    role = "primary" if name in ("pg1", "w1") else "standby"
    return Instance(
        name,
        data="cluster",
        running=True,
        role=role,
        pending=PAGES if pending else {},
        lowered=("max_connections",) if lowered else (),
    )


def run(there: tuple[str, ...] = ALL, begun: tuple[str, ...] = ALL, **servers: Instance) -> Rollout:
    """All servers wait for a restart but those that are given."""
    states = {name: servers.get(name, server(name)) for name in there}
    return Rollout(CLUSTER, there, begun, states)


def order(given: Restarts) -> list[str]:
    """As one line for each thing that is done, in its order."""
    lines = {
        "turns": " ".join(given.turns),
        "primaries": " ".join(given.primaries),
        "lowered": " ".join(given.lowered),
        "waiting": " ".join(given.waiting),
        "failed": " ".join(given.failed),
    }
    return [f"{what}: {names}" for what, names in lines.items() if names]


@pytest.mark.parametrize(
    ("what", "known", "primary", "expected"),
    [
        ("standbys, witnesses, and then the primary", run(), True, ["turns: pg3 pg2 w1", "primaries: pg1"]),
        ("the primary waits", run(), False, ["turns: pg3 pg2 w1", "waiting: pg1"]),
        (
            "who has nothing to wait for has no turn",
            run(pg3=server("pg3", False)),
            True,
            ["turns: pg2 w1", "primaries: pg1"],
        ),
        (
            "the witness alone",
            run(pg1=server("pg1", False), pg2=server("pg2", False), pg3=server("pg3", False)),
            True,
            ["turns: w1"],
        ),
        (
            "a stopped one has no turn",
            run(pg3=Instance("pg3", data="cluster")),
            True,
            ["turns: pg2 w1", "primaries: pg1"],
        ),
        (
            "standbys have a lower limit after the primary",
            run(pg1=server("pg1", lowered=True), pg2=server("pg2", False), pg3=server("pg3", False)),
            True,
            ["turns: w1", "primaries: pg1", "lowered: pg1"],
        ),
        (
            "and none before it",
            run(pg1=server("pg1", lowered=True), pg2=server("pg2", False), pg3=server("pg3", False)),
            False,
            ["turns: w1", "waiting: pg1"],
        ),
        (
            "a host that was never reached is no failure",
            run(("pg1", "pg2"), ("pg1", "pg2")),
            True,
            ["turns: pg2", "primaries: pg1"],
        ),
        ("one did not come back", run(("pg1", "pg2", "w1")), True, ["failed: pg3"]),
        ("one did not come back, and the primary may not", run(("pg1", "pg2", "w1")), False, ["failed: pg3"]),
        ("the primary did not come back", run(("pg3", "pg2", "w1")), True, ["failed: pg1"]),
    ],
)
def test_in_which_order_servers_are_restarted(what: str, known: Rollout, primary: bool, expected: list[str]) -> None:
    assert order(known.restarts(primary)) == expected, what


def test_all_that_wait_are_known_whatever_is_done() -> None:
    """Also those that are not restarted: they are told of, or take their files back."""
    for known in (run(pg2=server("pg2", False)), run(("pg3", "pg1"), ("pg3", "pg1", "pg2"))):
        for primary in (True, False):
            assert known.restarts(primary).pending == tuple(
                name for name in known.there if name != "pg2" and name != "w1"
            ) + (("w1",) if "w1" in known.there else ())
    assert not run(**{name: server(name, False) for name in ALL}).restarts(True).pending


def test_a_primary_that_was_left_alone_is_not_restarted() -> None:
    """Nor do standbys take its lower limits, which it does not have."""
    known = Rollout(CLUSTER, ALL, ALL, {"pg1": server("pg1", lowered=True)}, alone=("pg1",))
    assert order(known.restarts(True)) == []
    assert order(known.restarts(False)) == ["waiting: pg1"]


@pytest.mark.parametrize(
    ("what", "known", "primary", "expected"),
    [
        ("the primary is handed over", run(), False, ["turns: pg3 pg2 w1"]),
        ("the primary stays where it is", run(), True, ["turns: pg3 pg2 w1", "primaries: pg1"]),
        ("nothing waits", run(**{name: server(name, False) for name in ALL}), False, ["turns: pg3 pg2 w1"]),
        ("a stopped one too", run(pg3=Instance("pg3", data="cluster")), False, ["turns: pg3 pg2 w1"]),
        ("one did not come back", run(("pg1", "pg2", "w1")), False, ["failed: pg3"]),
        ("one did not come back, and the primary stays where it is", run(("pg1", "pg2", "w1")), True, ["failed: pg3"]),
    ],
)
def test_in_which_order_all_are_restarted(what: str, known: Rollout, primary: bool, expected: list[str]) -> None:
    assert order(known.restarts_of_all(primary)) == expected, what


def test_what_is_told_is_plain() -> None:
    assert run().restarts(False).to_dict() == {
        "turns": ["pg3", "pg2", "w1"],
        "primaries": [],
        "lowered": [],
        "waiting": ["pg1"],
        "pending": list(ALL),
        "failed": [],
    }


def members(*names: str, there: tuple[str, ...] = ALL, **more: Any) -> Rollout:
    return Rollout(CLUSTER, there, members=names, **more)


@pytest.mark.parametrize(
    ("known", "names", "missing"),
    [
        (members(*ALL), (), ()),
        (members("pg1", "pg2", "pg3"), (), ("w1",)),
        (members("pg1", "pg2", "pg3"), ("pg1", "pg3"), ()),
        # It was left as a member, and failed at something later.
        (members(*ALL, there=("pg1", "pg2", "w1")), (), ("pg3",)),
        (members("pg1", "pg2", "w1"), ("pg1", "pg3"), ("pg3",)),
        (members(), (), ("pg1", "pg2", "pg3", "w1")),
        # One that counts and is not in the inventory.
        (members(*ALL), ("pg1", "pg9"), ("pg9",)),
    ],
)
def test_a_stage_begins_when_all_are_members(known: Rollout, names: tuple[str, ...], missing: tuple[str, ...]) -> None:
    assert known.missing(names) == missing


def test_nobody_waits_for_who_is_not_in_the_run() -> None:
    assert members(there=("pg3", "w1")).lost == ("pg1", "pg2")
    assert members().lost == ()


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (members(), ("pg1", "pg2", "pg3")),  # this run has not been at the nodes
        (members(been=True), ()),
        (members("pg2", "w1", been=True), ("pg2",)),
        # Left as a member, and failed at something later: it runs.
        (members("pg1", "pg2", there=("pg2",), been=True), ("pg1", "pg2")),
    ],
)
def test_who_may_still_be_waited_for(known: Rollout, expected: tuple[str, ...]) -> None:
    assert known.expected == expected
