# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What becomes of one node: a table of what was found, and the steps that follow from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from here import here_of
from pgherd.errors import ConfigError, Conflict, Unreachable
from pgherd.layout import debian
from pgherd.model import Cluster, Node
from pgherd.nodes import node_apply
from pgherd.nodes.instance import Instance
from pgherd.nodes.node import Desired, NodeObservation, levels, plan
from pgherd.observe.topology import Topology
from pgherd.observe.views import Slot
from pgherd.ports import wait
from pgherd.ports.sql import conninfo, parse_conninfo
from pgherd.programs.repmgr import Record, streaming_conninfo, wanted_record
from world import CLUSTER, SERVER, healthy, stopped, with_node, with_postgres

SYSTEM = SERVER.system_id
WITNESS_SYSTEM = "7000000000000000009"
NOTHING = Instance("", data="none")
FILES = Instance("", data="other")
BROKEN = Instance("", data="broken")
PRIMARY = Instance("", "cluster", False, SYSTEM, 1, True, "primary")
STANDBY = Instance("", "cluster", True, SYSTEM, 1, True, "standby")
WITNESS = replace(PRIMARY, system_identifier=WITNESS_SYSTEM)
HEALTHY = healthy()
MEMBER = Desired()


def off(instance: Instance) -> Instance:
    return replace(instance, running=False, role="none")


def rows(cluster: Cluster = CLUSTER) -> dict[str, Record]:
    """repmgr.nodes of a healthy cluster, by name."""
    return {node.name: row(node, cluster) for node in cluster.nodes}


def row(node: Node, cluster: Cluster = CLUSTER, **changes: Any) -> Record:
    kind = "witness" if node.kind == "witness" else "standby" if node.upstream else "primary"
    above = cluster.node(node.upstream).id if node.upstream else None
    return replace(wanted_record(cluster, node, kind, above, debian(17)), **changes)


def streams_by(name: str, upstream: str, cluster: Cluster = CLUSTER, **changes: Any) -> str:
    wanted = parse_conninfo(streaming_conninfo(cluster, cluster.node(name), cluster.node(upstream)))
    parameters: dict[str, Any] = {**wanted, **changes}
    del parameters["dbname"]
    return conninfo(parameters)


def seen(
    name: str,
    instance: Instance,
    topology: Topology = HEALTHY,
    records: dict[str, Record] | None = None,
    upstream: str = "",
    **changes: Any,
) -> NodeObservation:
    """What was found of *name*, which streams from *upstream* (default: the first day's)."""
    node = CLUSTER.node(name)
    upstream = upstream or node.upstream
    found = NodeObservation(
        replace(instance, name=name), topology, tuple((rows() if records is None else records).values())
    )
    if instance.standby and instance.data == "cluster":
        found = replace(found, primary_conninfo=streams_by(name, upstream), slot=node.slot)
    return replace(found, **changes)


def steps(name: str, found: NodeObservation, wish: Desired = MEMBER, cluster: Cluster = CLUSTER) -> list[str]:
    return [step.what for step in plan(cluster, name, wish, found, debian(17))[0].steps]


def without(*names: str) -> dict[str, Record]:
    return {name: record for name, record in rows().items() if name not in names}


def promoted(name: str = "pg2") -> Topology:
    """*name* was promoted after pg1 died; pg4 follows it, pg3 always did."""
    topology = with_postgres(
        stopped(HEALTHY, "pg1"), name, in_recovery=False, timeline=2, upstream="", receiver="", write_lsn="0/6000060"
    )
    slots = tuple(Slot(f"repmgr_slot_{number}", "physical", True, "reserved", 0) for number in (3, 4, 5))
    topology = with_postgres(topology, name, slots=slots)
    return with_postgres(topology, "pg4", upstream=name, receiver="streaming")


AFTER_FAILOVER = {
    **rows(),
    "pg1": row(CLUSTER.node("pg1"), active=False),
    "pg2": row(CLUSTER.node("pg2"), type="primary", upstream_id=None),
    "pg4": row(CLUSTER.node("pg4"), upstream_id=2),
    "w1": row(CLUSTER.node("w1"), upstream_id=2),
}


@pytest.mark.parametrize(
    ("name", "instance"), [("pg1", PRIMARY), ("pg2", STANDBY), ("pg3", STANDBY), ("pg5", STANDBY), ("w1", WITNESS)]
)
def test_nothing_to_do_for_a_right_node(name: str, instance: Instance) -> None:
    done, left_alone = plan(CLUSTER, name, Desired(), seen(name, instance), debian(17))
    assert (done.changed, done.before, left_alone) == (False, done.after, "")


@pytest.mark.parametrize(
    ("name", "instance", "upstream"), [("pg2", PRIMARY, ""), ("pg4", STANDBY, "pg2"), ("pg3", STANDBY, "pg2")]
)
def test_after_a_failover_everybody_stays_where_he_is(name: str, instance: Instance, upstream: str) -> None:
    assert steps(name, seen(name, instance, promoted(), AFTER_FAILOVER, upstream)) == []


def test_first_day_of_a_standby() -> None:
    alone = stopped(HEALTHY, "pg2")
    assert steps("pg2", seen("pg2", NOTHING, alone, without("pg2"))) == [
        "clone pg2 from pg1",
        "start PostgreSQL on pg2",
        "register pg2 as standby of pg1",
    ]


def test_forecast_on_hosts_where_nothing_is_yet() -> None:
    empty = HEALTHY
    for node in CLUSTER.nodes:
        empty = stopped(empty, node.name)
    assert steps("pg1", seen("pg1", NOTHING, empty, {})) == ["register pg1 as primary"]
    assert steps("pg3", seen("pg3", NOTHING, empty, {}))[0] == "clone pg3 from pg2"
    assert steps("w1", seen("w1", NOTHING, empty, {})) == ["register w1 as witness of pg1"]


def test_running_primary_that_nobody_knows_yet() -> None:
    assert steps("pg1", seen("pg1", PRIMARY, records={})) == ["register pg1 as primary"]


def test_nobody_waits_for_a_first_primary_that_failed_in_this_run() -> None:
    empty = HEALTHY
    for node in CLUSTER.nodes:
        empty = stopped(empty, node.name)
    for name in ("pg2", "w1"):
        with pytest.raises(Conflict, match="Mend pg1 first"):
            steps(name, seen(name, NOTHING, empty, {}), Desired(lost=("pg1",)))
    assert (
        steps("pg2", seen("pg2", NOTHING, stopped(HEALTHY, "pg2")), Desired(lost=("pg1",)))[0] == "clone pg2 from pg1"
    )


# Who is lost; what is seen of the world; what the first step is, or why there is none.
UNREGISTERED = without("pg1", "pg2", "pg3", "pg4", "pg5", "w1")
IN_VAIN = [
    ("pg2", ("pg1",), stopped(HEALTHY, "pg2"), UNREGISTERED, "pg1 is not registered"),
    ("w1", ("pg1",), stopped(HEALTHY, "w1"), UNREGISTERED, "pg1 is not registered"),
    ("pg2", ("pg1", "pg3"), stopped(HEALTHY, "pg2"), without("pg2"), "clone pg2 from pg1"),
    ("pg2", ("pg3",), stopped(HEALTHY, "pg2"), UNREGISTERED, "clone pg2 from pg1"),
    ("pg3", ("pg2",), stopped(stopped(HEALTHY, "pg3"), "pg2"), without("pg3"), "clone pg3 from pg1"),
    ("pg3", ("pg2",), stopped(HEALTHY, "pg3"), without("pg3"), "clone pg3 from pg2"),
    ("pg3", ("pg2",), stopped(HEALTHY, "pg3"), without("pg2", "pg3"), "pg2 is not registered"),
]


@pytest.mark.parametrize(("name", "lost", "topology", "records", "found"), IN_VAIN)
def test_who_is_waited_for(
    name: str, lost: tuple[str, ...], topology: Topology, records: dict[str, Any], found: str
) -> None:
    """Where the run fails on a node after its server has started (roles, registration), the others see it and end."""
    world = seen(name, NOTHING, topology, records)
    if found.startswith("clone"):
        assert steps(name, world, Desired(lost=lost))[0] == found
    else:
        with pytest.raises(Conflict, match=f"{found}.*Mend {lost[0]} first"):
            steps(name, world, Desired(lost=lost))


def test_an_upstream_asked_for_that_does_not_stream_is_not_waited_for() -> None:
    world = seen("pg3", STANDBY, stopped(HEALTHY, "pg5"))
    with pytest.raises(Conflict, match="pg5 is not the primary pg1 and does not stream from it"):
        steps("pg3", world, Desired("standby", "pg5", lost=("pg5",)))
    assert steps("pg3", world, Desired("standby", "pg5"))[0] == "let pg3 follow pg5"


@pytest.mark.parametrize(
    ("topology", "source"),
    [(HEALTHY, "pg2"), (stopped(HEALTHY, "pg2"), "pg1"), (promoted("pg4"), "pg4")],
    ids=["its upstream", "the primary while its upstream is down", "the new primary"],
)
def test_where_an_empty_node_is_cloned_from(topology: Topology, source: str) -> None:
    lost = stopped(topology, "pg3")
    assert steps("pg3", seen("pg3", NOTHING, lost))[0] == f"clone pg3 from {source}"


def test_the_first_primary_comes_back_empty_as_a_standby() -> None:
    assert steps("pg1", seen("pg1", NOTHING, promoted(), AFTER_FAILOVER)) == [
        "clone pg1 from pg2",
        "start PostgreSQL on pg1",
        "register pg1 as standby of pg2 (changed: type, active, upstream_id)",
    ]


def test_what_was_primary_is_left_alone_unless_it_may_be_wiped() -> None:
    found = seen("pg1", off(PRIMARY), promoted(), AFTER_FAILOVER)
    done, left_alone = plan(CLUSTER, "pg1", Desired(), found, debian(17))
    assert not done.changed
    assert "pg2 is primary now (timeline 2)" in left_alone
    assert "pgherd.cluster.rejoin" in left_alone
    assert steps("pg1", found, Desired(rejoin=True)) == [
        "bring pg1 back below pg2: rewind it, else clone it",
        "register pg1 as standby of pg2 (changed: type, active, upstream_id)",
    ]
    assert steps("pg1", found, Desired(wipe=True))[0] == "clone pg1 from pg2, over what is in its data directory"


@pytest.mark.parametrize(
    ("whose", "wish"),
    [(SYSTEM, Desired()), (SYSTEM, Desired(rejoin=True)), ("1", Desired(wipe=True)), ("", Desired(wipe=True))],
)
def test_a_backup_of_this_cluster_that_never_ended_is_cloned_over(whose: str, wish: Desired) -> None:
    lost = stopped(HEALTHY, "pg3")
    found = seen("pg3", replace(BROKEN, system_identifier=whose), lost)
    assert steps("pg3", found, wish)[0] == "clone pg3 from pg2, over what is in its data directory"


def test_an_old_primary_that_runs_is_stopped_and_cloned_only_with_the_word() -> None:
    primary = {"in_recovery": False, "timeline": 2, "upstream": "", "receiver": "", "write_lsn": "0/6000060"}
    both = with_postgres(with_postgres(HEALTHY, "pg2", **primary), "pg4", upstream="pg2")
    found = seen("pg1", PRIMARY, both, AFTER_FAILOVER)
    with pytest.raises(Conflict, match=r"Two primaries: pg1 .* beside pg2 .*pgherd.cluster.rejoin"):
        steps("pg1", found)
    assert steps("pg1", found, Desired(rejoin=True))[0] == "bring pg1 back below pg2: rewind it, else clone it"
    assert steps("pg1", found, Desired(wipe=True)) == [
        "stop PostgreSQL on pg1",
        "clone pg1 from pg2, over what is in its data directory",
        "start PostgreSQL on pg1",
        "register pg1 as standby of pg2 (changed: type, active, upstream_id)",
    ]


def test_a_way_back_that_was_interrupted_is_gone_again() -> None:
    found = replace(seen("pg3", off(STANDBY), stopped(HEALTHY, "pg3")), interrupted=True)
    assert steps("pg3", found) == []
    assert steps("pg3", found, Desired(rejoin=True))[0] == "bring pg3 back below pg1: rewind it, else clone it"


def test_wipe_is_a_permission_and_not_an_order() -> None:
    assert steps("pg2", seen("pg2", STANDBY), Desired(wipe=True)) == []
    assert steps("pg1", seen("pg1", PRIMARY), Desired(wipe=True)) == []
    nobody = stopped(stopped(HEALTHY, "pg1"), "pg2")
    assert steps("pg1", seen("pg1", off(PRIMARY), nobody, {}), Desired(wipe=True)) == []


@pytest.mark.parametrize(
    "instance", [FILES, replace(STANDBY, system_identifier="5"), replace(off(PRIMARY), system_identifier="5")]
)
def test_strange_data_is_never_cloned_over_without_the_word(instance: Instance) -> None:
    found = seen("pg2", instance, stopped(HEALTHY, "pg2"))
    with pytest.raises(Conflict, match="cluster_wipe"):
        steps("pg2", found)
    assert "clone pg2 from pg1, over what is in its data directory" in steps("pg2", found, Desired(wipe=True))


def test_a_strange_server_is_stopped_before_it_is_cloned_over() -> None:
    found = seen("pg2", replace(STANDBY, system_identifier="5"), stopped(HEALTHY, "pg2"))
    assert steps("pg2", found, Desired(wipe=True))[0] == "stop PostgreSQL on pg2"


def test_a_standby_that_does_not_answer_is_cloned_with_the_word() -> None:
    """D7: it may be starting for ever."""
    found = seen("pg2", off(STANDBY), stopped(HEALTHY, "pg2"))
    assert steps("pg2", found, Desired(wipe=True))[:3] == [
        "stop what may still be starting on pg2",
        "clone pg2 from pg1, over what is in its data directory",
        "start PostgreSQL on pg2",
    ]
    nobody = stopped(stopped(HEALTHY, "pg1"), "pg2")
    assert steps("pg2", seen("pg2", off(STANDBY), nobody, {}), Desired(wipe=True)) == ["start PostgreSQL on pg2"]


def test_stopped_standby_is_started() -> None:
    assert steps("pg2", seen("pg2", off(STANDBY), stopped(HEALTHY, "pg2"))) == ["start PostgreSQL on pg2"]


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"priority": 1}, "priority"),
        ({"location": "elsewhere"}, "location"),
        ({"conninfo": "host=old"}, "conninfo"),
        ({"active": False}, "active"),
        ({"upstream_id": 4}, "upstream_id"),
        ({"slot_name": None}, "slot_name"),
    ],
)
def test_changed_attributes_are_registered_anew(changes: dict[str, Any], differs: str) -> None:
    records = {**rows(), "pg2": row(CLUSTER.node("pg2"), **changes)}
    found = seen("pg2", STANDBY, records=records)
    assert steps("pg2", found) == [f"register pg2 as standby of pg1 (changed: {differs})"]


def test_asked_for_another_upstream() -> None:
    assert steps("pg3", seen("pg3", STANDBY), Desired("standby", "pg4")) == [
        "let pg3 follow pg4",
        "register pg3 as standby of pg4 (changed: upstream_id)",
    ]
    assert steps("pg3", seen("pg3", STANDBY), Desired("standby", "pg2")) == []


def test_a_standby_does_not_follow_who_follows_it() -> None:
    with pytest.raises(Conflict, match="pg3 follows pg2"):
        steps("pg2", seen("pg2", STANDBY), Desired("standby", "pg3"))


def test_whose_upstream_is_gone_follows_the_primary() -> None:
    orphan = stopped(HEALTHY, "pg2")
    assert steps("pg3", seen("pg3", STANDBY, orphan))[0] == "let pg3 follow pg1"
    waiting = with_postgres(HEALTHY, "pg3", upstream="", receiver="")
    assert steps("pg3", seen("pg3", STANDBY, waiting)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"primary_conninfo": streams_by("pg2", "pg1", port=5433)},
        {"primary_conninfo": streams_by("pg2", "pg1", application_name="walreceiver")},
        {"slot": ""},
    ],
)
def test_streams_by_other_parameters(changes: dict[str, Any]) -> None:
    assert steps("pg2", seen("pg2", STANDBY, **changes)) == ["let pg2 stream from pg1 with other parameters"]


def test_a_password_in_primary_conninfo_is_not_shown() -> None:
    text = streams_by("pg2", "pg1", port=5433) + " password=secret"
    found, _left_alone = plan(CLUSTER, "pg2", Desired(), seen("pg2", STANDBY, primary_conninfo=text), debian(17))
    assert found.before["primary_conninfo"] != found.after["primary_conninfo"]
    assert "secret" not in repr(found)


def test_more_than_is_wanted_in_primary_conninfo_stays() -> None:
    assert steps("pg2", seen("pg2", STANDBY, primary_conninfo=streams_by("pg2", "pg1") + " dbname=postgres")) == []
    no_passfile = streams_by("pg2", "pg1", passfile="")
    assert steps("pg2", seen("pg2", STANDBY, primary_conninfo=no_passfile)) == []


def test_a_slot_that_is_gone_is_made_before_the_start() -> None:
    gone = with_postgres(stopped(HEALTHY, "pg2"), "pg1", slots=())
    assert steps("pg2", seen("pg2", off(STANDBY), gone)) == [
        "make slot repmgr_slot_2 on pg1",
        "start PostgreSQL on pg2",
    ]
    assert steps("pg2", seen("pg2", STANDBY, with_postgres(HEALTHY, "pg1", slots=(), details_why="no answer"))) == []


def test_slots_are_given_up() -> None:
    cluster = replace(CLUSTER, replication_slots=False)
    found = seen("pg2", STANDBY)
    assert steps("pg2", found, cluster=cluster) == [
        "let pg2 stream without slot repmgr_slot_2",
        "register pg2 as standby of pg1 (changed: slot_name)",
    ]


def two_primaries() -> Topology:
    """pg2 was promoted; pg1 did not stop."""
    topology = with_postgres(HEALTHY, "pg2", in_recovery=False, timeline=2, upstream="", receiver="")
    return with_postgres(topology, "pg4", upstream="pg2")


@pytest.mark.parametrize("state", ["member", "primary", "standby"])
def test_second_primary_is_a_conflict_that_names_both(state: str) -> None:
    with pytest.raises(Conflict, match=r"pg1 \(timeline 1\) beside pg2 \(timeline 2\)"):
        steps("pg1", seen("pg1", PRIMARY, two_primaries(), AFTER_FAILOVER), Desired(state))


def test_of_two_equal_primaries_neither_is_believed() -> None:
    equal = with_postgres(HEALTHY, "pg2", in_recovery=False, upstream="", receiver="")
    for name in ("pg3", "pg4"):
        equal = with_postgres(equal, name, upstream="", receiver="")
    for name, instance in (("pg1", PRIMARY), ("pg2", PRIMARY), ("pg3", STANDBY)):
        with pytest.raises(Conflict, match="pg1 and pg2"):
            steps(name, seen(name, instance, equal))


@pytest.mark.parametrize(
    ("name", "instance", "state", "says"),
    [
        ("pg2", STANDBY, "primary", "pg2"),
        ("pg2", NOTHING, "primary", "pg1"),
        ("pg1", PRIMARY, "standby", "Hand over first"),
        ("pg1", PRIMARY, "absent", "Hand over first"),
        ("w1", STANDBY, "witness", "standby of the cluster"),
        ("w1", FILES, "witness", "no cluster"),
        ("w1", BROKEN, "witness", "Use the data of w1"),
        ("pg1", BROKEN, "primary", "Use the data of pg1"),
        ("pg2", BROKEN, "member", "name the host in cluster_wipe"),
        ("pg2", replace(BROKEN, system_identifier="1"), "member", "name the host in cluster_wipe"),
    ],
)
def test_refusals(name: str, instance: Instance, state: str, says: str) -> None:
    with pytest.raises(Conflict, match=says):
        steps(name, seen(name, instance), Desired(state))


@pytest.mark.parametrize("changes", [{"node_name": "other"}, {"node_id": 77}])
def test_another_nodes_identity_is_not_taken(changes: dict[str, Any]) -> None:
    records = {**rows(), "pg2": row(CLUSTER.node("pg2"), **changes)}
    with pytest.raises(Conflict, match=r"pg2 with ID 2.*(other with ID 2|pg2 with ID 77)"):
        steps("pg2", seen("pg2", STANDBY, records=records))


def test_standby_while_no_primary_answers() -> None:
    found = seen("pg2", STANDBY, stopped(HEALTHY, "pg1"), {})
    done, left_alone = plan(CLUSTER, "pg2", Desired(), found, debian(17))
    assert not done.changed
    assert "no primary answers" in left_alone
    assert steps("pg2", replace(found, instance=replace(off(STANDBY), name="pg2"))) == ["start PostgreSQL on pg2"]


def test_witness() -> None:
    moved = {**rows(), "w1": row(CLUSTER.node("w1"), upstream_id=4)}
    assert steps("w1", seen("w1", WITNESS, records=moved)) == ["register w1 as witness of pg1 (changed: upstream_id)"]
    assert steps("w1", seen("w1", WITNESS, records=without("w1"))) == ["register w1 as witness of pg1"]
    forgot = with_node(HEALTHY, "w1", repmgr=None)
    assert steps("w1", seen("w1", WITNESS, forgot)) == ["register w1 as witness of pg1"]
    assert steps("w1", seen("w1", off(WITNESS)))[0] == "start PostgreSQL on w1"


def test_absent() -> None:
    slots = (Slot("repmgr_slot_3", "physical", True, "reserved", 0),)
    found = seen("pg3", STANDBY, with_postgres(HEALTHY, "pg2", slots=slots))
    assert steps("pg3", found, Desired("absent")) == [
        "unregister pg3",
        "stop PostgreSQL on pg3",
        "drop slot repmgr_slot_3 on pg2",
    ]
    gone = seen("pg3", off(STANDBY), with_postgres(stopped(HEALTHY, "pg3"), "pg2", slots=()), without("pg3"))
    assert steps("pg3", gone, Desired("absent")) == []
    with pytest.raises(Conflict, match="the upstream of pg3"):
        steps("pg2", seen("pg2", STANDBY), Desired("absent"))


@pytest.mark.parametrize(("name", "upstream"), [("pg9", ""), ("pg2", "pg9"), ("pg2", "w1")])
def test_names_that_the_cluster_does_not_know(name: str, upstream: str) -> None:
    with pytest.raises(ConfigError, match=r"(pg9|w1) is none of pg1, "):
        plan(CLUSTER, name, Desired("standby", upstream), seen("pg2", STANDBY), debian(17))


def test_levels() -> None:
    assert levels(CLUSTER) == [["pg1"], ["pg2", "pg4", "w1"], ["pg3", "pg5"]]
    assert [levels(CLUSTER, name)[-1] for name in ("pg1", "w1", "pg5")] == levels(CLUSTER)
    lone = Cluster("c", (Node("w", 2, "witness", "w"), Node("a", 1, "postgres", "a")))
    assert levels(lone) == [["a"], ["w"]]


@pytest.mark.parametrize(
    ("first", "looks"),
    [
        (HEALTHY, 1),
        (with_node(HEALTHY, "pg1", postgres=None), 2),
        # Nobody streams from it any more.
        (stopped(HEALTHY, "pg1"), 1),
        (stopped(HEALTHY, "pg5"), 1),
    ],
    ids=["it answers", "a busy one answers late", "it has gone", "a standby has gone"],
)
def test_a_primary_that_others_stream_from_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, first: Topology, looks: int
) -> None:
    asked: list[Topology] = []

    def observe(_cluster: Cluster) -> Topology:
        asked.append(HEALTHY if asked else first)
        return asked[-1]

    monkeypatch.setattr(node_apply.observe, "observe", observe)
    monkeypatch.setattr(wait.time, "sleep", lambda _seconds: None)
    seen = node_apply.look_around(CLUSTER)
    assert (seen, len(asked)) == (asked[-1], looks)


def test_a_standby_is_pointed_only_where_it_can_log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a level are pointed at once: else the primary could be left without any standby."""
    wanted, opened = streams_by("pg2", "pg1"), list[str]()

    def connect(name: str, parameters: dict[str, Any], *_rest: Any) -> Any:
        opened.append(f"{name} {parameters.get('replication')} {parameters.get('dbname')} {parameters.get('user')}")
        raise Unreachable("connect to pg1: no pg_hba.conf entry")

    monkeypatch.setattr(node_apply, "connect", connect)
    executor = node_apply.NodeExecutor(here_of(CLUSTER, "pg2"), 0.1)
    monkeypatch.setattr(executor, "_ready", lambda _source: "")
    with pytest.raises(Unreachable, match=r"no pg_hba\.conf entry"):
        executor.stream("pg1", wanted, "")
    assert opened == ["pg1 true replication pgherd_agent"]


@pytest.mark.parametrize("ends", [True, False])
def test_a_server_that_is_not_its_services_is_stopped_too(monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    """Somebody went past the service, which says that it is stopped; its data would be cloned over below it."""
    done = list[str]()

    class Services:
        def stop(self, name: str, timeout: float) -> None:
            done.append(f"service {name}")

    def stop_postmaster(directory: str, _timeout: float, _hear: float) -> bool:
        done.append(directory)
        return ends

    monkeypatch.setattr(node_apply, "stop_postmaster", stop_postmaster)
    executor = node_apply.NodeExecutor(here_of(CLUSTER, "pg2", services=Services()))
    if ends:
        executor.stop()
    else:
        with pytest.raises(Conflict, match=r"Stop PostgreSQL on pg2[\s\S]*started past its service"):
            executor.stop()
    assert done == ["service postgres", debian(17).data]


def test_slots_are_made_and_dropped_as_who_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """repmgr's role has no REPLICATION."""
    users = list[str]()

    def connect(_name: str, parameters: dict[str, Any], *_rest: Any) -> Any:
        users.append(parameters["user"])
        raise Unreachable("connect to pg1: no route to host")

    monkeypatch.setattr(node_apply, "connect", connect)
    executor = node_apply.NodeExecutor(here_of(CLUSTER, "pg2"), 0.1)
    with pytest.raises(Unreachable):
        executor.make_slot("pg1", "repmgr_slot_2")
    executor.drop_slot("repmgr_slot_2", ["pg1"])
    assert users == ["pgherd_agent"] * 2


def test_a_primary_that_stays_silent_is_asked_for_a_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = with_node(HEALTHY, "pg1", postgres=None)
    monkeypatch.setattr(node_apply.observe, "observe", lambda _cluster: silent)
    assert node_apply.look_around(CLUSTER, 0.0) is silent


def test_a_person_s_word_for_who_is_gone() -> None:
    table = {"pg1": "pg1", "pg2": "old"}
    anew = with_postgres(with_postgres(HEALTHY, "pg1", members=table), "pg2", incarnation="b")
    wish = Desired(replaced=True)
    said = "let pg2 take the place of old, which is gone for good"
    assert steps("pg2", seen("pg2", STANDBY, topology=anew), wish) == [said]
    assert steps("pg2", seen("pg2", STANDBY, topology=anew)) == []
    # It waits for others who will not come.
    waits = with_postgres(anew, "pg2", replaces=("old",))
    assert steps("pg2", seen("pg2", STANDBY, topology=waits), wish) == [said]
    found = plan(CLUSTER, "pg2", wish, seen("pg2", STANDBY, topology=waits), debian(17))[0].steps[0]
    assert found.args == {"old": "old", "upstream": "pg1", "timeline": 1}
    known = with_postgres(anew, "pg2", incarnation="old")
    assert steps("pg2", seen("pg2", STANDBY, topology=known), wish) == []
    # A copy of a restored primary is another, whatever it was before.
    emptied = steps("pg2", seen("pg2", NOTHING, topology=known), wish)
    assert emptied[-1] == said
    nobody = with_postgres(HEALTHY, "pg1", members={})
    assert steps("pg2", seen("pg2", STANDBY, topology=nobody), wish) == []


def test_a_name_that_its_agent_has_chosen_stays() -> None:
    found = streams_by("pg2", "pg1", application_name="(new) pg2")
    assert steps("pg2", seen("pg2", STANDBY, primary_conninfo=found)) == []
