# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which node may leave, and what is done before and after the others are told."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from pgherd.errors import ConfigError, Conflict, SqlError, Unreachable
from pgherd.layout import debian
from pgherd.members import acknowledged, removal
from pgherd.members.counting import Count, Stage, counting
from pgherd.members.removal import RemovalFacts, advice, gained, moves, plan, problems, rest, way
from pgherd.members.removal_apply import RemovalExecutor, look
from pgherd.model import POD, Barman, Cluster, Node, Pgpool
from pgherd.ports import wait
from pgherd.ports.links import Links
from pgherd.programs.repmgr import Record, wanted_record
from pgherd.quorum import acknowledgers, seals_needed, voters
from pgherd.render.conf_postgres import texts
from scripted import ScriptedServer
from states import primary, streaming, survey, witness
from test_seal import ASK, row

# pg3 is below pg2 and may be primary once it is directly below the first; pg5 may not.
TREE = Cluster(
    "demo",
    (
        Node("pg1", 1, "postgres", "pg1"),
        Node("pg2", 2, "postgres", "pg2", "pg1"),
        Node("pg3", 3, "postgres", "pg3", "pg2", priority=50),
        Node("pg4", 4, "postgres", "pg4", "pg1"),
        Node("pg5", 5, "postgres", "pg5", "pg4", priority=0, location="elsewhere"),
        Node("pg6", 6, "postgres", "pg6", "pg1"),
        Node("w1", 9, "witness", "w1", "pg1"),
    ),
    (Pgpool("pool1", "pool1"),),
    (Barman("backup1", "backup1"),),
)
NAMES = ("pg1", "pg2", "pg4", "pg6")
ASYNC = replace(TREE, durability="async")


def states(upstreams: dict[str, str], slots: dict[str, tuple[str, ...]] | None = None) -> Any:
    """All nodes as they stream now; the one without an upstream is the primary."""
    held = {
        name: dict.fromkeys((slots or {}).get(name, ()), ("0/5000000", True)) for name in (*upstreams, *(slots or {}))
    }
    said = [witness()]
    for name, upstream in upstreams.items():
        senders = {other: "now" for other, above in upstreams.items() if above == name}
        if upstream:
            said.append(streaming(name, follows=upstream, senders=senders, slots=held[name]))
        else:
            said.append(primary(name, senders=senders, slots=held[name]))
    return survey(*said)


FIRST_DAY = {"pg1": "", "pg2": "pg1", "pg3": "pg2", "pg4": "pg1", "pg5": "pg4", "pg6": "pg1"}
SWITCHED = {"pg2": "", "pg1": "pg2", "pg3": "pg2", "pg4": "pg2", "pg5": "pg4", "pg6": "pg2"}


def records(upstreams: dict[str, str], cluster: Cluster = TREE) -> tuple[Record, ...]:
    def record(node: Node) -> Record:
        above = upstreams.get(node.name, node.upstream)
        kind = "witness" if node.kind == "witness" else "standby" if above else "primary"
        return wanted_record(cluster, node, kind, cluster.node(above).id if above else None, debian(17))

    return tuple(record(node) for node in cluster.nodes)


def found(
    upstreams: dict[str, str] | None = None,
    silent: tuple[str, ...] = (),
    names: tuple[str, ...] = NAMES,
    slots: dict[str, tuple[str, ...]] | None = None,
    **changes: Any,
) -> RemovalFacts:
    """The tree with *silent* nodes gone; by default on its first day."""
    upstreams = FIRST_DAY if upstreams is None else upstreams
    head = next(name for name, above in upstreams.items() if not above)
    here = {name: above for name, above in upstreams.items() if name not in silent}
    reached = tuple(node.name for node in TREE.nodes if node.name not in silent)
    given = RemovalFacts(states(here, slots), head, names, records(upstreams), reached)
    return replace(given, **changes)


def steps(name: str, seen: RemovalFacts, *stages: str, cluster: Cluster = TREE) -> list[str]:
    return [step.what for step in plan(cluster, name, seen, stages or ("leave", "forget")).steps]


@pytest.mark.parametrize(
    ("name", "seen", "expected"),
    [
        (
            "pg5",
            found(slots={"pg4": ("repmgr_slot_5",), "pg1": ("repmgr_slot_5", "repmgr_slot_2")}),
            ["unregister pg5", "drop slot repmgr_slot_5 on pg1, pg4"],
        ),
        (
            "pg6",
            found(slots={"pg1": ("repmgr_slot_6",)}),
            [
                "see 1 of pg2, pg4 hold all that pg1 has acknowledged, without pg6",
                "unregister pg6",
                "drop slot repmgr_slot_6 on pg1",
            ],
        ),
        (
            "pg4",
            found(),
            [
                "see 1 of pg2, pg6 hold all that pg1 has acknowledged, without pg4",
                "let pg5 follow pg1 in the place of pg4",
                "unregister pg4",
            ],
        ),
        (
            "pg2",
            found(),
            [
                # pg3 comes to be electable, and must not acknowledge before all know that.
                "see 1 of pg4, pg6 hold all that pg1 has acknowledged, without pg2",
                "let pg3 follow pg1 in the place of pg2",
                "unregister pg2",
            ],
        ),
        (
            "pg1",
            found(SWITCHED),
            ["see 1 of pg4, pg6 hold all that pg2 has acknowledged, without pg1", "unregister pg1"],
        ),
        ("w1", found(), ["unregister w1"]),
        (
            "pg4",
            found(silent=("pg4",)),
            [
                "see 1 of pg2, pg6 hold all that pg1 has acknowledged, without pg4",
                "let pg5 follow pg1 in the place of pg4",
                "unregister pg4",
            ],
        ),
    ],
    ids=[
        "a leaf",
        "electable",
        "with one below",
        "one that makes another electable",
        "the first one",
        "witness",
        "dead",
    ],
)
def test_the_way_out(name: str, seen: RemovalFacts, expected: list[str]) -> None:
    seen = replace(seen, survey=_orphaned(seen.survey, name))
    assert steps(name, seen) == expected


def _orphaned(given: Any, name: str) -> Any:
    """Those that followed a node that does not answer are pointed at it still."""
    if name in given.states:
        return given
    orphans = {
        one: replace(state, upstream="", receiver="") if state.upstream == name else state
        for one, state in given.states.items()
    }
    return replace(given, states=orphans)


def test_in_two_stages() -> None:
    seen = found(slots={"pg1": ("repmgr_slot_4",)})
    assert steps("pg4", seen, "leave")[-1] == "let pg5 follow pg1 in the place of pg4"
    assert steps("pg4", seen, "forget") == ["unregister pg4", "drop slot repmgr_slot_4 on pg1"]
    todo = plan(TREE, "pg4", seen)
    assert todo.before == {"registered": True, "slot_on": ["pg1"], "followers": ["pg5"]}
    assert todo.after == {"registered": False, "slot_on": [], "followers": []}


@pytest.mark.parametrize(
    ("what", "changes", "expected"),
    [
        ("before anything was told", {}, ["see", "unregister"]),
        ("names are shrunk", {"names": ("pg1", "pg2", "pg4")}, ["see", "unregister"]),
        ("the row is gone", {"names": ("pg1", "pg2", "pg4"), "records": ()}, []),
        # Somebody ran the site playbook with the host in the inventory, and the row has not come yet.
        ("it counts again", {"records": ()}, ["see"]),
    ],
)
def test_broken_off_it_goes_on(what: str, changes: dict[str, Any], expected: list[str]) -> None:
    assert [step.split()[0] for step in steps("pg6", found(**changes))] == expected, what


def test_async_waits_for_nobody() -> None:
    assert steps("pg6", found(names=()), cluster=ASYNC) == ["unregister pg6"]


THREE = replace(TREE, nodes=tuple(node for node in TREE.nodes if node.name in ("pg1", "pg2", "pg4", "w1")))
FOUR = replace(THREE, nodes=(*THREE.nodes, TREE.node("pg6")), sync_standbys=2)


@pytest.mark.parametrize(
    ("what", "cluster", "name", "seen", "why"),
    [
        ("the primary", TREE, "pg1", found(), "pg1 is the primary: hand over first"),
        ("too few electable", THREE, "pg2", found(), "cluster_durability strict needs three electable nodes"),
        ("W cannot be held", replace(FOUR, sync_standbys=3), "pg6", found(), "Without pg6: cluster_sync_standbys is 3"),
        (
            "too few left that stream",
            TREE,
            "pg6",
            found(silent=("pg2", "pg4")),
            r"Only 0 of 1 standbys that must confirm commits would be left.*\(pg2, pg4\)",
        ),
        ("one below it is silent", TREE, "pg4", found(silent=("pg5",)), "pg5 follows pg4 and does not answer"),
        (
            "who becomes electable must be known everywhere",
            TREE,
            "pg2",
            found(silent=("pg6",)),
            "pg3 would become electable, .* pg6 is not reached",
        ),
        (
            "two become electable at once",
            replace(TREE, nodes=(*TREE.nodes, Node("pg7", 7, "postgres", "pg7", "pg2"))),
            "pg2",
            found(),
            "pg3, pg7 would become electable at once",
        ),
        (
            "the primary's host is not reached",
            TREE,
            "pg6",
            found(reached=("pg2", "pg3", "pg4")),
            "The host of the primary pg1 is not reached",
        ),
        (
            "an addition is half done",
            TREE,
            "pg6",
            found(names=("pg1", "pg2", "pg6")),
            "pg4 is electable and does not confirm commits yet: run the site playbook first",
        ),
        (
            "another number is half done",
            TREE,
            "pg6",
            found(needed=2),
            "Commits wait for 2 standbys and not for 1 yet: run the site playbook first",
        ),
        (
            "nobody takes the first one's place",
            TREE,
            "pg1",
            found({"pg3": "", "pg1": "pg3", "pg2": "pg3", "pg4": "pg3", "pg5": "pg4", "pg6": "pg3"}),
            "pg3, which is primary now, is not electable",
        ),
    ],
)
def test_refused(what: str, cluster: Cluster, name: str, seen: RemovalFacts, why: str) -> None:
    with pytest.raises(Conflict, match=why):
        plan(cluster, name, seen)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("pg55", "did you mean pg5?"),
        ("db", "the nodes are pg1, "),
        ("", "the nodes are pg1, "),
        ("pool1", "pool1 is no node; take it out of the inventory"),
        ("backup1", "backup1 is no node; take it out of the inventory"),
    ],
)
def test_unknown_names(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        plan(TREE, name, found())


def test_the_cluster_without_it() -> None:
    smaller = rest(TREE, "pg4", "pg1")
    assert [node.name for node in smaller.nodes] == ["pg1", "pg2", "pg3", "pg5", "pg6", "w1"]
    assert smaller.node("pg5").upstream == "pg1"
    assert gained(TREE, smaller) == ()
    assert "pg5: upstream: pg1" in advice(TREE, "pg4", smaller)


def test_one_that_comes_to_be_electable_is_named_last() -> None:
    smaller = rest(TREE, "pg2", "pg1")
    assert gained(TREE, smaller) == ("pg3",)
    names = [counting(smaller, stage.named.to_dict()).synchronous_standby_names for stage in way(TREE, smaller).stages]
    assert names[:2] == ['ANY 1 ("pg1", "pg4", "pg6")'] * 2
    assert names[2] == smaller.synchronous_standby_names == 'ANY 1 ("pg1", "pg3", "pg4", "pg6")'


def test_without_the_first_one_the_primary_is_the_first() -> None:
    smaller = rest(TREE, "pg1", "pg2")
    assert smaller.first_primary.name == "pg2"
    assert {node.name: node.upstream for node in smaller.nodes} == {
        "pg2": "", "pg3": "pg2", "pg4": "pg2", "pg5": "pg4", "pg6": "pg2", "w1": "pg2",
    }  # fmt: skip
    assert "pg2: no upstream; pg4: upstream: pg2" in advice(TREE, "pg1", smaller)


def stages(name: str, cluster: Cluster = TREE) -> list[str]:
    """As counted/named, such as 1246:1/124:1, with a ! before which WAL is confirmed."""
    given = way(cluster, rest(cluster, name, "pg2" if name == "pg1" else "pg1"))

    def say(one: Count) -> str:
        return "".join(node[2:] for node in one.names) + f":{one.needed}"

    return [f"{'!' if one.held else ''}{say(one.counted)}/{say(one.named)}" for one in (given.start, *given.stages)]


@pytest.mark.parametrize(
    ("what", "name", "expected"),
    [
        ("a leaf", "pg5", ["1246:1/1246:1", "1246:1/1246:1", "!1246:1/1246:1", "1246:1/1246:1"]),
        ("electable", "pg6", ["1246:1/1246:1", "1246:1/124:1", "!124:1/124:1", "124:1/124:1"]),
        (
            "one that makes another electable",
            "pg2",
            ["1246:1/1246:1", "1246:1/146:1", "!1346:1/146:1", "1346:1/1346:1"],
        ),
        ("the first one", "pg1", ["1246:1/1246:1", "1246:1/246:1", "!2346:1/246:1", "2346:1/2346:1"]),
        ("witness", "w1", ["1246:1/1246:1", "1246:1/1246:1", "!1246:1/1246:1", "1246:1/1246:1"]),
    ],
)
def test_names_go_first_then_agents_and_who_is_new_is_named_last(what: str, name: str, expected: list[str]) -> None:
    assert stages(name) == expected, what


def test_all_that_stay_are_told_of_each_stage() -> None:
    found = way(TREE, rest(TREE, "pg2", "pg1"))
    assert found.nodes == ("pg1", "pg3", "pg4", "pg5", "pg6", "w1")


@pytest.mark.parametrize("sync", [1, 2])
@pytest.mark.parametrize("name", ["pg1", "pg2", "pg4", "pg5", "pg6"])
def test_the_count_holds_whoever_has_been_told(name: str, sync: int) -> None:
    """Each set that acknowledges by the names that PostgreSQL has, and each set that an agent would seal, have a node in common,
    at each stage and while some hosts are in the next one already. Names that nothing was confirmed for since count too."""
    head = "pg2" if name == "pg1" else "pg1"
    old = replace(TREE, sync_standbys=sync)
    found = way(old, rest(old, name, head))
    last, stood = found.start, [found.start.named]
    for stage in found.stages:
        stood = [last.named, stage.named] if stage.held else [*stood, stage.named]
        for names in stood:
            for agents in (last.counted, stage.counted):
                assert _meet(old, names, agents, name, head), (name, names, agents)
        last = stage
    assert last == Stage(Count.of(rest(old, name, head)), Count.of(rest(old, name, head)))


def _meet(cluster: Cluster, names: Count, agents: Count, name: str, head: str) -> bool:
    """Whether what acknowledges by *names* and what agents seal that count by *agents* always meet, without *name*."""
    acknowledging, sealing = (counting(cluster, one.to_dict()) for one in (names, agents))
    able = [one for one in voters(sealing, head) if one != name]
    return all(
        set(holding) & set(sealed)
        for holding in combinations(voters(acknowledging, head), acknowledgers(acknowledging))
        for sealed in combinations(able, seals_needed(sealing, head))
    )


@pytest.mark.parametrize("durability", ["strict", "async"])
@pytest.mark.parametrize("name", ["pg1", "pg2", "pg4", "pg5", "pg6"])
def test_until_all_are_told_who_is_new_is_to_postgresql_as_one_that_cannot_be_elected(
    name: str, durability: str
) -> None:
    logical = {"wal_level": "logical", "hot_standby_feedback": "on"}
    nodes = tuple(replace(node, settings=logical) for node in TREE.nodes)
    old = replace(TREE, nodes=nodes, durability=durability, sync_standbys=7 if durability == "async" else 2)
    new = rest(old, name, "pg2" if name == "pg1" else "pg1")
    known = gained(old, new)
    held_back = replace(new, nodes=tuple(replace(one, priority=0) if one.name in known else one for one in new.nodes))
    told = counting(new, way(old, new).stages[0].named.to_dict())
    for node in new.nodes:
        assert texts(told, told.node(node.name), 17) == texts(held_back, held_back.node(node.name), 17)


@pytest.mark.parametrize("sync", [1, 2, 3])
@pytest.mark.parametrize("name", ["pg1", "pg2", "pg4", "pg5", "pg6"])
def test_two_promotions_meet_whoever_has_been_told(name: str, sync: int) -> None:
    head = "pg2" if name == "pg1" else "pg1"
    old = replace(TREE, sync_standbys=sync)
    new = rest(old, name, head)
    able = [[one for one in voters(agents, head) if one != name] for agents in (old, new)]
    for first in combinations(able[0], seals_needed(old, head)):
        for second in combinations(able[1], seals_needed(new, head)):
            assert set(first) & set(second), (name, first, second)


def test_whom_others_follow_then() -> None:
    assert moves(TREE, "pg2", found()) == {"pg3": "pg1"}
    assert moves(TREE, "pg5", found()) == {}
    # pg5 follows pg6 by hand: back to its place by design, which streams; pg2 follows the one that leaves: to the primary.
    by_hand = {**FIRST_DAY, "pg5": "pg6", "pg2": "pg6"}
    assert moves(TREE, "pg6", found(by_hand)) == {"pg5": "pg4", "pg2": "pg1"}
    # Its place by design is below itself.
    circle = {**FIRST_DAY, "pg5": "pg6", "pg4": "pg5"}
    assert moves(TREE, "pg6", found(circle)) == {"pg5": "pg1"}


def test_nothing_speaks_against_a_leaf() -> None:
    assert problems(TREE, "pg5", found(silent=("pg5",))) == []


# Carrying it out.


def links(**servers: Any) -> Links:
    def open_(name: str) -> Any:
        answer = servers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Links(open_, lambda: None)


def executor(**servers: Any) -> RemovalExecutor:
    return RemovalExecutor(TREE, links(**servers), lambda _line: None)


NAMED = "synchronous_standby_names"


def test_confirmed_once_no_sender_counts_it_and_another_has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait.time, "sleep", lambda _seconds: None)
    counting = [{"name": "pg6", "counts": True, "flushed": "0/5"}]
    behind = [{"name": "pg2", "counts": True, "flushed": "0/4"}, {"name": "pg6", "counts": False, "flushed": "0/5"}]
    server = ScriptedServer(
        "pg1",
        [
            (NAMED, [{"names": 'ANY 1 ("pg1", "pg6")'}]),
            (NAMED, [{"names": 'ANY 1 ("pg1", "pg2", "pg4")'}]),
            ("pg_stat_replication", counting),
            (NAMED, [{"names": 'ANY 1 ("pg1", "pg2", "pg4")'}]),
            ("pg_stat_replication", behind),
            ("pg_current_wal_flush_lsn", [{"lsn": "0/5"}]),
            ("pg_stat_replication", behind),
            ("pg_stat_replication", [{"name": "pg2", "counts": True, "flushed": "0/5"}]),
        ],
    )
    executor(pg1=server).confirm("pg1", "pg6", ("pg2", "pg4"), 1)
    assert server.closed


def test_not_confirmed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acknowledged, "RELOAD", -1.0)
    server = ScriptedServer("pg1", [(NAMED, [{"names": 'ANY 1 ("pg1", "pg6")'}])])
    with pytest.raises(Unreachable, match="remove pg6: synchronous_standby_names still has pg6"):
        executor(pg1=server).confirm("pg1", "pg6", ("pg2",), 1)


def test_a_slot_in_use_is_freed_and_one_that_is_gone_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait.time, "sleep", lambda _seconds: None)
    drop = "pg_drop_replication_slot"
    used = ScriptedServer(
        "pg1",
        [
            ("pg_replication_slots", [{"active": True}]),
            ("pg_terminate_backend", []),
            ("pg_replication_slots", [{"active": False}]),
            (drop, SqlError("drop", "pg1", "it does not exist", "42704")),
        ],
    )
    gone = ScriptedServer("pg2", [("pg_replication_slots", [])])
    executor(pg1=used, pg2=gone).drop_slot("repmgr_slot_6", "pg6", ("pg1", "pg2"))
    assert used.said[1][1] == (["pg6", "(new) pg6"],)


def test_another_failure_to_drop_is_said() -> None:
    server = ScriptedServer(
        "pg1",
        [
            ("pg_replication_slots", [{"active": False}]),
            ("pg_drop", SqlError("drop", "pg1", "permission denied", "42501")),
        ],
    )
    with pytest.raises(SqlError, match="permission denied"):
        executor(pg1=server).drop_slot("repmgr_slot_6", "pg6", ("pg1",))


def test_rows_below_it_go_elsewhere_before_its_own_goes() -> None:
    gone = [("UPDATE repmgr.nodes SET upstream_node_id", []), ("DELETE FROM repmgr.nodes", [])]
    server = ScriptedServer("pg1", [*gone, ("to_regclass", [{}]), ("DELETE FROM pgherd.member", [])])
    executor(pg1=server).unregister("pg4", "pg1")
    assert [params for _query, params in server.said] == [(1, 4, 4), (4,), None, ("pg4",)]
    before = ScriptedServer("pg1", [*gone, ("to_regclass", [])])
    executor(pg1=before).unregister("pg4", "pg1")


def test_not_before_the_site_playbook_has_made_the_agents_role() -> None:
    """The files that the nodes which stay are given have its password."""
    asked = ScriptedServer("pg1", [(ASK, [row(in_recovery=False)]), ("FROM pg_roles WHERE rolname", [])])
    only = Cluster("demo", (Node("pg1", 1, "postgres", "pg1"),))
    with pytest.raises(Conflict, match="run the site playbook first"):
        look(only, links(pg1=asked), ["pg1"])


@pytest.mark.parametrize(
    ("name", "why"), [("pg-2", "remove pg-10 first"), ("pg-10", ""), ("away-0", ""), ("pg-9", "pg-10")]
)
def test_pods_leave_from_the_highest_number_down(name: str, why: str) -> None:
    """A StatefulSet gives up no other; another set has numbers of its own."""
    names = ("pg-0", "pg-1", "pg-2", "pg-9", "pg-10", "away-0")
    nodes = tuple(
        Node(one, at, "postgres", one, "pg-0" if at > 1 else "", place=POD) for at, one in enumerate(names, 1)
    )
    said = removal._above(Cluster("demo", nodes), Cluster("demo", nodes).node(name))
    assert (said in why) if why else said == ""
    hosts = tuple(replace(node, place="host") for node in nodes)
    assert removal._above(Cluster("demo", hosts), hosts[2]) == ""
