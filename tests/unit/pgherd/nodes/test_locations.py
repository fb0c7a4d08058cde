# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Directories that will not do are told, with what to do, before anything is made on any node."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest
from here import here_of
from pgherd.data.clone import LOST
from pgherd.errors import PgherdError
from pgherd.layout import layout
from pgherd.members.counting import answer
from pgherd.model import Cluster, Node
from pgherd.nodes import instance, locations
from pgherd.nodes.instance import Instance
from pgherd.options import Options
from users import OTHER, ROOT

as_root = pytest.mark.skipif(not ROOT, reason="only root can become somebody else")


@pytest.fixture(autouse=True)
def _theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locations, "OWNER", pwd.getpwuid(OTHER).pw_name)


def cluster(base: Path) -> Cluster:
    options = {
        "data_directory": str(base / "srv/data"),
        "wal_directory": str(base / "srv/wal"),
        "tablespaces": [{"name": "fast", "location": str(base / "srv/fast")}],
    }
    nodes = (Node("pg1", 1, "postgres", "pg1"), Node("pg2", 2, "postgres", "pg2", "pg1"))
    return Cluster("demo", (*nodes, Node("w1", 3, "witness", "w1", "pg1", priority=0)), options=Options.of(options))


def told(base: Path, name: str = "pg1", living: bool = False) -> list[str]:
    return [
        text.replace(str(base), "")
        for text in locations.obstacles(cluster(base), name, layout(cluster(base), 17), living)
    ]


@pytest.mark.parametrize("name", ["pg1", "w1"])
@pytest.mark.parametrize(
    ("made", "said"),
    [
        ((), None),
        (("data", "wal", "fast"), None),
        ((f"data/{LOST}",), "cluster_data_directory, /srv/data, is"),
        ((f"wal/{LOST}",), "cluster_wal_directory, /srv/wal, is"),
        ((f"fast/{LOST}",), "cluster_tablespaces: the location of fast, /srv/fast, is"),
        ((f"fast/{LOST}", "fast/PG_17_202406281"), None),
    ],
)
def test_the_root_of_a_file_system(common_path: Path, made: tuple[str, ...], said: str | None, name: str) -> None:
    for path in made:
        (common_path / "srv" / path).mkdir(parents=True)
    found = told(common_path, name)
    if said is None or (name == "w1" and "tablespaces" in said):
        assert found == []
        return
    assert len(found) == 1
    assert found[0].startswith(said)
    assert "use a directory below the mount point" in found[0]


@as_root
@pytest.mark.parametrize(
    ("closed", "said"),
    [("srv", "/srv is closed to it. Open it (chmod o+x"), ("srv/data", None), ("srv/wal", None)],
    ids=["above", "the data directory itself", "the WAL directory itself"],
)
def test_a_way_that_is_closed_to_the_owner(common_path: Path, closed: str, said: str | None) -> None:
    (common_path / "srv").mkdir(mode=0o755)
    (common_path / closed).mkdir(mode=0o700, exist_ok=True)
    (common_path / closed).chmod(0o700)
    found = told(common_path)
    assert len(found) == (3 if said else 0)
    assert all(said in text for text in found if said)


@as_root
@pytest.mark.parametrize("readable", [False, True])
def test_data_that_no_base_backup_can_read(common_path: Path, readable: bool) -> None:
    (common_path / "srv/data" / LOST).mkdir(parents=True, mode=0o755 if readable else 0o700)
    found = told(common_path, living=True)
    assert len(found) == (0 if readable else 1)
    assert all("every base backup" in text and "rmdir" in text for text in found)


def test_it_is_seen_whatever_is_there(common_path: Path) -> None:
    (common_path / "srv/wal" / LOST).mkdir(parents=True)
    seen = instance.observe(here_of(cluster(common_path), "pg1"))  # type: ignore[arg-type]
    assert seen.data == "none"
    assert len(seen.obstacles) == 1
    (common_path / "srv/data").mkdir()
    assert instance.observe(here_of(cluster(common_path), "pg1")) == seen  # type: ignore[arg-type]
    assert Instance.from_dict(seen.to_dict()).obstacles == seen.obstacles


@pytest.mark.parametrize("durability", ["strict", "async"])
def test_no_node_is_made_while_one_has_something_in_the_way(durability: str) -> None:
    """That of a witness counts too."""
    given = {**cluster(Path("/")).to_dict(), "durability": durability}
    found = {name: Instance(name).to_dict() for name in ("pg1", "pg2", "w1")}
    assert answer(given, found, blind=False)["stages"] == []
    found["w1"] = Instance("w1", obstacles=("x is in the way.",)).to_dict()
    with pytest.raises(PgherdError, match=r"^Nothing was begun. w1: x is in the way\.$"):
        answer(given, found, blind=False)
