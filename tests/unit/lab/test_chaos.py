# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What may happen to a cluster goes by where its nodes live, and what happens by the seed alone."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from faults import chaos, chaos_of_pods
from faults.cluster import Cluster

PODS = {"all": {"vars": {"place": "pod"}}}


@dataclass
class Container:
    node: int = 2


@dataclass
class Whole:
    """As much of a cluster as is asked for; *done* is what was done to it."""

    described: dict[str, Any]
    done: list[str] = field(default_factory=list)
    nodes: tuple[str, ...] = ("pg-0", "pg-1", "pg-2")
    everyone: tuple[str, ...] = ("pg-0", "pg-1", "pg-2", "pool.0", "barman-0")

    def primary(self) -> str:
        return "pg-1"

    def pod(self, node: str) -> str:
        return f"space/{node}"

    def container(self, node: str) -> Container:
        return Container()


@pytest.mark.parametrize("described", [PODS, {"all": {"vars": {}}}])
def test_pods_meet_what_hosts_do_and_more(described: dict[str, Any]) -> None:
    found = chaos.faults_of(cast(Cluster, Whole(described)))
    assert set(chaos.FAULTS) <= set(found)
    assert (set(chaos_of_pods.PODS) <= set(found)) is (described is PODS)
    assert set(chaos_of_pods.KILLS) <= set(chaos_of_pods.PODS)


def happened(seed: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What some rounds do and say."""
    whole, chance = Whole(PODS), random.Random(seed)
    monkeypatch.setattr(chaos_of_pods, "_place", lambda _cluster: whole)
    for module, name in (
        ("harm", "kill"),
        ("harm", "delete"),
        ("harm", "drain"),
        ("network", "cut"),
        ("state", "stop"),
    ):

        def note(*words: object, name: str = name) -> None:
            whole.done.append(f"{name} {words}")

        monkeypatch.setattr(getattr(chaos_of_pods, module), name, note)
    said = [fault(cast(Cluster, whole), chance) for fault, _weight in chaos_of_pods.PODS for _round in range(40)]
    assert len(whole.done) == len(said)
    return [*said, *whole.done]


def test_a_seed_makes_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = happened(7, monkeypatch)
    assert first == happened(7, monkeypatch)
    assert first != happened(8, monkeypatch)
    # Both kinds of an end, everybody, and every way to be without Kubernetes.
    for words in ("delete the pod pg-1 by force", "delete the pod pg-1 with its grace", "kill process 1 of barman-0"):
        assert words in first
    assert {line for line in first if "API server" in line} == {
        "stop the API server",
        "cut the kubelet of node2 from the API server",
        "cut all of node2 from the API server",
    }
