# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A process works for whom it is told to in the place that the cluster's description has, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pgherd import cli
from pgherd.errors import Conflict, PgherdError
from pgherd.model import HOST, POD, Cluster
from pgherd.places import chosen
from pgherd.places.host.systemd import SystemdServices
from pgherd.places.pod.services import PodServices
from pgherd.render.conf_cluster import text
from world import CLUSTER

# pg2 is a pod, beside hosts.
MIXED = replace(
    CLUSTER, nodes=tuple(replace(node, place=POD) if node.name == "pg2" else node for node in CLUSTER.nodes)
)
SERVICES = {HOST: SystemdServices, POD: PodServices}
RAN: list[str] = []
FILES: list[str] = []


def put(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """This process into a *place*."""
    if place == POD:
        monkeypatch.setenv(chosen.VARIABLE, POD)
    else:
        monkeypatch.delenv(chosen.VARIABLE, raising=False)


@pytest.fixture(autouse=True)
def _told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What each place runs is told in RAN. The description is in a file."""
    RAN.clear()
    FILES[:] = [str(tmp_path / "mixed.json")]
    Path(FILES[0]).write_text(text(MIXED))
    for what in ("host.agent", "pod.agent", "pod.first"):
        monkeypatch.setattr(f"pgherd.places.{what}.main", lambda *_, what=what: RAN.append(what) or 0)


WORK: dict[str, Callable[[Cluster, str], object]] = {
    "here": lambda cluster, me: chosen.here(cluster, me, print),
    "links": chosen.links_from,
    "agent": lambda cluster, me: chosen.run_agent(FILES[0], me),
    "process 1": lambda cluster, me: chosen.run_pod(cluster, me, 1.0),
}


@pytest.mark.parametrize("place", [HOST, POD])
@pytest.mark.parametrize("me", ["pg1", "pg2"])
@pytest.mark.parametrize("work", WORK)
def test_a_process_works_where_the_description_has_it(
    monkeypatch: pytest.MonkeyPatch, place: str, me: str, work: str
) -> None:
    put(monkeypatch, place)
    wanted = MIXED.node(me).place
    if wanted != place:
        with pytest.raises(Conflict, match=f"Work for {me}: wanted the place {wanted}, as .*, found the place {place}"):
            WORK[work](MIXED, me)
        assert RAN == []
    elif work == "process 1" and place == HOST:
        with pytest.raises(PgherdError, match="run pg1 as a pod: it is a host"):
            WORK[work](MIXED, me)
        assert RAN == []
    elif work == "agent":
        assert (WORK[work](MIXED, me), RAN) == (0, [f"{place}.agent"])
    elif work == "process 1":
        assert (WORK[work](MIXED, me), RAN) == (0, ["pod.first"])
    elif work == "here":
        assert isinstance(chosen.here(MIXED, me, print).services, SERVICES[place])
    else:
        assert WORK[work](MIXED, me)


def test_an_agent_that_runs_takes_up_no_description_of_another_place(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, HOST)
    fits: list[Callable[[Cluster], object]] = []
    monkeypatch.setattr("pgherd.places.host.agent.main", lambda *given: fits.append(given[-1]) or 0)
    assert chosen.run_agent(FILES[0], "pg1") == 0
    fits[0](MIXED)
    moved = tuple(replace(node, place=POD) for node in MIXED.nodes)
    with pytest.raises(Conflict, match="Work for pg1: wanted the place pod"):
        fits[0](replace(MIXED, nodes=moved))


@pytest.mark.parametrize("place", [HOST, POD])
@pytest.mark.parametrize("words", [["agent"], ["pod"], ["validate"], ["guard"]])
def test_the_command_ends_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, words: list[str]
) -> None:
    put(monkeypatch, place)
    monkeypatch.setattr("pgherd.agent.secrets.secret_file", str)
    monkeypatch.setattr("pgherd.ports.identity.become", lambda _user: None)
    monkeypatch.setattr("pgherd.places.pod.here.COMMANDS", "/nowhere")
    monkeypatch.setattr("pgherd.places.host.runtime.COMMANDS", "/nowhere")
    me = "pg2" if place == HOST else "pg1"
    (tmp_path / "cluster.json").write_text(text(MIXED))
    assert cli.main([*words, "--host", me, "--cluster", str(tmp_path / "cluster.json")]) == 3
    said = capsys.readouterr().err
    assert f"pgherd: Work for {me}: wanted the place {MIXED.node(me).place}" in said
    assert f"set place for {me} in the inventory" in said
    assert RAN == []
