# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which backends a pgpool has, and which of them it should use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from pgherd.errors import ConfigError, Conflict
from pgherd.observe.topology import Topology
from pgherd.observe.views import NodeView, PostgresView
from pgherd.pools import backends_apply
from pgherd.pools.backends import (
    ALONE,
    IDLE,
    Streaks,
    decide,
    demand,
    foresee,
    has_enough_backends,
    has_write_node,
    plan,
)
from pgherd.programs.pgpool import NodeInfo
from pgherd.programs.pgpool_settings import parse_configuration
from pgherd.render.backend_list import Backend, configure, parse_backends, rewrite

NAMES = {0: "pg1", 1: "pg2", 3: "pg3"}
D, F = "/var/lib/postgresql/data", "ALLOW_TO_FAILOVER"


class TestParse:
    """The form of C61, number:host:port:weight:dir:flag[,...]."""

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("0:pgmaster::::", [Backend(0, "pgmaster", 5432, 1.0, D, F)]),
            ("3:h3::::", [Backend(3, "h3", 5432, 1.0, D, F)]),
            ("0:a", [Backend(0, "a")]),
            ("0:a:5433", [Backend(0, "a", 5433)]),
            ("0:a::2.5", [Backend(0, "a", weight=2.5)]),
            ("0:a::.5::", [Backend(0, "a", weight=0.5)]),
            ("0:a:::/d:DISALLOW_TO_FAILOVER", [Backend(0, "a", data_directory="/d", flag="DISALLOW_TO_FAILOVER")]),
            (
                "0:a::::ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER",
                [Backend(0, "a", flag="ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER")],
            ),
            ("5:f::::, 0:a,3:c", [Backend(0, "a"), Backend(3, "c"), Backend(5, "f")]),
            ("0:a,,1:b,", [Backend(0, "a"), Backend(1, "b")]),
            ("1:[fd00::1]:5433", [Backend(1, "fd00::1", 5433)]),
            ("", []),
            (["1:b", {"number": 0, "host": "a", "port": "", "weight": None}], [Backend(0, "a"), Backend(1, "b")]),
            (
                [{"number": "2", "host": "c", "port": 6000, "weight": 0, "name": "n"}],
                [Backend(2, "c", 6000, 0.0, name="n")],
            ),
        ],
    )
    def test_good(self, given: object, expected: list[Backend]) -> None:
        assert parse_backends(given) == expected

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ("a:b", "its number must be 0 to 127, not 'a'"),
            ("128:b", "its number must be 0 to 127"),
            (":b", "its number must be"),
            ("1:", "it has no host"),
            ("1:b:x", "its port must be 1 to 65535, not 'x'"),
            ("1:b:70000", "its port must be"),
            ("1:b::heavy", "its weight must be a number"),
            ("1:b::-1", "its weight must be a number"),
            ("1:b::::NEVER", "its flag is one of"),
            ("1:b:1:1:d:ALLOW_TO_FAILOVER:more", "it has 7 fields, and there are 6"),
            ("1:a,1:b", "number 1 is a's already"),
            ([{"number": 1, "host": "a", "hots": "b"}], "there is no field hots"),
        ],
    )
    def test_bad(self, given: object, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            parse_backends(given)

    def test_all_mistakes_at_once(self) -> None:
        with pytest.raises(ConfigError) as caught:
            parse_backends("x:a,1:,2:ok")
        assert len(caught.value.problems) == 2


class TestConfiguration:
    TEXT = "port = 9999\nbackend_hostname0 = 'a'\nbackend_port0 = 5432\nbackend_weight0 = 1\n" + (
        f"backend_data_directory0 = '{D}'\nbackend_flag0 = 'ALLOW_TO_FAILOVER'\nlog_connections = on\n"
    )
    TABLE: Mapping[int, NodeInfo] = {0: NodeInfo(0, "a", 5432, "up")}

    def test_what_is_right_stays_untouched(self) -> None:
        assert rewrite(self.TEXT, [Backend(0, "a")]) == self.TEXT
        assert not configure(self.TABLE, self.TEXT, "/f", [Backend(0, "a")], restart=False).changed

    def test_a_new_one_is_appended_and_reloaded(self) -> None:
        todo = configure(self.TABLE, self.TEXT, "/f", [Backend(4, "e", weight=0.5)], restart=False)
        assert [step.action for step in todo.steps] == ["write", "reload"]
        settings = parse_configuration(todo.steps[0].args["text"])
        assert settings["backend_hostname4"] == "e"
        assert settings["backend_weight4"] == "0.5"
        assert settings["backend_hostname0"] == "a"
        assert settings["log_connections"] == "on"
        assert todo.after == {"backend 4 (e)": "e:5432"}

    def test_ten_is_not_one(self) -> None:
        text = "backend_hostname1 = 'b'\nbackend_hostname10 = 'k'\n"
        assert parse_configuration(rewrite(text, [], absent=[1])) == {"backend_hostname10": "k"}
        assert parse_configuration(rewrite(text, [Backend(1, "z")]))["backend_hostname10"] == "k"

    def test_written_but_not_yet_reloaded(self) -> None:
        todo = configure({}, self.TEXT, "/f", [Backend(0, "a")], restart=False)
        assert [step.action for step in todo.steps] == ["reload"]

    def test_another_server_under_a_number_in_use_is_a_conflict(self) -> None:
        with pytest.raises(Conflict, match="wanted b:5432, found a:5432"):
            configure(self.TABLE, self.TEXT, "/f", [Backend(0, "b")], restart=False)
        todo = configure(self.TABLE, self.TEXT, "/f", [Backend(0, "b")], restart=True)
        assert [step.action for step in todo.steps] == ["write", "restart"]

    def test_another_weight_needs_no_restart(self) -> None:
        todo = configure(self.TABLE, self.TEXT, "/f", [Backend(0, "a", weight=3)], restart=False)
        assert [step.action for step in todo.steps] == ["write", "reload"]


def table(**status: str) -> dict[int, NodeInfo]:
    """pgpool's table: by node ``up`` or ``down``, ``primary`` for up and the primary, ``gone`` for down and still it."""
    numbers = {name: number for number, name in NAMES.items()}
    words = {"primary": ("up", "primary"), "gone": ("down", "primary")}
    return {
        numbers[name]: NodeInfo(numbers[name], name, 5432, *_pair(words.get(word, (word, "standby"))))
        for name, word in status.items()
    }


def _pair(words: tuple[str, str]) -> tuple[str, str, float, str]:
    return words[0], "unknown", 0.0, words[1]


def truth(**said: str) -> Topology:
    """What the nodes say: ``primary``, ``primary@2`` (timeline), ``sync@2`` (one that asks for a standby before it
    acknowledges), ``from pg1``, ``idle``, or ``silent``."""
    views = []
    for number, (name, word) in enumerate(said.items()):
        word, _at, timeline = word.partition("@")
        server = PostgresView(word not in ("primary", "sync"), int(timeline or 1), "7", "0/1", version=170000)
        if word == "sync":
            server = replace(server, synchronous_standby_names='ANY 1 ("pg1", "pg2", "pg3")')
        if word.startswith("from "):
            server = PostgresView(
                True, int(timeline or 1), "7", version=170000, upstream=word[5:], receiver="streaming"
            )
        postgres = None if word == "silent" else server
        views.append(NodeView(name, "postgres", number + 1, 0.0, postgres, why="refused" if postgres is None else ""))
    return Topology("t", 0.0, tuple(views))


def streaks(misses: int = 0, silent: float = 0.0, idle: float = 0.0, timeline: int = 0) -> Streaks:
    """The same streaks of every node."""
    every = NAMES.values()
    return Streaks(dict.fromkeys(every, misses), dict.fromkeys(every, silent), dict.fromkeys(every, idle), timeline)


CASES = {
    "all is well": (
        table(pg1="primary", pg2="up", pg3="waiting"),
        truth(pg1="primary", pg2="from pg1", pg3="from pg2"),
        streaks(),
        [],
    ),
    "a standby that streams comes in": (
        table(pg1="primary", pg2="down", pg3="up"),
        truth(pg1="primary", pg2="from pg1", pg3="from pg1"),
        streaks(),
        ["attach pg2: it streams from pg1"],
    ),
    "so does one at the end of a chain": (
        table(pg1="primary", pg2="up", pg3="down"),
        truth(pg1="primary", pg2="from pg1", pg3="from pg2"),
        streaks(),
        ["attach pg3: it streams from pg2"],
    ),
    "one whose chain leads elsewhere does not": (
        table(pg1="primary", pg2="down", pg3="down"),
        truth(pg1="primary", pg2="idle", pg3="from pg2"),
        streaks(),
        [],
    ),
    "one that answers and does not stream does not": (
        table(pg1="primary", pg2="down", pg3="up"),
        truth(pg1="primary", pg2="idle", pg3="from pg1"),
        streaks(),
        [],
    ),
    "one miss is none": (
        table(pg1="primary", pg2="up", pg3="up"),
        truth(pg1="primary", pg2="silent", pg3="from pg1"),
        streaks(misses=1, silent=1),
        [],
    ),
    "two are": (
        table(pg1="primary", pg2="up", pg3="up"),
        truth(pg1="primary", pg2="silent", pg3="from pg1"),
        streaks(misses=2, silent=1.5),
        ["detach pg2: it has not answered for 1.5 s: refused"],
    ),
    "a silent primary stays while nobody is in its place": (
        table(pg1="primary", pg2="up", pg3="up"),
        truth(pg1="silent", pg2="idle", pg3="idle"),
        streaks(misses=9, silent=ALONE - 0.1),
        [],
    ),
    "but not for ever": (
        table(pg1="primary", pg2="up", pg3="up"),
        truth(pg1="silent", pg2="idle", pg3="idle"),
        streaks(misses=9, silent=ALONE),
        ["detach pg1: it has not answered for 10.0 s: refused"],
    ),
    "it goes at once when another is promoted": (
        table(pg1="primary", pg2="up", pg3="up"),
        truth(pg1="silent", pg2="primary@2", pg3="idle"),
        streaks(misses=1, silent=0.5),
        ["promote pg2: it is the primary, and pgpool takes pg1 for it"],
    ),
    "also a stale primary that answers": (
        table(pg1="primary", pg2="up", pg3="up"),
        truth(pg1="primary@1", pg2="primary@2", pg3="from pg2@2"),
        streaks(timeline=2),
        ["promote pg2: it is the primary, and pgpool takes pg1 for it"],
    ),
    "one that is not taken for the primary goes alone": (
        table(pg1="up", pg2="primary", pg3="up"),
        truth(pg1="primary@1", pg2="primary@2", pg3="from pg2@2"),
        streaks(timeline=2),
        ["detach pg1: it is a stale primary: on timeline 1, and there is 2"],
    ),
    "also when the one that replaced it does not answer": (
        table(pg1="up", pg2="primary", pg3="up"),
        truth(pg1="primary@1", pg2="silent", pg3="idle@2"),
        streaks(misses=1),
        ["detach pg1: it is a stale primary: on timeline 1, and there is 2"],
    ),
    "also when only memory tells": (
        table(pg1="up", pg2="gone", pg3="down"),
        truth(pg1="primary@1", pg2="silent", pg3="silent"),
        streaks(misses=1, timeline=2),
        ["detach pg1: it is a stale primary: on timeline 1, and there is 2"],
    ),
    "and it never comes in": (
        table(pg1="down", pg2="primary", pg3="up"),
        truth(pg1="primary@1", pg2="primary@2", pg3="from pg2@2"),
        streaks(timeline=2),
        [],
    ),
    "a stray that was promoted by hand is not told to pgpool, but goes": (
        table(pg1="primary", pg2="up", pg3="up"),
        truth(pg1="sync@1", pg2="from pg1", pg3="sync@2"),
        streaks(timeline=2),
        ["detach pg3: it is writable, and pg1 is the primary"],
    ),
    "and its timeline is not waited for when it has yielded": (
        table(pg1="gone", pg2="up", pg3="down"),
        truth(pg1="sync@1", pg2="from pg1", pg3="from pg1"),
        streaks(timeline=2),
        ["attach pg1: it is the primary", "attach pg3: it streams from pg1"],
    ),
    "one that nobody follows is stale all the same": (
        table(pg1="primary", pg2="up", pg3="up"),
        truth(pg1="sync@1", pg2="idle", pg3="silent"),
        streaks(timeline=2),
        ["detach pg1: it is a stale primary: on timeline 1, and there is 2"],
    ),
    "pgpool without the true primary loses the stale one first": (
        table(pg1="primary", pg2="down", pg3="up"),
        truth(pg1="primary@1", pg2="primary@2", pg3="from pg2@2"),
        streaks(timeline=2),
        ["detach pg1: it is a stale primary: on timeline 1, and there is 2", "attach pg2: it is the primary"],
    ),
    "or the one that was the primary": (
        table(pg1="primary", pg2="down", pg3="up"),
        truth(pg1="from pg2@2", pg2="primary@2", pg3="from pg2@2"),
        streaks(timeline=2),
        ["detach pg1: pgpool takes it for the primary, which is pg2", "attach pg2: it is the primary"],
    ),
    "after a switchover pgpool is told": (
        table(pg1="primary", pg2="up", pg3="up"),
        truth(pg1="from pg2@2", pg2="primary@2", pg3="from pg2@2"),
        streaks(timeline=2),
        ["promote pg2: it is the primary, and pgpool takes pg1 for it"],
    ),
    "which leaves the others to be attached again": (
        table(pg1="down", pg2="primary", pg3="down"),
        truth(pg1="from pg2@2", pg2="primary@2", pg3="from pg2@2"),
        streaks(timeline=2),
        ["attach pg1: it streams from pg2", "attach pg3: it streams from pg2"],
    ),
    "and comes back": (
        table(pg1="down", pg2="primary", pg3="up"),
        truth(pg1="from pg2@2", pg2="primary@2", pg3="from pg2@2"),
        streaks(timeline=2),
        ["attach pg1: it streams from pg2"],
    ),
    "pgpool without a primary is told": (
        table(pg1="up", pg2="up", pg3="up"),
        truth(pg1="silent", pg2="primary@2", pg3="from pg2@2"),
        streaks(timeline=2),
        ["promote pg2: it is the primary, and pgpool takes none for it"],
    ),
    "but not while it still looks for one": (
        table(pg1="gone", pg2="up", pg3="up"),
        truth(pg1="silent", pg2="primary@2", pg3="from pg2@2"),
        streaks(timeline=2),
        [],
    ),
    "of two that go, the primary goes last, lest the search hang on the other": (
        table(pg1="primary", pg2="up", pg3="up"),
        truth(pg1="silent", pg2="idle", pg3="silent"),
        streaks(misses=2, silent=12),
        ["detach pg3: it has not answered for 12.0 s: refused", "detach pg1: it has not answered for 12.0 s: refused"],
    ),
    "a standby that has lost its stream stays for a while": (
        table(pg1="primary", pg2="up", pg3="up"),
        truth(pg1="primary", pg2="idle", pg3="from pg1"),
        streaks(idle=IDLE - 1),
        [],
    ),
    "and goes then": (
        table(pg1="primary", pg2="up", pg3="up"),
        truth(pg1="primary", pg2="idle", pg3="from pg1"),
        streaks(idle=IDLE),
        ["detach pg2: it has not streamed from pg1 for 10 s"],
    ),
    "but not while there is no primary: reads go on": (
        table(pg1="down", pg2="up", pg3="up"),
        truth(pg1="silent", pg2="idle", pg3="idle"),
        streaks(misses=9, silent=99, idle=99),
        [],
    ),
    "two primaries that nothing tells apart: nothing changes": (
        table(pg1="primary", pg2="up", pg3="down"),
        truth(pg1="primary@2", pg2="primary@2", pg3="idle@2"),
        streaks(timeline=2),
        [],
    ),
    "nobody answers: the fault is here": (
        table(pg1="primary", pg2="up", pg3="up"),
        truth(pg1="silent", pg2="silent", pg3="silent"),
        streaks(misses=99, silent=99),
        [],
    ),
    "numbers that pgpool does not have yet are left alone": (
        table(pg1="primary", pg2="up"),
        truth(pg1="primary", pg2="from pg1", pg3="from pg1"),
        streaks(),
        [],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_decide(case: tuple[dict[int, NodeInfo], Topology, Streaks, list[str]]) -> None:
    seen, said, uncertain, expected = case
    changes = decide(NAMES, seen, said, uncertain)
    assert [f"{change.action} {change.node}: {change.why}" for change in changes] == expected


def test_strangers_are_left_alone() -> None:
    seen = {**table(pg1="primary"), 9: NodeInfo(9, "other", 5432, "up")}
    assert decide(NAMES, seen, truth(pg1="primary"), streaks()) == []


class TestDemand:
    WANTED = (Backend(1, "pg2"), Backend(3, "pg3"))
    SAID = truth(pg1="primary", pg2="from pg1", pg3="idle")

    def test_attached(self) -> None:
        seen = table(pg1="primary", pg2="down", pg3="up")
        changes = demand("attached", self.WANTED, NAMES, seen, self.SAID)
        assert [(change.action, change.number) for change in changes] == [("attach", 1)]

    def test_what_does_not_stream_is_a_conflict(self) -> None:
        seen = table(pg1="primary", pg2="up", pg3="down")
        with pytest.raises(Conflict, match=r"backend 3 .pg3.*neither"):
            demand("attached", self.WANTED, NAMES, seen, self.SAID)

    def test_detached_without_a_question(self) -> None:
        seen = table(pg1="primary", pg2="up", pg3="down")
        changes = demand("detached", self.WANTED, NAMES, seen, self.SAID)
        assert [(change.action, change.number) for change in changes] == [("detach", 1)]


def test_the_plan_says_what_and_why() -> None:
    seen, said = table(pg1="primary", pg2="down"), truth(pg1="primary", pg2="from pg1")
    todo = plan("pool1", seen, decide(NAMES, seen, said, streaks()))
    assert todo.describe() == ["attach backend 1 (pg2): it streams from pg1"]
    assert todo.before == {"backend 1 (pg2)": "down"}
    assert todo.after == {"backend 1 (pg2)": "attached"}
    assert todo.steps[0].args == {"number": 1}


def test_what_follows_a_promotion_is_foreseen() -> None:
    seen, said = table(pg1="primary", pg2="up", pg3="up"), truth(pg1="from pg2@2", pg2="primary@2", pg3="from pg1@2")
    first = decide(NAMES, seen, said, streaks())
    later = foresee(seen, first)
    assert [change.action for change in first] == ["promote"]
    assert has_write_node(later)
    then = decide(NAMES, later, said, streaks())
    assert [(change.action, change.node) for change in then] == [("attach", "pg1"), ("attach", "pg3")]
    assert decide(NAMES, foresee(later, then), said, streaks()) == []


class TestHealth:
    """C75 and C76."""

    def test_enough(self) -> None:
        seen = table(pg1="primary", pg2="waiting", pg3="down")
        assert has_enough_backends(seen)
        assert has_enough_backends(seen, 2)
        assert not has_enough_backends(seen, 3)
        assert not has_enough_backends({})

    @pytest.mark.parametrize(("word", "answer"), [("primary", True), ("gone", False), ("up", False)])
    def test_write_node_needs_status_and_role(self, word: str, answer: bool) -> None:
        assert has_write_node(table(pg1=word, pg2="up")) is answer


def test_without_names_a_backend_that_left_the_configuration_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server may still run: the host stops after pgpool has been told."""
    config = tmp_path / "pgpool.conf"
    config.write_text("backend_hostname0 = 'pg1'\nbackend_hostname3 = 'pg3'\n")
    said = truth(pg1="primary", pg2="from pg1", pg3="from pg1")

    class Pool:
        where = "pool1"

        def nodes(self) -> dict[int, NodeInfo]:
            return table(pg1="primary", pg2="down", pg3="down")

    monkeypatch.setattr(backends_apply, "ask_servers", lambda *_args: (said, Streaks()))
    for given, attached in (("", {1, 3}), (str(config), {3})):
        steps = backends_apply.plan_request(backends_apply.Request(config=given), Pool(), {}).steps  # type: ignore[arg-type]
        assert {step.args["number"] for step in steps if step.action == "attach"} == attached


class Servers:
    """pg2 streams from pg1, whose own setting asks for one of the others; *stray* is what pg3 says, on a newer timeline."""

    def __init__(self, stray: Mapping[str, object]) -> None:
        named = {"synchronous_standby_names": 'ANY 1 ("pg1","pg2","pg3")'}
        common = {"version": 170000, "system_id": "7", "started_at": 0.0, "timeline": 1, **named}
        self._rows = {
            "pg1": {**common, "in_recovery": False},
            "pg2": {**common, "in_recovery": True, "upstream": "pg1", "receiver": "streaming"},
            "pg3": {**common, **stray, "timeline": 2},
        }

    def ask(self, query: str, limit: float) -> tuple[dict[str, dict[str, object]], dict[str, str]]:
        return self._rows, {}

    def close(self) -> None:
        pass


@pytest.mark.parametrize("stray", [{"in_recovery": False}, {"in_recovery": True}])
def test_a_list_of_servers_says_nothing_of_how_many_confirm(
    monkeypatch: pytest.MonkeyPatch, stray: Mapping[str, object]
) -> None:
    """The module has no description; what it makes of its backends was taken for one that asks for nobody."""
    monkeypatch.setattr(backends_apply, "Sessions", lambda _logins: Servers(stray))
    truth, streaks = backends_apply.ask_servers({0: Backend(0, "pg1"), 1: Backend(1, "pg2"), 3: Backend(3, "pg3")}, {})
    assert truth.find_primary().name == "pg1"
    changes = decide(NAMES, table(pg1="primary", pg2="up", pg3="up"), truth, streaks)
    assert [change for change in changes if change.node == "pg1"] == []


def test_a_pgpool_keeps_the_primary_that_may_be_the_real_one() -> None:
    """The server's setting and the description ask for different numbers, and a stray is on a newer timeline."""
    seen = truth(pg1="primary", pg2="from pg1", pg3="primary")
    nodes = tuple(
        replace(view, postgres=replace(view.postgres, timeline=2 if view.name == "pg3" else 1,
                                       synchronous_standby_names='ANY 1 ("pg1","pg2","pg3")'))
        for view in seen.nodes if view.postgres
    )  # fmt: skip
    seen = replace(seen, nodes=nodes, electable=("pg1", "pg2", "pg3"), acknowledgers=2)
    assert (seen.find_primary().name, seen.find_primary().doubted) == ("", ("pg1",))
    changes = decide(NAMES, table(pg1="primary", pg2="up", pg3="up"), seen, Streaks())
    assert [change for change in changes if change.node == "pg1"] == []
