# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a host holds is read from its files and processes as they are, wherever they lie."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from pgherd.errors import Conflict
from pgherd.model import Cluster, Node
from pgherd.nodes import found
from pgherd.options import Options
from pgherd.render.quoting import HEADER


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("port = 5433", {"port": "5433"}),
        ("  Port=5433 # ours", {"port": "5433"}),
        ("port 5433", {"port": "5433"}),
        ("port = '5433'\t# quoted\n#port = 1", {"port": "5433"}),
        ("port = 1\nport = 2\n", {"port": "2"}),
        ("data_directory = '/srv/it''s'", {"data_directory": "/srv/it's"}),
        ("include_dir = 'conf.d'\n\n", {"include_dir": "conf.d"}),
        ("", {}),
    ],
)
def test_settings_of_somebody(text: str, expected: dict[str, str]) -> None:
    assert found.settings(text) == expected


def data(place: Path, version: str = "17", identifier: int = 7, port: int = 0) -> Path:
    (place / "global").mkdir(parents=True)
    (place / "pg_wal").mkdir()
    (place / "PG_VERSION").write_text(f"{version}\n")
    (place / "global/pg_control").write_bytes(struct.pack("=Q", identifier) + b"rest")
    if port:
        (place / "postmaster.pid").write_text(f"99\n{place}\n1700000000\n{port}\n/run\n*\n")
    return place


@pytest.fixture
def host(common_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with nothing; processes work in the directories that are in the file ``running``."""
    monkeypatch.setattr(found, "CONFIGURATIONS", f"{common_path}/etc/postgresql/*/*/postgresql.conf")
    monkeypatch.setattr(found, "USUAL", f"{common_path}/var/*/main")
    running = common_path / "running"
    running.write_text("")
    monkeypatch.setattr(found, "directories_of", lambda program: tuple(running.read_text().split()))
    return common_path


def configure(host: Path, cluster: str, text: str) -> None:
    path = host / "etc/postgresql" / cluster
    path.mkdir(parents=True)
    (path / "postgresql.conf").write_text(text)


def test_nothing_is_there(host: Path) -> None:
    assert found.servers([str(host / "none")]) == []


def test_wherever_it_lies(host: Path) -> None:
    known = data(host / "srv/known", "15", 1, port=5444)
    wished = data(host / "srv/wished", "17", 2)
    left = data(host / "var/16/main", "16", 3)
    by_hand = data(host / "opt/by-hand", "9.6", 4, port=5999)
    configure(host, "15/main", f"data_directory = '{known}'\nport = 5433\n")
    configure(host, "14/gone", f"data_directory = '{host}/gone'\n")
    (host / "running").write_text(f"{known} {by_hand}")
    seen = {one.directory: one for one in found.servers([str(wished)])}
    assert set(seen) == {str(known), str(wished), str(left), str(by_hand)}
    one = seen[str(known)]
    # What it serves, not what its file says by now.
    assert (one.version, one.cluster, one.port, one.running, one.system_identifier) == (15, "15/main", 5444, True, "1")
    one = seen[str(wished)]
    assert (one.version, one.cluster, one.port, one.running, one.system_identifier) == (17, "", 0, False, "2")
    assert seen[str(left)].system_identifier == "3"
    assert (seen[str(by_hand)].version, seen[str(by_hand)].port) == (9, 5999)


def test_links_lead_to_one(host: Path) -> None:
    real = data(host / "disk/data")
    (real / "pg_wal").rmdir()
    (host / "disk/wal").mkdir()
    (real / "pg_wal").symlink_to(host / "disk/wal")
    (host / "srv").symlink_to(host / "disk")
    configure(host, "17/main", f"data_directory = '{host}/srv/data'\nport = 5433\n")
    (host / "running").write_text(str(real))
    (one,) = found.servers([f"{host}/srv/data/"])
    assert (one.directory, one.wal, one.port) == (f"{host}/srv/data", f"{host}/disk/wal", 5433)
    assert one.at(str(real))
    assert one.at(f"{host}/srv/data/")


def test_a_half_made_one_is_none(host: Path) -> None:
    (host / "var/17/main/.pgherd-new").mkdir(parents=True)
    assert found.servers([f"{host}/var/17/main"]) == []


def test_what_the_last_run_was_for(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    assert found.describe(str(path)) is None
    cluster = Cluster(
        "demo",
        (Node("pg1", 1, "postgres", "pg1", settings={"secret": "canary"}),),
        options=Options.of({"data_directory": "/srv/pg"}),
    )
    path.write_text(json.dumps(cluster.to_dict()))
    said = found.describe(str(path))
    assert said
    assert (said.name, said.port, said.data_directory, said.wal_directory) == ("demo", 5432, "/srv/pg", "")
    assert said.nodes[0]["name"] == "pg1"
    assert "canary" not in str(said)
    for text in ("", "{", "[]", '{"name": "demo"}', '{"name": "demo", "nodes": 5}'):
        path.write_text(text)
        with pytest.raises(Conflict, match="Put it back from another host of the cluster"):
            found.describe(str(path))


def test_a_question_says_nothing() -> None:
    asked = found.question("word")
    assert "word" not in asked
    assert asked != found.question("word")
    assert found.same("word", asked)
    assert not found.same("other", asked)


@pytest.mark.parametrize(
    ("passfile", "word"),
    [
        ("*:*:*:pgherd_monitor:word\n", "word"),
        ("# of another release\n*:*:*:app:x\n*:5432:repmgr:pgherd_monitor:word\n", "word"),
        ("*:*:*:pgherd_monitor:a\\:b\n", "a\\:b"),
        ("*:*:*:app:x\n", ""),
        ("", ""),
    ],
)
def test_one_word_of_a_passfile(passfile: str, word: str) -> None:
    assert found.monitoring(passfile) == word


def test_it_is_the_word_that_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster("demo", (Node("pg1", 1, "postgres", "pg1"),))
    monkeypatch.setattr(found, "MONITOR_PASSFILE", str(tmp_path / "monitor.pgpass"))
    monkeypatch.setattr(found, "CLUSTER_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(found, "servers", lambda _places: [])
    assert found.observe("pg1", cluster, "", found.question("word")).passwords == ""
    (tmp_path / "monitor.pgpass").write_text("*:*:*:pgherd_monitor:word\n")
    assert found.observe("pg1", cluster, "", found.question("word")).passwords == "same"
    assert found.observe("pg1", cluster, "", found.question("other")).passwords == "other"
    assert found.observe("pg1", cluster, "").passwords == ""


def test_somebodys_barman(tmp_path: Path) -> None:
    (tmp_path / "barman.conf").write_text("[barman]\nbarman_user = barman\n[inline]\n")
    (tmp_path / "shop.conf").write_text("; shop\n[shop]\nconninfo = host=[::1]\n")
    (tmp_path / "x.conf-template").write_text("[template]\n")
    assert found.barman_servers([f"{tmp_path}/barman.conf", f"{tmp_path}/*.conf"]) == ["inline", "shop"]


def test_somebodys_pgpool() -> None:
    text = "#backend_hostname0 = 'host1'\nbackend_hostname0 = 'db1'\nbackend_port0 = 5432\nbackend_hostname1 = 'db2'\n"
    assert found.pgpool_backends(text) == ["db1", "db2"]
    assert found.pgpool_backends(HEADER + text) == []
    assert found.pgpool_backends("#backend_hostname0 = 'host1'\n") == []
