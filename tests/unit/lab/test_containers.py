# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Containers of pods are found by what kubelet leaves on a node, and what they said is read there."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))

import kubernetes_pods

import containers

SAID = """\
2026-11-30T08:00:00.123456789Z stdout F agent: promote: sealed
2026-11-30T08:00:01.5Z stdout F postgres: 2026-11-30 08:00:01 LOG:  ready
2026-11-30T08:00:02Z stdout F process 1: ends all within 115 s
2026-11-30T08:00:0
"""
INVENTORY = {
    "all": {"vars": {"cluster_name": "c", "cluster_namespace": "space", "cluster_image": "x:c-bookworm"}},
    "postgres": {"hosts": {"pg-0": {}, "pg-1": {}}},
    "pgpool": {"hosts": {"pool": {"replicas": 2}}},
}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(containers, "STATE", tmp_path)
    return tmp_path


def left(state: Path, node: int, pod: str, uid: str, number: str, made: float, space: str = "space") -> Path:
    """What kubelet leaves of a container `node`; its log."""
    logs = Path(f"/var/log/pods/{space}_{pod}_{uid}/node")
    there = state / f"node{node}"
    (there / str(logs).lstrip("/")).mkdir(parents=True, exist_ok=True)
    links = there / "var/log/containers"
    links.mkdir(parents=True, exist_ok=True)
    link = links / f"{pod}_{space}_node-{number * 64}.log"
    link.symlink_to(logs / "0.log")
    os.utime(link, (made, made), follow_symlinks=False)
    return there / str(logs).lstrip("/") / "0.log"


def test_containers_are_found_by_their_names_the_newest_first(state: Path) -> None:
    left(state, 1, "pg-0", "u-1", "a", 1.0)
    left(state, 3, "pg-0", "u-2", "b", 2.0)
    left(state, 2, "pg-0", "u-3", "c", 3.0, space="another")
    found = containers.of("space", "node")
    assert [(one.node, one.pod, one.identity, one.number) for one in found] == [
        (3, "pg-0", "u-2", "b" * 64),
        (1, "pg-0", "u-1", "a" * 64),
    ]
    assert containers.of("space", "api") == []
    assert [one.processes() for one in found] == [[], []]


def test_what_a_pod_said_is_told_by_program_and_time(state: Path) -> None:
    left(state, 1, "pg-0", "u-1", "a", 1.0).write_text(SAID, encoding="utf-8")
    place = kubernetes_pods.Pods(INVENTORY)
    begun = kubernetes_pods._time("2026-11-30T08:00:00Z")
    assert place.log("pg-0", begun, "agent") == [(pytest.approx(begun + 0.123457, abs=1e-4), "promote: sealed")]
    assert [line for _at, line in place.log("pg-0", begun + 1)] == [
        "2026-11-30 08:00:01 LOG:  ready",
        "ends all within 115 s",
    ]
    report = place.report("pg-0", begun, "postgres")
    assert [line.partition(" ")[2] for line in report.splitlines()] == [
        "postgres: 2026-11-30 08:00:01 LOG:  ready",
        "process 1: ends all within 115 s",
    ]
    assert place.log("pg-1", begun) == []


def test_the_pods_of_a_pgpool_are_numbered(state: Path) -> None:
    place = kubernetes_pods.Pods(INVENTORY)
    assert place.nodes() == ["pg-0", "pg-1", "pool.0", "pool.1"]
    assert (place.known_as("pool.1"), place.known_as("pg-0"), place.version("pg-0")) == ("pool", "pg-0", 15)
    left(state, 1, "pool-7d4b-x2z9q", "u-1", "a", 1.0)
    # None runs, so nothing is known of it.
    assert place.state("pool.0") == place.state("pg-0") == "off"
    with pytest.raises(LookupError):
        place.pid("pool.0")


def test_the_address_of_a_network_is_found_by_a_process_in_it() -> None:
    found = containers.address(os.getpid())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        if found:
            probe.bind((found, 0))
    assert not found.startswith("127.")


@pytest.mark.parametrize(
    ("unified", "files", "endless"),
    [
        (True, ("memory.current", "memory.max", "memory.events"), "max"),
        (False, ("memory.usage_in_bytes", "memory.limit_in_bytes", "memory.oom_control"), "-1"),
    ],
)
def test_a_container_gets_so_much_more_memory_than_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unified: bool, files: tuple[str, str, str], endless: str
) -> None:
    used, most, told = (tmp_path / "memory" / "c" / name for name in files)
    most.parent.mkdir(parents=True)
    used.write_text("1000\n")
    told.write_text("under_oom 0\noom_kill 3\n")
    monkeypatch.setattr(containers, "unified_cgroups", lambda: unified)
    monkeypatch.setattr(containers.Container, "group", lambda _self, of="freezer": tmp_path / of)
    one = containers.Container(1, "space", "pg-0", "u-1", "node", "c", 1.0)
    containers.limit(one, 24)
    assert most.read_text() == "1024"
    containers.limit(one, None)
    assert most.read_text() == endless
    assert containers.killed_for_memory(one) == 3
    monkeypatch.setattr(containers.Container, "group", lambda _self, of="freezer": None)
    with pytest.raises(kubernetes_pods.LabError, match="pg-0 does not run"):
        containers.killed_for_memory(one)
