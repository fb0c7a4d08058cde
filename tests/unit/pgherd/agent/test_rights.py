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


ALLOWED = {(verb, name) for verb in ("evidence", "switchover") for name in ("pg1", "pg2", "pg3")}


@pytest.mark.parametrize("name", sorted(HOSTS))
@pytest.mark.parametrize("verb", [*sorted(rights.RIGHTS), "promote", "rejoin", "who", "stop", ""])
def test_who_may_ask_for_what(verb: str, name: str) -> None:
    assert (rights.refusal(HOSTS[name], verb) == "") == ((verb, name) in ALLOWED)
