# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Directories that cannot be, by the inventory alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pgherd.inventory.check import cluster_problems
from pgherd.options import Options
from test_root import CLUSTER

DATA, WAL, FAST = "cluster_data_directory", "cluster_wal_directory", "cluster_tablespaces: the location of fast"


def problems(data: str = "", wal: str = "", fast: str = "", **options: Any) -> list[str]:
    given = {"data_directory": data, "wal_directory": wal, **options}
    given["tablespaces"] = [{"name": "fast", "location": fast}] if fast else []
    world = replace(CLUSTER, durability="async", options=Options.of({**vars(CLUSTER.options), **given}))
    return [text for text in cluster_problems(world) if "director" in text]


@pytest.mark.parametrize(
    ("places", "inner", "outer"),
    [
        (("/srv/data", "/srv/wal", "/srv/fast"), "", ""),
        (("/srv/data", "/srv/data2", "/srv/data-fast"), "", ""),
        (("", "/var/lib/postgresql/wal", ""), "", ""),
        (("/srv/data", "/srv/data", ""), DATA, WAL),
        (("/srv/data", "/srv/data/wal", ""), WAL, DATA),
        (("/srv/wal/data", "/srv/wal/", ""), DATA, WAL),
        (("/srv/data", "", "/srv/data/spaces/fast"), FAST, DATA),
        (("/srv/data", "/srv/wal", "/srv/wal/../wal/fast"), FAST, WAL),
        (("", "/var/lib/postgresql/17/main/wal", ""), WAL, DATA),
        (("", "", "/var/lib/postgresql/17/main"), FAST, DATA),
    ],
)
def test_no_directory_is_in_another(places: tuple[str, str, str], inner: str, outer: str) -> None:
    found = problems(*places)
    assert len(found) == (1 if inner else 0), found
    if inner:
        assert {inner, outer} == {name for name in (DATA, WAL, FAST) if name in found[0]}


@pytest.mark.parametrize(("directory", "wrong"), [("/home/barman", 1), ("/root", 1), ("/srv/home/barman", 0), ("", 0)])
def test_no_service_keeps_anything_in_a_home(directory: str, wrong: int) -> None:
    """ProtectHome= hides it from Barman's agent."""
    assert len(problems(barman_directory=directory)) == wrong
