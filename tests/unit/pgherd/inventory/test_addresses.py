# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Where hosts come from and how others find them: what hosts said, and what follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pgherd.errors import ConfigError
from pgherd.inventory.addresses import parse, settled
from pgherd.model import Barman, Cluster, Node, Origins, Pgpool
from pgherd.ports.names import look, source
from pgherd.ports.run import LocalRunner

CLUSTER = Cluster(
    "demo",
    (Node("db1", 1, "postgres", "db1"), Node("db2", 2, "postgres", "db2", "db1")),
    (Pgpool("pool1", "pool1"),),
    (Barman("backup1", "backup1"),),
)
HOME = {"db1": "10.0.0.1", "db2": "10.0.0.2", "pool1": "10.0.0.8", "backup1": "10.0.0.9"}
Answers = dict[str, dict[str, Any]]


def good(**names: str) -> Answers:
    """What four hosts say in whose DNS all is right, or which call others by other *names*."""
    return {
        host: {
            "own": ["127.0.0.1", "::1", mine],
            "ways": {names.get(name, name): {"sources": {at: mine}, "why": ""} for name, at in HOME.items()},
        }
        for host, mine in HOME.items()
    }


def way(answers: Answers, host: str, name: str, sources: dict[str, str], why: str = "") -> Answers:
    """The same where the *host* sees the *name* in its own way."""
    answers[host]["ways"][name] = {"sources": sources, "why": why}
    answers[host]["own"] = sorted({*answers[host]["own"], *filter(None, sources.values())})
    return answers


def everywhere(answers: Answers, name: str, address: str) -> Answers:
    """The same where all but its own host see the *name* at that address."""
    for host in answers:
        if host != name:
            way(answers, host, name, {address: HOME[host]})
    return answers


def changed(cluster: Cluster, name: str, **what: Any) -> Cluster:
    return replace(cluster, nodes=tuple(replace(node, **what) if node.name == name else node for node in cluster.nodes))


def dual(answers: Answers) -> Answers:
    """The same where DNS has both families of db1 and db2, IPv6 first."""
    for host in answers:
        for name, at in (("db1", "fd00::1"), ("db2", "fd00::2")):
            six = {"db1": "fd00::1", "db2": "fd00::2"}.get(host, "")
            way(answers, host, name, {at: six, HOME[name]: HOME[host]}, "" if six else "Network is unreachable")
    return answers


def without(answers: Answers, *hosts: str) -> Answers:
    return {host: said for host, said in answers.items() if host not in hosts}


BOTH = ("10.0.0.2", "fd00::2")


@pytest.mark.parametrize(
    ("what", "cluster", "answers", "found"),
    [
        ("all is right", CLUSTER, good(), ("10.0.0.2",)),
        ("Debian's own line", CLUSTER, way(good(), "db2", "db2", {"127.0.1.1": "127.0.0.1"}), ("10.0.0.2",)),
        ("that line and localhost", CLUSTER, way(good(), "db2", "db2", {"::1": "::1"}), ("10.0.0.2",)),
        (
            "Ansible comes by a bastion",
            changed(CLUSTER, "db2", origins=Origins(known="203.0.113.5")),
            good(),
            ("10.0.0.2",),
        ),
        (
            "Ansible comes by the address",
            changed(CLUSTER, "db2", origins=Origins(known="10.0.0.2")),
            good(),
            ("10.0.0.2",),
        ),
        ("two families", CLUSTER, dual(good()), BOTH),
        (
            "a second interface towards Barman",
            CLUSTER,
            way(good(), "db2", "backup1", {"10.0.0.9": "10.9.0.2"}),
            ("10.0.0.2", "10.9.0.2"),
        ),
        (
            "a floating address as source",
            CLUSTER,
            way(way(good(), "db2", "db1", {"10.0.0.1": "10.0.0.200"}), "db2", "pool1", {"10.0.0.8": "10.0.0.200"}),
            ("10.0.0.2", "10.0.0.200"),
        ),
        ("the user's word", changed(CLUSTER, "db2", origins=Origins.of(BOTH, "10.0.0.2")), good(), BOTH),
        (
            "the user's word, and translated",
            changed(CLUSTER, "db2", origins=Origins.of(("203.0.113.5",))),
            good(),
            ("203.0.113.5",),
        ),
        ("it did not answer", CLUSTER, without(good(), "db2"), ("10.0.0.2",)),
        ("it did not answer, two families", CLUSTER, without(dual(good()), "db2"), BOTH),
        (
            "it did not answer, and one host says something else",
            CLUSTER,
            without(way(good(), "pool1", "db2", {"198.51.100.7": "10.0.0.8", "10.0.0.2": "10.0.0.8"}), "db2"),
            ("10.0.0.2",),
        ),
        ("it is gone, and its name too", CLUSTER, without(way(good(), "db1", "db2", {}, "unknown"), "db2"), ()),
        ("it is gone, and another has its address", CLUSTER, without(everywhere(good(), "db2", "10.0.0.1"), "db2"), ()),
        (
            "it is gone, and its name leads to whoever asks",
            CLUSTER,
            without(way(good(), "db1", "db2", {"127.0.1.1": "127.0.0.1"}), "db2"),
            (),
        ),
        ("nobody answered", changed(CLUSTER, "db2", origins=Origins(known="10.0.0.2")), {}, ("10.0.0.2",)),
        ("nobody answered, only its name", CLUSTER, {}, ()),
        (
            "one host says something else",
            CLUSTER,
            way(good(), "pool1", "db2", {"198.51.100.7": "10.0.0.8", "10.0.0.2": "10.0.0.8"}),
            ("10.0.0.2",),
        ),
        (
            "an address with a zone",
            CLUSTER,
            way(good(), "db2", "db1", {"fe80::1%eth0": "fe80::2", "10.0.0.1": "10.0.0.2"}),
            ("10.0.0.2",),
        ),
        ("named by its address", changed(CLUSTER, "db2", address="10.0.0.2"), good(db2="10.0.0.2"), ("10.0.0.2",)),
    ],
)
def test_where_a_host_comes_from(what: str, cluster: Cluster, answers: Answers, found: tuple[str, ...]) -> None:
    assert settled(cluster, parse(answers)).node("db2").origins.addresses == found, what


@pytest.mark.parametrize(
    ("what", "cluster", "answers", "sentence"),
    [
        (
            "a name that only Ansible knows",
            CLUSTER,
            way(
                way(good(), "db1", "db2", {}, "Name or service not known"),
                "pool1",
                "db2",
                {},
                "Name or service not known",
            ),
            "db2 does not resolve on db1, pool1 (Name or service not known); put it into DNS or /etc/hosts there, or set "
            "address for it.",
        ),
        (
            "not even on itself",
            changed(CLUSTER, "db2", address="db2.lan"),
            way(good(db2="db2.lan"), "db2", "db2.lan", {}, "Name or service not known"),
            "db2: db2.lan does not resolve on db2 (Name or service not known);",
        ),
        (
            "an image's own line",
            CLUSTER,
            way(good(), "db1", "db2", {"127.0.1.1": "127.0.0.1"}),
            "db2 is 127.0.1.1 on db1, which is that host itself; mend DNS or /etc/hosts there, or set address for db2.",
        ),
        (
            "one name for two",
            CLUSTER,
            way(good(), "db1", "db2", {"10.0.0.1": "10.0.0.1"}),
            "db2 is 10.0.0.1 on db1, which is that host itself;",
        ),
        (
            "another's address",
            CLUSTER,
            everywhere(good(), "db2", "10.0.0.77"),
            "db2 is 10.0.0.77 on db1, pool1, backup1, and db2 has 10.0.0.2; mend DNS or /etc/hosts there, or, where "
            "addresses are translated on the way, set ip for db2",
        ),
        (
            "no way there",
            CLUSTER,
            way(good(), "db1", "db2", {"fd00::2": ""}, "Network is unreachable"),
            "db2 is fd00::2 on db1, which has no way there (Network is unreachable); set address for db2",
        ),
        (
            "another interface than the user's word",
            changed(CLUSTER, "db2", origins=Origins.of(("10.0.0.2",))),
            way(good(), "db2", "db1", {"10.0.0.1": "10.9.0.2"}),
            "db2: it would come to db1 from 10.9.0.2, and its ip is 10.0.0.2 only; add that to its ip, a list, or take ip out.",
        ),
        (
            "another family than the user's word",
            changed(CLUSTER, "db2", origins=Origins.of(("10.0.0.2",))),
            dual(good()),
            "db2: it would come to db1 from fd00::2, and its ip is 10.0.0.2 only;",
        ),
        (
            "a host that claims another's",
            CLUSTER,
            way(good(), "pool1", "db2", {"10.0.0.2": "10.0.0.1"}),
            "db1, pool1: 10.0.0.1 would be each of them;",
        ),
        (
            "a host with too many",
            CLUSTER,
            way(good(), "db2", "db1", {"10.0.0.1": "10.0.0.2"})
            | {
                "db2": {
                    "own": [],
                    "ways": {
                        "db1": {"sources": {f"10.0.1.{n}": f"10.0.2.{n}" for n in range(40)}, "why": ""},
                    },
                }
            },
            "db2: it would come from 40 addresses; set ip to those that it does.",
        ),
    ],
)
def test_what_cannot_work_is_told(what: str, cluster: Cluster, answers: Answers, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settled(cluster, parse(answers))
    assert sentence in str(caught.value), what


def test_two_families_where_only_one_is_the_users_word_for_another() -> None:
    """What is translated on the way is no conflict: the host has none of the user's addresses."""
    cluster = changed(CLUSTER, "db2", origins=Origins.of(("203.0.113.5",)))
    assert settled(cluster, parse(everywhere(good(), "db2", "203.0.113.5"))).node("db2").origins.addresses == (
        "203.0.113.5",
    )


def test_one_host_that_is_missing_changes_nothing_where_names_say_all() -> None:
    whole = settled(CLUSTER, parse(good()))
    for missing in HOME:
        assert settled(CLUSTER, parse(without(good(), missing))) == whole


def test_a_host_that_is_missing_keeps_what_it_said_before() -> None:
    before = {"db2": ["10.0.0.2", "10.9.0.2"], "db1": ["10.0.0.77"]}
    found = settled(CLUSTER, parse(without(good(), "db2")), before)
    assert [node.origins.addresses for node in found.nodes] == [("10.0.0.1",), ("10.0.0.2", "10.9.0.2")]
    # Another has one of them by now.
    found = settled(CLUSTER, parse(without(way(good(), "db1", "backup1", {"10.0.0.9": "10.9.0.2"}), "db2")), before)
    assert found.node("db2").origins.addresses == ("10.0.0.2",)


def test_only_addresses_are_taken_from_a_host() -> None:
    answers = way(
        good(), "db2", "db1", {"10.0.0.1": "0.0.0.0/0", "all": "all", "0.0.0.0": "10.0.0.0/8", "224.0.0.1": "::"}
    )
    assert settled(CLUSTER, parse(answers)).node("db2").origins.addresses == ("10.0.0.2",)


def test_this_very_machine() -> None:
    said = look(["localhost", "nowhere.invalid", "127.0.0.1"], LocalRunner())
    assert said["ways"]["127.0.0.1"]["sources"] == {"127.0.0.1": "127.0.0.1"}
    assert said["ways"]["nowhere.invalid"]["sources"] == {}
    assert said["ways"]["nowhere.invalid"]["why"]
    assert "127.0.0.1" in said["own"]
    assert parse({"here": said})["here"].ways["localhost"].sources
    assert source("127.0.1.1") == "127.0.0.1"
