# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Pods read who is counted and who is named in one description: what each is told of a change, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pgherd.errors import Conflict
from pgherd.members.counting import Count, counting, way
from pgherd.members.pods import living, refused, stage, told, unapplied
from pgherd.model import Cluster, Node
from pgherd.nodes.instance import Instance
from pgherd.programs.postgres import parse_sync_names
from pgherd.render.conf_cluster import text


def pods(number: int, electable: str = "", needed: int = 1, **more: object) -> Cluster:
    """*number* data nodes, of which those with a digit of *electable* are, or all."""
    wanted = electable or "".join(map(str, range(number)))
    nodes = tuple(
        Node(f"pg-{n}", n + 1, "postgres", f"pg-{n}", "pg-0" if n else "", priority=100 if str(n) in wanted else 0)
        for n in range(number)
    )
    return Cluster("demo", nodes, sync_standbys=needed, **more)  # type: ignore[arg-type]


def described(cluster: Cluster) -> tuple[Count, Count]:
    """Who is counted and who is named by a description that was written and read."""
    found = Cluster.from_dict(cluster.to_dict())
    needed, names = parse_sync_names(found.synchronous_standby_names)
    return Count.of(found), Count(names, needed)


def said(cluster: Cluster, by: Cluster) -> dict[str, Instance | None]:
    """What all nodes of *cluster* say that go by the description *by*."""
    counted, named = described(by)
    given = {"data": "cluster", "running": True, "timeline": 1, "counts": counted.to_dict()}
    names = f"ANY {named.needed} ({', '.join(named.names)})"
    return {
        node.name: Instance(node.name, role="standby" if node.upstream else "primary", names=names, **given)
        for node in cluster.data_nodes
    }


CHANGES = {
    "three become five": (pods(3), pods(5), 3),
    "three become five, with a higher number": (pods(3), pods(5, needed=2), 4),
    "one is electable no more": (pods(3), pods(3, "01", durability="strict"), 2),
    "one comes to be electable": (pods(4, "012"), pods(4), 2),
    "the number rises": (pods(3), pods(3, needed=2), 2),
    "the number falls": (pods(3, needed=2), pods(3), 2),
    "one for another": (pods(4, "012"), pods(4, "013"), 3),
}


@pytest.mark.parametrize(("before", "wanted", "stages"), CHANGES.values(), ids=list(CHANGES))
def test_all_changes_but_who_is_counted_and_named_first(before: Cluster, wanted: Cluster, stages: int) -> None:
    assert list(refused(before, wanted)) == []
    first = told(wanted, before)
    assert described(first) == described(before)
    assert [node.name for node in first.nodes] == [node.name for node in wanted.nodes]
    there = way(wanted, said(wanted, first))
    assert described(first) == (there.start.counted, there.start.named)
    assert len(there.stages) == stages
    by = first
    for item in there.stages:
        by = told(wanted, by, item.to_dict())
        assert described(by) == (item.counted, item.named)
        assert stage(by) == replace(item, held=False)
    # The last one is what the inventory says, to the letter.
    assert text(by) == text(wanted)
    assert told(wanted, by) == by


@pytest.mark.parametrize(("before", "wanted", "stages"), CHANGES.values(), ids=list(CHANGES))
def test_broken_off_after_each_stage_the_next_run_goes_on(before: Cluster, wanted: Cluster, stages: int) -> None:
    """Whoever runs then begins with the description that is there."""
    by, left = told(wanted, before), stages
    while left:
        by = told(wanted, Cluster.from_dict(by.to_dict()))
        there = way(wanted, said(wanted, by))
        assert described(by) == (there.start.counted, there.start.named)
        assert len(there.stages) == left
        by, left = told(wanted, by, there.stages[0].to_dict()), left - 1
    assert text(by) == text(wanted)


def test_a_new_cluster_is_told_all() -> None:
    assert told(pods(3), None) == pods(3)


def test_nobody_is_asked_under_async() -> None:
    before, wanted = pods(3, durability="async"), pods(5, durability="async")
    assert living(before, wanted) == wanted
    assert wanted.synchronous_standby_names == ""


def test_a_description_without_a_change_is_as_ever() -> None:
    assert "named" not in pods(3).to_dict()
    assert "named" not in counting(pods(3), {"names": ["pg-0", "pg-1"], "needed": 1}).to_dict()


def test_who_has_left_is_refused_and_never_told() -> None:
    (sentence,) = refused(pods(4), pods(3))
    assert "remove -e cluster_remove=pg-3" in sentence
    with pytest.raises(Conflict, match="Count other nodes"):
        told(pods(3), pods(4))
    (sentence,) = refused(pods(3), pods(3, durability="async"))
    assert sentence.startswith("cluster_durability is strict")


@pytest.mark.parametrize(
    ("what", "before", "whole", "why"),
    [
        ("as the pods go by it", pods(4), pods(4), ""),
        ("a run before this one took it out of who is counted", pods(3), pods(4), ""),
        ("one more is not electable in the inventory", pods(4), pods(4, "013"), "pg-0, pg-1, pg-2, pg-3 as electable"),
        ("one more is", pods(4, "013"), pods(4), "the inventory says pg-0, pg-1, pg-2, pg-3"),
        (
            "another number confirms",
            pods(4),
            pods(4, needed=2),
            "cluster_sync_standbys 1, and the inventory says strict and 2",
        ),
        ("another durability", pods(4), pods(4, durability="async"), "the inventory says async"),
        ("nobody knows", None, pods(4), "there is no ConfigMap"),
    ],
)
def test_a_node_is_taken_out_of_what_the_pods_go_by(
    what: str, before: Cluster | None, whole: Cluster, why: str
) -> None:
    """The first stage without it would count as the inventory does, and none before has those hold all that count by it."""
    found = unapplied(before, whole, "pg-3")
    assert why in found, what
    assert bool(found) is bool(why), what
    assert ("run the site playbook first" in found) is bool(why), what
