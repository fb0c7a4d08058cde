# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The way to other electable nodes: which stages, and that no moment of it can lose an acknowledged commit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product
from typing import Any, Optional

import pytest
from pgherd.errors import Conflict, Unreachable
from pgherd.members import acknowledged, counting_apply
from pgherd.members.counting import Count, Stage, Transition, counting, way
from pgherd.model import Cluster, Node
from pgherd.nodes.instance import Instance
from pgherd.ports import wait
from pgherd.ports.links import Links
from pgherd.quorum import seals_needed, voters
from scripted import ScriptedServer

ALL = ("pg1", "pg2", "pg3", "pg4", "pg5", "pg6")


def design(names: str, needed: int = 1, durability: str = "strict") -> Cluster:
    """Six data nodes below pg1 and a witness; electable are those with one of the digits of *names*."""
    nodes = tuple(
        Node(name, n, "postgres", name, "" if n == 1 else "pg1", priority=100 if str(n) in names else 0)
        for n, name in enumerate(ALL, 1)
    )
    return Cluster("demo", (*nodes, Node("w1", 9, "witness", "w1", "pg1")), durability=durability, sync_standbys=needed)


def count(digits: str, needed: int = 1) -> Count:
    return Count(tuple(f"pg{digit}" for digit in digits), needed)


def text(given: Count) -> str:
    return f"ANY {given.needed} ({', '.join(given.names)})" if given.names else ""


def node(name: str, named: Count, counted: Optional[Count] = None, role: str = "standby", **more: Any) -> Instance:
    counts = (counted or named).to_dict()
    given = {"data": "cluster", "running": True, "timeline": 1, "role": role, "names": text(named), "counts": counts}
    return Instance(name, **{**given, **more})


def living(
    named: Count, counted: Optional[Count] = None, **others: Optional[Instance]
) -> dict[str, Optional[Instance]]:
    """Six nodes that name and count the same, pg1 the primary, with *others* in the place of some."""
    said = {name: node(name, named, counted, "primary" if name == "pg1" else "standby") for name in ALL}
    return {**said, **others}


def short(given: Transition) -> list[str]:
    """The start and each stage as counted/named, such as 1234:1/123:1, with a ! before which WAL is confirmed."""

    def say(one: Count) -> str:
        return "".join(name[2:] for name in one.names) + f":{one.needed}"

    return [f"{'!' if one.held else ''}{say(one.counted)}/{say(one.named)}" for one in (given.start, *given.stages)]


@pytest.mark.parametrize(
    ("what", "cluster", "said", "expected"),
    [
        ("nothing changes", design("123"), living(count("123")), ["123:1/123:1"]),
        ("one more", design("1234"), living(count("123")), ["123:1/123:1", "1234:1/123:1", "1234:1/1234:1"]),
        (
            "a new host has nothing yet",
            design("1234"),
            living(count("123"), pg4=Instance("pg4")),
            ["123:1/123:1", "1234:1/123:1", "1234:1/1234:1"],
        ),
        (
            "two more, one after the other",
            design("12345", 2),
            living(count("123", 2)),
            ["123:2/123:2", "1234:2/123:2", "12345:2/123:2", "12345:2/12345:2"],
        ),
        ("one less", design("123"), living(count("1234")), ["1234:1/1234:1", "1234:1/123:1", "!123:1/123:1"]),
        (
            "one for another",
            design("124"),
            living(count("123")),
            ["123:1/123:1", "1234:1/123:1", "1234:1/124:1", "!124:1/124:1"],
        ),
        ("W higher", design("123", 2), living(count("123")), ["123:1/123:1", "123:1/123:2", "!123:2/123:2"]),
        ("W lower", design("123"), living(count("123", 2)), ["123:2/123:2", "123:1/123:2", "123:1/123:1"]),
        (
            "one more, and W higher",
            design("1234", 2),
            living(count("123")),
            ["123:1/123:1", "1234:1/123:1", "1234:1/1234:2", "!1234:2/1234:2"],
        ),
        (
            "one less, and W lower",
            design("123", 1),
            living(count("1234", 2)),
            ["1234:2/1234:2", "1234:1/1234:2", "1234:1/123:1", "!123:1/123:1"],
        ),
        (
            "broken off: some agents are told",
            design("1234"),
            living(count("123"), pg2=node("pg2", count("123"), count("1234"))),
            ["1234:1/123:1", "1234:1/1234:1"],
        ),
        (
            "broken off: a standby names it, the primary does not",
            design("1234"),
            living(count("123"), count("1234"), pg2=node("pg2", count("1234"))),
            ["1234:1/123:1", "1234:1/1234:1"],
        ),
        (
            "broken off: names are shorter, and nothing is confirmed",
            design("123"),
            living(count("123"), count("1234")),
            ["1234:1/123:1", "!123:1/123:1"],
        ),
        (
            "broken off: W is higher on some",
            design("123", 2),
            living(count("123", 2), count("123"), pg3=node("pg3", count("123"))),
            ["123:1/123:2", "!123:2/123:2"],
        ),
        (
            "all are stopped",
            design("1234"),
            {name: replace(one, running=False, role="none") for name, one in living(count("123")).items() if one},
            ["123:1/123:1", "1234:1/123:1", "1234:1/1234:1"],
        ),
        (
            "all are stopped, and W is higher on some",
            design("123", 2),
            {
                "pg1": node("pg1", count("123"), running=False),
                "pg2": node("pg2", count("123", 2), count("123"), running=False),
                "pg3": None,
            },
            ["123:1/123:2", "!123:2/123:2"],
        ),
        (
            "an old primary has other names",
            design("123"),
            living(
                count("123"),
                pg1=node("pg1", count("124"), role="primary"),
                pg2=node("pg2", count("123"), role="primary", timeline=2),
            ),
            ["1234:1/123:1", "!123:1/123:1"],
        ),
        (
            "the primary is not reached, and an old one has other names",
            design("123"),
            living(
                count("123"),
                pg1=node("pg1", count("12"), role="primary"),
                pg2=None,
                pg3=node("pg3", count("123"), timeline=2),
            ),
            ["123:1/123:1"],
        ),
        (
            "a primary of another cluster",
            design("123"),
            living(count("123"), pg5=node("pg5", Count((), 0), role="primary", timeline=9, system_identifier="8")),
            ["123:1/123:1"],
        ),
        ("the first day", design("123"), dict.fromkeys(ALL, Instance("")), ["123:1/123:1"]),
        (
            "the first day's second run",
            design("123"),
            {**dict.fromkeys(ALL, Instance("")), "pg1": node("pg1", count("123"))},
            ["123:1/123:1"],
        ),
        ("a run for the new host alone", design("1234"), {"pg4": Instance("pg4")}, ["123:1/123:1"]),
        ("it was asynchronous", design("123"), living(Count((), 0)), ["123:1/123:1"]),
        ("it becomes asynchronous", design("124", durability="async"), living(count("123")), ["124:1/124:1"]),
        ("anybody could confirm", design("123"), living(Count(("*",), 1)), ["123:1/123:1"]),
    ],
)
def test_the_way(what: str, cluster: Cluster, said: dict[str, Optional[Instance]], expected: list[str]) -> None:
    assert short(way(cluster, said)) == expected, what


def test_all_that_count_must_be_there() -> None:
    assert way(design("124"), living(count("123"))).nodes == ("pg1", "pg2", "pg3", "pg4")
    # One that is silent changes nothing in what is written first: nobody counts or names it differently.
    assert short(way(design("1234"), living(count("123"), pg3=None)))[0] == "123:1/123:1"


def test_a_witness_has_no_say() -> None:
    """It runs as a primary, of a cluster of its own, and names nobody."""
    lone = {"w1": node("w1", Count((), 0), count("123"), "primary")}
    stopped = {name: replace(one, running=False, role="none") for name, one in living(count("123")).items() if one}
    expected = ["123:1/123:1", "1234:1/123:1", "1234:1/1234:1"]
    for others in (living(count("123")), stopped):
        assert short(way(design("1234"), {**others, **lone})) == expected
    cluster = replace(design("123"), nodes=(*design("123").nodes[:3], design("123").nodes[-1]))
    with pytest.raises(Conflict, match="Count without pg4"):
        way(cluster, {**living(count("1234")), **lone})


def test_a_new_cluster_though_some_are_silent() -> None:
    said = {"pg1": Instance("pg1"), "pg2": Instance("pg2"), "pg3": None}
    assert short(way(design("123"), said, blind=True)) == ["123:1/123:1"]


def test_one_that_counts_and_is_not_in_the_inventory() -> None:
    cluster = replace(design("123"), nodes=design("123").nodes[:3])
    said = {name: one for name, one in living(count("1234")).items() if name in ("pg1", "pg2", "pg3")}
    with pytest.raises(Conflict, match=r"Count without pg4: .* on pg1.*Put pg4 back.*-e cluster_remove=pg4"):
        way(cluster, said)
    # Names have lost it already, and the primary's agent has not: the removal was broken off.
    assert said["pg1"]
    half = {**said, "pg1": replace(said["pg1"], names=text(count("123")))}
    with pytest.raises(Conflict, match="Count without pg4"):
        way(cluster, half)


def test_one_that_missed_a_removal_learns_of_it() -> None:
    cluster = replace(design("123"), nodes=design("123").nodes[:3])
    said = {"pg1": node("pg1", count("123"), role="primary"), "pg2": node("pg2", count("123"))}
    said["pg3"] = node("pg3", count("1234"))
    assert short(way(cluster, said)) == ["123:1/123:1"]


# The argument.

CHANGES = [
    (Count(tuple(old), before), Count(tuple(new), after))
    for old, new in (
        [(ALL[:n], ALL[:m]) for n, m in product(range(3, 7), repeat=2)]
        + [(ALL[:3], ("pg1", "pg2", "pg4")), (ALL[:4], ("pg1", "pg4", "pg5", "pg6")), (ALL[:3], ("pg2", "pg3", "pg4"))]
    )
    for before in range(1, len(old))
    for after in range(1, len(new))
]


def moments(given: Transition) -> Iterator[tuple[list[Count], list[Count], bool]]:
    """Whom agents count and whom servers name: at each stage, and while some hosts are in the next one already. With whether
    WAL has been confirmed for those that are named."""
    last, confirmed = given.start, False
    for stage in (given.start, *given.stages):
        confirmed = confirmed or stage.held
        yield [last.counted, stage.counted], [last.named, stage.named], confirmed
        last = stage


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_the_count_holds_at_every_moment(old: Count, new: Count) -> None:
    """Each set that acknowledges by names that stand, or that stood and that nothing was confirmed for since, and each set
    that any agent would seal, have a node in common, whoever is primary; so have the sets of any two agents."""
    target = replace(design("".join(name[2:] for name in new.names)), sync_standbys=new.needed)
    base = replace(target, nodes=tuple(replace(one, priority=100) for one in target.nodes))
    found = way(counting(base, new.to_dict()), living(old))
    assert found.start == Stage(old, old)
    end = (found.start, *found.stages)[-1]
    assert (set(end.counted.names), end.counted.needed) == (set(new.names), new.needed)
    assert end.named == end.counted
    stood: list[Count] = []
    for counted, named, confirmed in moments(found):
        stood = [*named] if confirmed else [*stood, *named]
        for primary in ALL:
            for one, agents in product({*stood}, {*counted}):
                assert meet(one.names, one.needed, agents, base, primary), (primary, one, agents)
            for first, second in product({*counted}, repeat=2):
                assert seals_meet(first, second, base, primary), (primary, first, second)


def meet(names: tuple[str, ...], needed: int, agents: Count, base: Cluster, primary: str) -> bool:
    able, told = [name for name in names if name != primary], counting(base, agents.to_dict())
    sealed = [set(some) for some in combinations(voters(told, primary), seals_needed(told, primary))]
    return all(set(some) & other for some in combinations(able, needed) for other in sealed)


def seals_meet(first: Count, second: Count, base: Cluster, primary: str) -> bool:
    told = [counting(base, one.to_dict()) for one in (first, second)]
    sets = [[set(some) for some in combinations(voters(one, primary), seals_needed(one, primary))] for one in told]
    return all(one & other for one in sets[0] for other in sets[1])


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_broken_off_anywhere_the_next_run_goes_on_safely(old: Count, new: Count) -> None:
    """Hosts that a stage has reached, and those that it has not: what the next run writes first is safe with both."""
    target = replace(design("".join(name[2:] for name in new.names)), sync_standbys=new.needed)
    base = replace(target, nodes=tuple(replace(one, priority=100) for one in target.nodes))
    wanted = counting(base, new.to_dict())
    found = way(wanted, living(old))
    for last, stage in zip((found.start, *found.stages), found.stages):
        for done in (("pg1",), ("pg2",), ALL[2:], ALL):
            said: dict[str, Optional[Instance]] = {}
            for name in ALL:
                at = stage if name in done else last
                said[name] = node(name, at.named, at.counted, "primary" if name == "pg1" else "standby")
            again = way(wanted, said)
            end = (again.start, *again.stages)[-1]
            assert (end.counted, end.named) == (Count.of(wanted), Count.of(wanted))
            for primary in ALL:
                for names, agents in product(
                    {last.named, stage.named, again.start.named}, {last.counted, stage.counted, again.start.counted}
                ):
                    if not stage.held:
                        assert meet(names.names, names.needed, agents, base, primary), (done, names, agents)
                for agents in (last.counted, stage.counted):
                    assert seals_meet(agents, again.start.counted, base, primary), (done, agents, again.start)


def test_a_count_that_is_the_designs_is_no_other_cluster() -> None:
    cluster = design("123")
    assert counting(cluster, None) is cluster
    assert counting(cluster, count("123").to_dict()) is cluster
    other = counting(cluster, count("12", 1).to_dict())
    assert other.electable_names == ("pg1", "pg2")
    assert Cluster.from_dict(other.to_dict()) == other
    assert other.synchronous_standby_names == 'ANY 1 ("pg1", "pg2")'


@pytest.mark.parametrize(
    ("names", "needed"),
    [
        (["pg1", "evil"], 1),
        (["pg1", "pg2", "w"], 1),
        (["pg1", "pg2"], 0),
        (["pg1", "pg2"], 9),
        (["pg1", "pg2"], "1"),
        (["pg1"], None),
    ],
)
def test_one_hosts_answer_makes_no_node_for_others(names: list[str], needed: object) -> None:
    """It becomes a line of configuration on all nodes."""
    with pytest.raises(Conflict, match="some of pg1, pg2, pg3"):
        counting(design("123"), {"names": names, "needed": needed})


# Seeing that a stage may begin.


def sender(name: str, counts: bool, flushed: str, replied: int) -> dict[str, Any]:
    return {"name": name, "counts": counts, "flushed": flushed, "replied": f"12:00:0{replied}"}


def test_what_was_acknowledged_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait.time, "sleep", lambda _seconds: None)
    names = [{"names": 'ANY 2 ("pg1", "pg2", "pg3")'}]
    left = sender("pg4", False, "0/5", 1)
    rows = [[sender("pg2", True, "0/4", n), sender("pg3", True, "0/5", n), left] for n in (1, 2, 3)]
    script = [("current_setting", [{"names": 'ANY 1 ("pg1", "pg2", "pg3", "pg4")'}])]
    script += [("current_setting", names), ("pg_stat_replication", [sender("pg4", True, "0/5", 1)])]
    script += [("current_setting", names), ("pg_stat_replication", rows[0])]
    for some in rows:
        script += [("current_setting", names), ("pg_stat_replication", some)]
    script += [("pg_current_wal_flush_lsn", [{"lsn": "0/5"}]), ("pg_stat_replication", rows[2])]
    script += [("pg_stat_replication", [sender("pg2", True, "0/5", 4), sender("pg3", True, "0/5", 4)])]
    server = ScriptedServer("pg1", script)
    said: list[str] = []
    executor = counting_apply.CountingExecutor(design("123", 2), Links(lambda _name: server, lambda: None), said.append)
    monkeypatch.setattr(executor, "_primary", lambda _attempted: "pg1")
    stage = Stage(count("123", 2), count("123", 2), held=True).to_dict()
    todo = counting_apply.plan(design("123", 2), stage)
    assert todo.describe() == ["see 2 of pg1, pg2, pg3 hold all that was acknowledged"]
    todo.apply(executor)
    assert said == ["2 of pg2, pg3 hold all that pg1 has acknowledged"]
    assert not counting_apply.plan(design("123", 2), {**stage, "held": False}).changed


def test_another_number_in_force_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acknowledged, "RELOAD", -1.0)
    server = ScriptedServer("pg1", [("current_setting", [{"names": 'ANY 1 ("pg1", "pg2", "pg3")'}])])
    with pytest.raises(Unreachable, match="asks for 1 standbys, not 2"):
        acknowledged.wait_reread(server, 2, "count by 2 of pg1, pg2, pg3")
