# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which PostgreSQL is on a node is said by the cluster's description. That of a release before does not; its units do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pgherd import cli
from pgherd.description import read
from pgherd.errors import Conflict, PgherdError
from pgherd.inventory import versions
from pgherd.layout import version_of
from pgherd.model import Cluster
from pgherd.nodes.verdict import START, StartVerdict
from pgherd.places import chosen
from pgherd.places.host import here as host
from pgherd.places.host.systemd import SystemdServices
from world import CLUSTER

OTHER = "Work with PostgreSQL on pg2: wanted version 17, as the cluster's description has it, found version 15,"
NOBODY = "work with PostgreSQL on pg2: the cluster's description has no version for it. Run the site playbook."
# By the description, by the unit or the caller: what it is, or the error.
CASES: list[tuple[int, int, Any]] = [
    (17, 0, 17),
    (17, 17, 17),
    (0, 17, 17),
    (0, 15, 15),
    (17, 15, (Conflict, OTHER)),
    (0, 0, (PgherdError, NOBODY)),
]


def described(version: int) -> Cluster:
    return versions.asked(CLUSTER, version)


def of_the_release_before(cluster: Cluster) -> dict[str, Any]:
    """The description as it was written before it had versions."""
    data = json.loads(json.dumps(cluster.to_dict()))
    for item in (*data["nodes"], *data["barmans"]):
        del item["version"]
    return data


def test_a_description_of_the_release_before_is_read() -> None:
    assert Cluster.from_dict(of_the_release_before(CLUSTER)) == described(0)


@pytest.mark.parametrize(("version", "told", "found"), CASES)
def test_the_description_says_it_and_who_else_does_agrees(version: int, told: int, found: Any) -> None:
    cluster = described(version)
    if isinstance(found, tuple):
        for work in (
            lambda: version_of(cluster.node("pg2"), told),
            lambda: chosen.here(cluster, "pg2", print, told),
            lambda: host.here(cluster, "pg2", told=told),
        ):
            with pytest.raises(found[0], match=found[1].replace("(", r"\(")):
                work()
        return
    assert version_of(cluster.node("pg2"), told) == found
    here = chosen.here(cluster, "pg2", print, told)
    assert here.layout.version == found
    assert here.layout.data == f"/var/lib/postgresql/{found}/main"
    assert isinstance(here.services, SystemdServices)


@pytest.mark.parametrize(("version", "told", "found"), CASES)
@pytest.mark.parametrize("words", [["guard", "--data", "/srv/pg"], ["agent"]])
def test_old_units_begin_with_new_code_and_new_ones_too(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    version: int,
    told: int,
    found: Any,
    words: list[str],
) -> None:
    """Between two steps of a run, or where it broke off, a host has the new code with either unit and either description."""
    seen: list[int] = []
    monkeypatch.setattr("pgherd.agent.secrets.secret_file", str)
    monkeypatch.setattr("pgherd.ports.identity.become", lambda _user: None)
    monkeypatch.setattr("pgherd.data.postmaster.forget_gone", lambda _data: "")
    monkeypatch.setattr("pgherd.data.rejoin_marker.marked", lambda: "")
    monkeypatch.setattr("pgherd.nodes.evidence.take", lambda: None)
    monkeypatch.setattr(
        "pgherd.nodes.start.decide",
        lambda here, _: seen.append(here.layout.version) or StartVerdict(START, "it is alone"),
    )
    monkeypatch.setattr("pgherd.agent.node_part.parts", lambda here, _socket: seen.append(here.layout.version) or [])
    monkeypatch.setattr(
        "pgherd.places.host.agent.run", lambda path, _name, parts: int(len(parts(read(path).cluster)) > 0)
    )
    path = tmp_path / "cluster.json"
    data = described(version).to_dict() if version else of_the_release_before(CLUSTER)
    path.write_text(json.dumps(data))
    unit = ["--postgres", str(told)] if told else []
    code = cli.main([*words, "--host", "pg2", "--cluster", str(path), *unit])
    if isinstance(found, tuple):
        assert (code, seen) == (3, [])
        assert f"pgherd: {found[1]}" in capsys.readouterr().err
    else:
        assert (code, seen) == (0, [found])


@pytest.mark.parametrize(("version", "asked"), [(17, 0), (0, 1)])
def test_a_server_is_asked_for_it_only_where_the_description_is_old(
    monkeypatch: pytest.MonkeyPatch, version: int, asked: int
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(host, "version_here", lambda _cluster, me: seen.append(me) or 17)
    stopped: list[str] = []
    monkeypatch.setattr(
        host,
        "services",
        lambda found: type("Services", (), {"stop": lambda _self, name: stopped.append(f"{name} {found}")})(),
    )
    links = host.links_from(described(version), "pg2")
    assert seen == []
    links.stop()
    assert (seen, stopped) == (["pg2"] * asked, ["postgres 17"])
