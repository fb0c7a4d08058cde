# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""How many must take part in a promotion: every set of sealed nodes meets every set of acknowledgers and of sealed nodes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, product

import pytest
from pgherd.model import Cluster
from pgherd.quorum import acknowledgers, could_promote, majority, seals_needed, voters
from states import cluster

SIZES = [(electable, sync) for electable in range(2, 7) for sync in range(1, electable)]
names = [f"pg{number}" for number in range(1, 7)]


@pytest.mark.parametrize(
    ("electable", "sync", "needed", "unknown"),
    [
        (2, 1, 1, 2),
        (3, 1, 2, 2),
        (3, 2, 2, 2),
        (4, 1, 3, 3),
        (4, 2, 2, 3),
        (4, 3, 2, 3),
        (5, 1, 4, 4),
        (5, 2, 3, 3),
        (5, 3, 3, 3),
        (6, 2, 4, 4),
        (6, 3, 3, 4),
    ],
)
@pytest.mark.parametrize("witness", [False, True])
def test_seals(electable: int, sync: int, needed: int, unknown: int, witness: bool) -> None:
    """*unknown*: where nobody knows who was primary, or it runs as a standby now, one more may be sealed."""
    found = cluster(electable, witness, sync_standbys=sync)
    assert len(voters(found, "pg1")) == electable - 1
    assert acknowledgers(found) == sync
    assert seals_needed(found, "pg1") == seals_needed(found, "pg2") == needed
    assert seals_needed(found, "") == unknown


@pytest.mark.parametrize(("electable", "sync"), SIZES)
def test_every_acknowledged_commit_is_on_a_sealed_node_and_none_is_acknowledged_after(
    electable: int, sync: int
) -> None:
    """For every old primary, every W that may have acknowledged and every R that may be sealed."""
    found = cluster(electable, sync_standbys=sync)
    for old in names[:electable]:
        able = voters(found, old)
        for sealed in combinations(able, seals_needed(found, old)):
            assert all(set(acked) & set(sealed) for acked in combinations(able, sync))
            assert len(set(able) - set(sealed)) < sync


def disjoint(one: Iterable[tuple[str, ...]], other: Iterable[tuple[str, ...]]) -> bool:
    """Whether a set of *one* has nothing in common with a set of *other*."""
    return any(not set(left) & set(right) for left, right in product(one, other))


@pytest.mark.parametrize(("electable", "sync"), SIZES)
def test_two_promotions_exclude_each_other(electable: int, sync: int) -> None:
    """Whichever nodes each of them seals, whether or not the primary has come back as a standby for one of them."""
    found = cluster(electable, sync_standbys=sync)
    gone = list(combinations(voters(found, "pg1"), seals_needed(found, "pg1")))
    back = list(combinations(names[:electable], seals_needed(found, "")))
    assert not disjoint(gone, gone)
    assert not disjoint(gone, back)
    assert not disjoint(back, back)


@pytest.mark.parametrize(("electable", "sync"), SIZES)
def test_one_sealed_node_fewer_would_not_do(electable: int, sync: int) -> None:
    """A commit could be missed, or two could be promoted at once."""
    found = cluster(electable, sync_standbys=sync)
    for able, primary in ((voters(found, "pg1"), "pg1"), (names[:electable], "")):
        fewer = list(combinations(able, seals_needed(found, primary) - 1))
        assert disjoint(fewer, combinations(voters(found, "pg1"), sync)) or disjoint(fewer, fewer)


@pytest.mark.parametrize(("electable", "sync"), SIZES)
def test_an_unlisted_primary_is_acknowledged_by_any_of_the_listed_nodes(electable: int, sync: int) -> None:
    """One promoted by hand: all listed nodes are its standbys."""
    found = cluster(electable, witness=True, sync_standbys=sync)
    able = voters(found, "w1")
    assert len(able) == electable
    sealed = list(combinations(able, seals_needed(found, "w1")))
    assert not disjoint(sealed, combinations(able, sync))
    assert not disjoint(sealed, sealed)


@pytest.mark.parametrize(("electable", "sync"), SIZES)
def test_a_start_is_allowed_exactly_when_a_promotion_was_impossible(electable: int, sync: int) -> None:
    """Whoever is not accounted for may have been sealed, and by nobody else."""
    found = cluster(electable, sync_standbys=sync)
    able = voters(found, "pg1")
    for count in range(len(able) + 1):
        for accounted in combinations(able, count):
            rest = tuple(name for name in able if name not in accounted)
            possible = len(rest) >= seals_needed(found, "pg1")
            assert could_promote(found, "pg1", accounted) == (rest if possible else ())


@pytest.mark.parametrize("witness", [False, True])
@pytest.mark.parametrize("electable", range(2, 7))
def test_asynchronous_majorities_meet(electable: int, witness: bool) -> None:
    """A majority for a promotion leaves none for the start of the old primary."""
    found = cluster(electable, witness, durability="async")
    assert acknowledgers(found) == 0
    others = [node.name for node in found.nodes if node.name != "pg1"]
    for count in range(len(others) + 1):
        for accounted in combinations(others, count):
            left = len(others) - count
            assert bool(could_promote(found, "pg1", accounted)) == (left >= majority(found))
            assert not (left >= majority(found) and count + 1 >= majority(found))


def test_an_only_electable_node_is_never_replaced() -> None:
    found: Cluster = cluster(1, witness=True)
    assert could_promote(found, "pg1", ()) == ()
