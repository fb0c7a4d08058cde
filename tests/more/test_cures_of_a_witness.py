# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Cures of a witness, which no scenario has, run in exactly that state on a small cluster made here: two nodes, and a witness
that votes, as in examples/witness."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from curing import SITE
from herd import healthy, problem, said
from living import UNIT, Living, until

pytestmark = pytest.mark.more
WITNESS = """
all:
  vars:
    cluster_name: wit
    cluster_durability: async
    cluster_secrets_directory: "{{ lab_directory }}/secrets"
postgres:
  hosts:
    db1: {node_id: 1}
    db2: {node_id: 2, upstream: db1}
witness:
  hosts:
    vote1: {node_id: 3}
"""
VOTE = "vote1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    """Fresh hosts with the cluster on them."""
    cluster = Living("wit", yaml.safe_load(WITNESS), tmp_path_factory.mktemp("wit"))
    cluster.down()
    cluster.up(*cluster.nodes, VOTE)
    run = cluster.site()
    assert run.rc == 0, run
    yield cluster
    cluster.down()


@pytest.fixture
def wit(made: Living) -> Iterator[Living]:
    """The same, well before and after, with what was written before on both nodes."""
    well(made)
    made.sql(made.primary(), "CREATE TABLE public.kept AS SELECT n FROM generate_series(1, 1000) n")
    yield made
    well(made)
    count = "SELECT count(*) FROM public.kept"
    until("the rows on both nodes", lambda: set(made.everywhere(count).values()) == {1000}, 30.0)
    made.sql(made.primary(), "DROP TABLE public.kept")


def seen(wit: Living) -> dict[str, Any]:
    """The status document."""
    return json.loads(wit.execute("db1", "pgherd", "status", "--json", check=False))


def well(wit: Living) -> None:
    """Wait until nothing is wrong."""
    until("the cluster to be well", lambda: healthy(seen(wit)), 120.0)


def shown(wit: Living, kind: str) -> dict[str, str]:
    """The cure of the witness's problem, once it is shown."""
    until(f"{kind} of the witness", lambda: (kind, VOTE) in said(seen(wit)), 60.0)
    return dict(problem(seen(wit), kind, VOTE)["cure"])


def cured(wit: Living, kind: str) -> str:
    """Run the cure of the witness's problem, once it is shown, and wait until it is gone. The command."""
    cure = shown(wit, kind)
    if cure == SITE:
        run = wit.site()
        assert run.rc == 0, run
    else:
        wit.execute(cure["on"], *shlex.split(cure["command"]))
    until(f"{kind} to be gone", lambda: (kind, VOTE) not in said(seen(wit)), 60.0)
    return cure["command"]


def row(wit: Living, **change: str) -> None:
    """Have its row in repmgr's metadata say something else."""
    changes = ", ".join(f"{name} = {value}" for name, value in change.items())
    wit.sql(wit.primary(), f"UPDATE repmgr.nodes SET {changes} WHERE node_name = '{VOTE}'", "repmgr")


def test_a_witness_called_inactive(wit: Living) -> None:
    """Nobody mends it by himself: its agent has no say in the metadata."""
    row(wit, active="false")
    assert "witness register --force -h db1" in cured(wit, "metadata-inactive")
    assert wit.records()[VOTE]["active"]


def test_a_witness_called_a_standby(wit: Living) -> None:
    """repmgr registers no witness over a standby's row: the row goes, and then the playbook registers it."""
    row(wit, type="'standby'")
    assert "standby unregister" in cured(wit, "metadata-role")
    assert cured(wit, "not-registered") == SITE["command"]
    assert wit.records()[VOTE]["type"] == "witness"


def test_a_witness_called_a_primary(wit: Living) -> None:
    row(wit, type="'primary'", upstream_node_id="NULL")
    assert "primary unregister --force" in cured(wit, "metadata-role")
    assert cured(wit, "not-registered") == SITE["command"]
    assert wit.records()[VOTE]["type"] == "witness"


def test_a_witness_whose_server_is_stopped(wit: Living) -> None:
    wit.execute(VOTE, "systemctl", "stop", UNIT)
    assert cured(wit, "node-down") == f"systemctl start {UNIT.removesuffix('.service')}"


def test_a_witness_without_repmgrd(wit: Living) -> None:
    wit.execute(VOTE, "systemctl", "stop", "repmgrd")
    assert cured(wit, "repmgrd-down") == "systemctl restart repmgrd"
