# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The cluster's description is read back as it was written, and only where it is understood."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pgherd.errors import PgherdError
from pgherd.model import SCHEMA_VERSION, Cluster, Origins, aliases
from pgherd.options import Options
from pgherd.status.report import read_cluster
from world import CLUSTER

ORIGINS = Origins(("10.0.0.1/32", "fd00::1/128", "10.244.0.0/16"), "192.0.2.1")


def test_it_is_read_back_as_it_was_written() -> None:
    first, *others = CLUSTER.nodes
    for cluster in (CLUSTER, replace(CLUSTER, nodes=(replace(first, origins=ORIGINS), *others))):
        assert Cluster.from_dict(json.loads(json.dumps(cluster.to_dict()))) == cluster


@pytest.mark.parametrize(
    ("what", "written", "origins"),
    [
        (
            "what it said last",
            {"ip": "192.0.2.1", "addresses": ["10.0.0.1", "fd00::1"]},
            Origins(ORIGINS.networks[:2], "192.0.2.1"),
        ),
        ("before the hosts were asked", {"ip": "fd00::1", "addresses": []}, Origins(known="fd00::1")),
        ("before there were addresses", {"ip": "10.0.0.1"}, Origins(known="10.0.0.1")),
        ("a name alone", {"ip": "", "addresses": None}, Origins()),
        ("nothing", {}, Origins()),
        (
            "both, by a release that has this",
            {"origins": {"networks": ["10.0.0.1/32"], "known": ""}, "ip": "x"},
            Origins(("10.0.0.1/32",)),
        ),
    ],
)
def test_what_a_release_before_wrote_of_addresses_is_understood(
    what: str, written: dict[str, Any], origins: Origins
) -> None:
    """Agents of this release read the description that they find when they are restarted."""
    told = CLUSTER.to_dict()
    for kind in ("nodes", "pgpools", "barmans"):
        told[kind] = [{**{key: host[key] for key in host if key != "origins"}, **written} for host in told[kind]]
    found = Cluster.from_dict(json.loads(json.dumps(told)))
    assert {host.origins for host in found.hosts} == {origins}, what


@pytest.mark.parametrize(
    ("origins", "addresses", "everything", "short"),
    [
        (Origins(), (), (), ()),
        (Origins(known="10.0.0.1"), (), ("10.0.0.1/32",), ("10.0.0.1",)),
        (Origins(known="fd00::1"), (), ("fd00::1/128",), ("fd00::1",)),
        (
            Origins.of(("10.0.0.2", "fd00::2")),
            ("10.0.0.2", "fd00::2"),
            ("10.0.0.2/32", "fd00::2/128"),
            ("10.0.0.2", "fd00::2"),
        ),
        (ORIGINS, ("10.0.0.1", "fd00::1"), ORIGINS.networks, ("10.0.0.1", "fd00::1", "10.244.0.0/16")),
    ],
)
def test_origins(
    origins: Origins, addresses: tuple[str, ...], everything: tuple[str, ...], short: tuple[str, ...]
) -> None:
    assert (origins.addresses, origins.all, origins.short) == (addresses, everything, short)


def test_a_network_that_others_share_is_no_name_of_a_node() -> None:
    node = replace(CLUSTER.nodes[0], origins=ORIGINS)
    assert set(aliases(node)) == {node.name, node.address, "192.0.2.1", "10.0.0.1", "fd00::1"}


@pytest.mark.parametrize("schema", [0, SCHEMA_VERSION + 1, "2", None])
def test_another_schema_is_refused(schema: object, tmp_path: pytest.TempPathFactory) -> None:
    """What it does not know of it may be what it must not decide without."""
    with pytest.raises(
        PgherdError, match=rf"its schema is {schema}, and {SCHEMA_VERSION} is known here\. Run the site"
    ):
        Cluster.from_dict({**CLUSTER.to_dict(), "schema": schema})
    path = f"{tmp_path}/cluster.json"
    with open(path, "w", encoding="utf-8") as stream:
        json.dump({**CLUSTER.to_dict(), "schema": schema}, stream)
    with pytest.raises(PgherdError, match="its schema is"):
        read_cluster(path)


def test_what_a_later_release_may_say_is_left_out() -> None:
    assert Options.of({"locale": "C", "hba": ["local all all peer"], "later": 1, "encoding": None}) == Options(
        locale="C", hba=("local all all peer",)
    )
