# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whose certificate it is that asks an agent, and what he may ask for."""

from __future__ import annotations

import pytest
from pgherd.agent import rights
from pgherd.model import Barman, Cluster, Node, Origins, Pgpool

CLUSTER = Cluster(
    "demo",
    (
        Node("pg1", 1, "postgres", "pg1.example.org", origins=Origins(known="10.0.0.1")),
        Node("pg2", 2, "postgres", "10.0.0.2", "pg1"),
        Node("pg3", 3, "postgres", "fd00::3", "pg1"),
        Node("w1", 9, "witness", "w1.example.org", "pg1"),
    ),
    (Pgpool("pool1", "pool1.example.org"),),
    (Barman("backup1", "backup1.example.org"),),
)
HOSTS = {host.name: host for host in CLUSTER.hosts}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([("DNS", "pg1"), ("DNS", "pg1.example.org"), ("IP Address", "10.0.0.1")], "pg1"),
        ([("DNS", "PG1.Example.org")], "pg1"),
        ([("IP Address", "10.0.0.2")], "pg2"),
        ([("IP Address", "FD00:0:0:0:0:0:0:3")], "pg3"),
        ([("DNS", "pool1.example.org")], "pool1"),
        # Its name in the inventory and its ip are in its certificate too, and are not what it is reached by.
        ([("DNS", "pg1"), ("IP Address", "10.0.0.1")], "that is no member of demo"),
        ([("DNS", "*.example.org")], "that is no member of demo"),
        ([("URI", "pg1.example.org"), ("email", "pg1.example.org")], "its certificate is for nobody"),
        ([], "its certificate is for nobody"),
        ([("DNS", "pg1.example.org"), ("IP Address", "10.0.0.2")], "for pg1, pg2 at once"),
        ([("DNS", "pg1.example.org"), ("DNS", "pool1.example.org")], "for pg1, pool1 at once"),
    ],
)
def test_whose_it_is(names: list[tuple[str, str]], found: str) -> None:
    host, why = rights.member(CLUSTER, rights.shown({"subjectAltName": names}))
    assert (host.name == found and not why) if host else found in why


def test_without_one() -> None:
    assert rights.member(CLUSTER, rights.shown(None))[0] is None


ALLOWED = {(verb, name) for verb in ("evidence", "switchover", "promote", "rejoin") for name in ("pg1", "pg2", "pg3")}


@pytest.mark.parametrize("name", sorted(HOSTS))
@pytest.mark.parametrize("verb", [*sorted(rights.RIGHTS), "follow", "validate", "guard", "who", "stop", ""])
def test_who_may_ask_for_what(verb: str, name: str) -> None:
    assert (rights.refusal(HOSTS[name], verb) == "") == ((verb, name) in ALLOWED)


LOSS = {"primary": "pg1", "accept_loss": False}


@pytest.mark.parametrize(
    ("verb", "arguments", "why"),
    [
        ("switchover", {"primary": "pg1"}, ""),
        ("switchover", {"primary": ""}, "it names no data node"),
        ("switchover", LOSS, "it is asked for with primary, and nothing else"),
        ("promote", LOSS, ""),
        ("promote", {**LOSS, "primary": ""}, ""),
        ("promote", {**LOSS, "accept_loss": True}, ""),
        ("promote", {**LOSS, "accept_loss": "yes"}, "accept_loss is true or false"),
        ("promote", {**LOSS, "accept_loss": 1}, "accept_loss is true or false"),
        ("promote", {**LOSS, "primary": "w1"}, "it names no data node"),
        ("promote", {**LOSS, "primary": None}, "it names no data node"),
        ("promote", {"primary": "pg1"}, "it is asked for with accept_loss, primary, and nothing else"),
        ("promote", {**LOSS, "confirmed": {}}, "it is asked for with accept_loss, primary, and nothing else"),
        ("rejoin", {"target": "pg1"}, ""),
        ("rejoin", {"target": "w1"}, "it names no data node"),
        ("rejoin", {"target": ""}, "it names no data node"),
        ("rejoin", {"target": ["pg1"]}, "it names no data node"),
        ("rejoin", {"target": "pg1", "useless": "x"}, "it is asked for with target, and nothing else"),
        ("rejoin", {}, "it is asked for with target, and nothing else"),
        ("rejoin", [], "it is asked for with target, and nothing else"),
        ("rejoin", None, "it is asked for with target, and nothing else"),
    ],
)
def test_with_which_arguments(verb: str, arguments: object, why: str) -> None:
    found = rights.unfit(verb, arguments, [node.name for node in CLUSTER.data_nodes])
    assert (bool(found), why in found) == (bool(why), True)
