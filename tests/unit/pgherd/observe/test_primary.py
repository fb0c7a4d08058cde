# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which primary is real: one table of cases, and that every reader gives its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from pgherd.errors import Conflict
from pgherd.members.counting import _heads
from pgherd.nodes.instance import Instance
from pgherd.observe.node_state import NodeState, Survey
from pgherd.observe.primary import Shown, decide, only_primary, seen_primary
from pgherd.observe.topology import Topology, named
from pgherd.observe.tracker import FRESH, Tracker
from pgherd.observe.views import NodeView, PostgresView
from pgherd.pools.backends import Streaks
from pgherd.pools.backends import decide as backends
from pgherd.programs.pgpool import NodeInfo
from states import SYSTEM, cluster, primary, standby, streaming, survey

LISTED = ("pg1", "pg2", "pg3")
# By this an asynchronous server, or one that nobody has to confirm for, acknowledges.
NOBODY = (0, ())


def at(name: str, timeline: int = 1, *behind: str, own: Any = None, known: Any = None, system: str = "7") -> Shown:
    """A node outside recovery with those *behind* it, which needs one of the listed ones: *own* says its setting, *known* the
    description of whoever looks, None for what the reader does not know."""
    one = (1, tuple(other for other in LISTED if other != name))
    needed = (one,) if own is None and known is None else tuple(item for item in (own, known) if item is not None)
    return Shown(name, timeline, system, True, behind=behind, needed=needed)


def below(name: str, timeline: int = 1, upstream: str = "", system: str = "7") -> Shown:
    """A standby, which streams from *upstream*."""
    return Shown(name, timeline, system, upstream=upstream)


ONE, TWO = (1, LISTED), (2, LISTED)
TIE = "nothing tells {} and {} apart".format
# What is said, what else is known, who is the primary ('' for nobody), and why it is nobody.
CASES: dict[str, tuple[tuple[Shown, ...], dict[str, Any], str, str]] = {
    "nobody answers": ((), {}, "", "no node of the cluster that answers runs outside recovery"),
    "standbys alone": ((below("pg2"), below("pg3")), {}, "", "no node of the cluster that answers runs outside recovery"),
    "the only one": ((at("pg1"), below("pg2"), below("pg3")), {}, "pg1", ""),
    "the only one, and nobody else answers": ((at("pg1"),), {}, "pg1", ""),
    "the newer of two that nobody is behind": ((at("pg1"), at("pg2", 2)), {}, "pg2", ""),
    "one that can acknowledge, whatever others have begun": ((at("pg1", 1, "pg3"), at("pg2", 2)), {}, "pg1", ""),
    "also beside a standby of the other": ((at("pg1", 1, "pg3"), at("pg2", 2), below("pg4", 2, "pg2")), {}, "pg1", ""),
    "the newer of two that can": ((at("pg1", 1, "pg3"), at("pg2", 2, "pg3")), {}, "pg2", ""),
    "who is not listed does not make it able": ((at("pg1", 1, "pg9"), at("pg2", 2)), {}, "pg2", ""),
    "one of two is not enough": (
        (at("pg1", 1, "pg3", known=TWO), at("pg2", 2, known=TWO)), {}, "pg2", ""
    ),
    "left behind: a standby is on a newer timeline": (
        (at("pg1"), below("pg3", 2)), {}, "", "pg1 is on timeline 1, and there is 2"
    ),
    "left behind by one that is not primary either": (
        (at("pg1"), at("pg2", 2), below("pg3", 3)), {}, "", "pg2 is on timeline 2, and there is 3"
    ),
    "left behind, as was seen before": ((at("pg1"),), {"newest": 2}, "", "pg1 is on timeline 1, and there is 2"),
    "what was seen before is no newer": ((at("pg1", 2),), {"newest": 2}, "pg1", ""),
    "followed all the same, and a stray is a standby": ((at("pg1", 1, "pg2"), below("pg3", 2)), {"newest": 2}, "pg1", ""),
    "a standby that is not listed, for a reader who counts all": (
        (at("pg1"), below("pg9", 2)), {}, "", "pg1 is on timeline 1, and there is 2"
    ),
    "for one who counts the listed": ((at("pg1"), below("pg9", 2)), {"listed": LISTED}, "pg1", ""),
    "who counts the listed counts each that is writable": (
        (at("pg1"), at("pg9", 2)), {"listed": LISTED}, "pg9", ""
    ),
    "alike: nobody": ((at("pg1", 2), at("pg2", 2)), {}, "", TIE("pg1", "pg2")),
    "alike below a newer timeline: left behind": (
        (at("pg1"), at("pg2"), below("pg3", 2)), {}, "", "pg1 and pg2 are on timeline 1, and there is 2"
    ),
    "alike, and both can acknowledge": (
        (at("pg1", 1, "pg3"), at("pg2", 1, "pg3")), {}, "", TIE("pg1", "pg2")
    ),
    "one of two on a timeline is followed": ((at("pg1", 2), at("pg2", 2), below("pg9", 2, "pg2")), {}, "pg2", ""),
    "through another": (
        (at("pg1", 2), at("pg2", 2), below("pg8", 2, "pg1"), below("pg9", 2, "pg2"), below("pg3", 2, "pg9")), {}, "pg2", ""
    ),
    "more follow one, and the other has more that may confirm": (
        (
            at("pg1", 2, "pg3", known=TWO), at("pg2", 2, known=TWO),
            below("pg3", 2, "pg1"), below("pg8", 2, "pg2"), below("pg9", 2, "pg2"),
        ),
        {}, "", TIE("pg1", "pg2"),
    ),
    "as many follow each, and one has more that may confirm": (
        (at("pg1", 2, "pg3", known=TWO), at("pg2", 2, known=TWO), below("pg3", 2, "pg1"), below("pg9", 2, "pg2")), {}, "pg1", ""
    ),
    "streams in a circle lead to nobody": (
        (at("pg1"), at("pg2"), below("pg3", 1, "pg9"), below("pg9", 1, "pg3")), {}, "", TIE("pg1", "pg2")
    ),
    "another cluster's, on a newer timeline": ((at("pg1"), below("pg2"), at("pg3", 9, system="6")), {}, "pg1", ""),
    "another cluster's standby leaves nobody behind": ((at("pg1"), below("pg2"), below("pg3", 9, system="6")), {}, "pg1", ""),
    "only another cluster's is left": (
        (at("pg1", system="6"), below("pg2"), below("pg3")), {}, "", "no node of the cluster that answers runs outside recovery"
    ),
    "as many of one cluster as of another": (
        (at("pg1"), below("pg3", system="6")), {}, "", "as many nodes hold one cluster as another"
    ),
    "and the reader knows which is its own": ((at("pg1"), below("pg3", system="6")), {"system_id": "7"}, "pg1", ""),
    "most hold another than the reader": (
        (at("pg1"), below("pg2"), below("pg3", system="6")), {"system_id": "6"}, "",
        "no node of the cluster that answers runs outside recovery",
    ),
    # The server's own setting against what the reader's description says.
    "by its own setting alone": ((at("pg1", 1, "pg2", own=ONE), at("pg3", 2, own=ONE)), {}, "pg1", ""),
    "its own setting asks for nobody": ((at("pg1", 1, "pg2", own=NOBODY), at("pg3", 2, own=NOBODY)), {}, "pg3", ""),
    "both ask for one": ((at("pg1", 1, "pg2", own=ONE, known=ONE), at("pg3", 2, own=ONE, known=ONE)), {}, "pg1", ""),
    "its own asks for two, the description for one": (
        (at("pg1", 1, "pg2", own=TWO, known=ONE), at("pg3", 2, own=TWO, known=ONE)), {}, "",
        "pg1 may be able to acknowledge commits beside pg3",
    ),
    "its own asks for one, the description for two": (
        (at("pg1", 1, "pg2", own=ONE, known=TWO), at("pg3", 2, own=ONE, known=TWO)), {}, "",
        "pg1 may be able to acknowledge commits beside pg3",
    ),
    "its own asks for nobody, against the description": (
        (at("pg1", 1, "pg2", own=NOBODY, known=ONE), at("pg3", 2, own=NOBODY, known=ONE)), {}, "",
        "pg1 may be able to acknowledge commits beside pg3",
    ),
    "that is no doubt where nobody else is": ((at("pg1", 1, "pg2", own=NOBODY, known=ONE), below("pg2")), {}, "pg1", ""),
    "nor where it is the newest itself": (
        (at("pg1", 2, "pg2", own=NOBODY, known=ONE), at("pg3", 1, own=NOBODY, known=ONE)), {}, "pg1", ""
    ),
    "but one with a doubt may have been left behind": (
        (at("pg1", 1, "pg2", own=NOBODY, known=ONE), below("pg3", 2)), {}, "", "pg1 is on timeline 1, and there is 2"
    ),
    "one is sure, another is not": (
        (at("pg1", 1, "pg2", own=ONE, known=ONE), at("pg3", 2, "pg2", own=TWO, known=ONE)), {}, "pg1", ""
    ),
    "asynchronous: the newest timeline": ((at("pg1", 1, "pg2", known=NOBODY), at("pg3", 2, known=NOBODY)), {}, "pg3", ""),
    "asynchronous: left behind, however many follow": (
        (at("pg1", 1, "pg2", known=NOBODY), below("pg2", 1, "pg1"), below("pg3", 2)), {}, "",
        "pg1 is on timeline 1, and there is 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_decide(case: tuple[tuple[Shown, ...], dict[str, Any], str, str]) -> None:
    answers, known, name, why = case
    for order in (answers, tuple(reversed(answers))):
        found = decide(order, **known)
        assert (found.name, bool(found.why)) == (name, not name)
        assert sorted(found.why.split()) == sorted(why.split())


def test_nobody_is_named_whom_another_order_would_not_name() -> None:
    """A tie was the first one's in the order of the questions."""
    tied = decide([at("pg1", 2), at("pg2", 2), at("pg3")])
    assert (tied.name, set(tied.tied), tied.newest, tied.stale) == ("", {"pg1", "pg2"}, 2, ("pg3",))


@pytest.mark.parametrize(
    ("what", "answers", "newest", "stale"),
    [
        ("another is on a newer timeline", (at("pg1"), at("pg2", 2)), 0, ("pg1",)),
        ("one was", (at("pg1"), below("pg2")), 2, ("pg1",)),
        ("it can acknowledge", (at("pg1", 1, "pg2"), at("pg3", 2)), 2, ()),
        # Where that is wrong, a pgpool would drop the primary and be left with a stray.
        ("that is not sure", (at("pg1", 1, "pg2", own=TWO, known=ONE), at("pg3", 2)), 0, ()),
        ("another cluster's, below it", (at("pg1", 2), below("pg2", 2), at("pg3", system="6")), 0, ("pg3",)),
    ],
)
def test_who_has_a_successor(what: str, answers: tuple[Shown, ...], newest: int, stale: tuple[str, ...]) -> None:
    assert decide(answers, newest=newest).stale == stale, what


# Every reader. The nodes are pg1, pg2, pg3, all listed, and W is 1; a freshly answered stream is behind its primary.


@dataclass(frozen=True)
class World:
    """What the nodes are, and who is the primary by *agent* and by *view*, which differ for a reason that is named."""

    nodes: tuple[NodeState, ...]
    agent: str
    view: str
    #: By what hosts hold, of whom nobody asks who streams.
    hosts: str


def told(name: str, timeline: int, *names: str, **more: Any) -> NodeState:
    """A primary whose standbys *names* have answered it."""
    return primary(name, timeline, senders=dict.fromkeys(names, "2031-01-01 00:00:00"), **more)


WORLDS = {
    "all is well": World((told("pg1", 1, "pg2", "pg3"), streaming("pg2"), streaming("pg3")), "pg1", "pg1", "pg1"),
    "a failover": World((told("pg2", 2, "pg3"), streaming("pg3", timeline=2, follows="pg2")), "pg2", "pg2", "pg2"),
    "the old primary is back": World(
        (primary("pg1"), told("pg2", 2, "pg3"), streaming("pg3", timeline=2, follows="pg2")), "pg2", "pg2", "pg2"
    ),
    "before its standbys are there": World(
        (primary("pg1"), primary("pg2", 2), standby("pg3", follows="")), "pg2", "pg2", "pg2"
    ),
    "a stray beside one that is followed": World(
        # Hosts say nothing of streams.
        (told("pg1", 1, "pg2"), streaming("pg2"), primary("pg3", 2)), "pg1", "pg1", "pg3"
    ),
    "a stray that is a standby again": World(
        (told("pg1", 1, "pg2"), streaming("pg2"), standby("pg3", timeline=2)), "pg1", "pg1", ""
    ),
    "left behind": World((primary("pg1"), standby("pg3", timeline=2)), "", "", ""),
    "left behind, and its successor is silent": World((primary("pg1"), standby("pg2", follows="")), "pg1", "pg1", "pg1"),
    "fenced: it is the primary still": World(
        (primary("pg1", read_only=True), standby("pg2"), standby("pg3")), "pg1", "pg1", "pg1"
    ),
    "its standbys are sealed, and their last answers come late": World(
        (told("pg1", 1, "pg3"), primary("pg2", 2), standby("pg3", follows="")), "pg2", "pg2", "pg2"
    ),
    "its standby does not answer here, but there": World(
        # The primary's own word: the status does not have it as fresh.
        (told("pg1", 1, "pg3"), primary("pg2", 2)), "pg1", "pg2", "pg2"
    ),
    "its standby says that it streams, and has not answered it": World(
        # The primary is frozen, or cut off from it.
        (primary("pg1"), streaming("pg3"), primary("pg2", 2)), "pg2", "pg1", "pg2"
    ),
    "two that nothing tells apart": World((primary("pg1", 2), primary("pg2", 2), standby("pg3")), "", "", ""),
    "silent": World((), "", "", ""),
    "standbys alone": World((standby("pg2"), standby("pg3")), "", "", ""),
}  # fmt: skip
THREE = cluster(3)


def by_agent(nodes: tuple[NodeState, ...]) -> str:
    tracker = Tracker(THREE, "pg3")
    tracker.look(1.0, survey(*nodes))
    return seen_primary(THREE, tracker, 1.0, survey(*nodes), SYSTEM).name


def viewed(nodes: tuple[NodeState, ...]) -> Topology:
    """The same as the status sees it."""
    said = {state.name: state for state in nodes}
    names = THREE.synchronous_standby_names

    def view(state: NodeState) -> PostgresView:
        return PostgresView(
            state.in_recovery, state.timeline, state.system_id,
            upstream=state.upstream, receiver=state.receiver, synchronous_standby_names=names, read_only=state.read_only,
        )  # fmt: skip

    views = (
        NodeView(node.name, node.kind, node.id, 0.0, view(said[node.name]) if node.name in said else None)
        for node in THREE.nodes
    )
    return Topology("demo", 0.0, tuple(views))


def by_view(nodes: tuple[NodeState, ...]) -> str:
    found = viewed(nodes).live_primary()
    return found.name if found else ""


def by_view_and_description(nodes: tuple[NodeState, ...]) -> str:
    return Topology.from_dict(named(THREE, viewed(nodes)).to_dict()).find_primary().name


def by_pgpool(nodes: tuple[NodeState, ...]) -> str:
    """Whom a pgpool that has all nodes detached, and took none for it, is told to use as the primary."""
    table = {
        node.id - 1: NodeInfo(node.id - 1, node.name, 5432, "down", "unknown", 0.0, "standby") for node in THREE.nodes
    }
    names = {node.id - 1: node.name for node in THREE.nodes}
    changes = backends(names, table, named(THREE, viewed(nodes)), Streaks())
    return next((change.node for change in changes if change.why == "it is the primary"), "")


@pytest.mark.parametrize("reader", [by_view, by_view_and_description, by_pgpool])
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())
def test_whoever_has_the_view_alone(world: World, reader: Callable[[tuple[NodeState, ...]], str]) -> None:
    assert reader(world.nodes) == world.view


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())
def test_an_agent(world: World) -> None:
    assert by_agent(world.nodes) == world.agent


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())
def test_a_verb_goes_by_the_same_primary_or_is_refused(world: World) -> None:
    """Switchover, removal, another count: with one look, and no other server that is writable."""
    writable = [state.name for state in world.nodes if not state.in_recovery]
    if len(writable) == 1 and world.view:
        assert only_primary(THREE, survey(*world.nodes), "hand over") == world.view
        return
    with pytest.raises(Conflict, match="wanted one primary"):
        only_primary(THREE, survey(*world.nodes), "hand over")


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())
def test_whose_names_count_by_what_hosts_hold(world: World) -> None:
    holders = [
        Instance(state.name, data="cluster", running=True, role="standby" if state.in_recovery else "primary",
                 system_identifier=state.system_id, timeline=state.timeline)
        for state in world.nodes
    ]  # fmt: skip
    if not holders:
        return
    found = [one.name for one in _heads(holders)]
    tied = ["pg1", "pg2"] if len([one for one in holders if one.role == "primary" and one.timeline == 2]) > 1 else []
    assert found == ([world.hosts] if world.hosts else tied or [one.name for one in holders])


def test_a_stream_whose_answers_are_old_is_behind_nobody() -> None:
    tracker, nodes = Tracker(THREE, "pg3"), (told("pg1", 1, "pg3"), primary("pg2", 2))
    found = []
    for now in (1.0, 2.0, 3.0, 1.1 + FRESH):
        tracker.look(now, survey(*nodes))
        found.append(seen_primary(THREE, tracker, now, survey(*nodes), SYSTEM).name)
    assert found == ["pg1", "pg1", "pg1", "pg2"]


def test_an_agent_finds_the_primary_again_after_a_promotion_that_was_withdrawn() -> None:
    """A leaf had followed it at once. Whoever sends writers somewhere waits until a listed standby is behind the primary."""
    five = replace(
        cluster(4), nodes=tuple(replace(n, upstream="pg2") if n.name == "pg4" else n for n in cluster(4).nodes)
    )
    nodes = (primary("pg1"), standby("pg3", follows=""), standby("pg4", timeline=2, follows="pg2"))
    tracker = Tracker(five, "pg3")
    tracker.look(1.0, survey(*nodes))
    assert seen_primary(five, tracker, 1.0, survey(*nodes), SYSTEM).name == "pg1"
    said = [Shown(one.name, one.timeline, SYSTEM, not one.in_recovery) for one in nodes]
    assert decide(said).name == ""


def test_a_standby_that_leaves_leaves_nobody_behind() -> None:
    """A stray under asynchronous durability could not be removed otherwise."""
    found = cluster(3, durability="async")
    nodes = survey(primary("pg1"), streaming("pg2"), standby("pg3", timeline=2))
    with pytest.raises(Conflict, match="pg1 is on timeline 1, and there is 2"):
        only_primary(found, nodes, "Remove a node")
    assert only_primary(found, nodes, "Remove a node", "pg3") == "pg1"
    assert only_primary(found, Survey({"pg1": primary("pg1")}), "Remove a node", "pg1") == "pg1"


@pytest.mark.parametrize(
    ("own", "bare", "described"),
    [
        ('ANY 1 ("pg1", "pg2", "pg3")', "pg1", "pg1"),
        ('ANY 2 ("pg1", "pg2", "pg3")', "pg3", ""),
        ("", "pg3", ""),
        ('ANY 1 ("pg8", "pg9")', "pg3", ""),
    ],
)
def test_a_stray_is_not_named_where_the_numbers_differ(own: str, bare: str, described: str) -> None:
    """pg2 streams from pg1, and pg3 was promoted beside it. Agents go by pg1 in each case."""
    seen = viewed((primary("pg1"), streaming("pg2"), primary("pg3", 2)))
    nodes = (
        replace(view, postgres=replace(view.postgres, synchronous_standby_names=own) if view.postgres else None)
        for view in seen.nodes
    )
    seen = replace(seen, nodes=tuple(nodes))
    assert seen.find_primary().name == bare
    assert named(THREE, seen).find_primary().name == described
    assert Topology.from_dict(named(THREE, seen).to_dict()).find_primary().name == described
