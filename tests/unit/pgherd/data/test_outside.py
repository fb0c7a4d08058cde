# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Before a copy empties anything it is known that the copy will find room; nothing goes that may be another cluster's."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pgherd.agent import work
from pgherd.agent.work import Work
from pgherd.data import clone
from pgherd.data.clone import MARK, STAGE, Staging
from pgherd.data.outside import LOST, InTheWay
from pgherd.layout import debian
from test_clone import CONFIG, COPY, copy, interrupted
from users import OTHER, ROOT

OURS = "PG_17_202406281"
WHOLE = sorted((*COPY, "pg_tblspc"))


@pytest.fixture(autouse=True)
def _mine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clone, "OWNER", pwd.getpwuid(os.geteuid()).pw_name)


class Node:
    """A node with data in *main*, and tablespaces elsewhere."""

    def __init__(self, base: Path) -> None:
        self.base, self.main, self.wal = base, base / "main", base / "wal"
        self.tablespaces: dict[str, str] = {}
        for directory in (self.main, self.wal):
            directory.mkdir()
        (self.main / MARK).write_text("17")

    def has(self, name: str, entry: str = OURS, on_primary: bool = True, link: Path | None = None) -> Path:
        """Have something in the location *name*; *link*: a data directory with that tablespace."""
        location = self.base / name
        (location / entry / "5").mkdir(parents=True)
        if on_primary:
            self.tablespaces[str(location)] = name
        if link:
            (link / "pg_tblspc").mkdir(parents=True, exist_ok=True)
            (link / "pg_tblspc" / str(16384 + len(self.tablespaces))).symlink_to(location)
        return location

    def staging(self, *declared: Path) -> Staging:
        return Staging(debian(17, str(self.main)), str(self.wal), tuple(map(str, declared)))

    def clone(self, *declared: Path, wipe: bool = True) -> None:
        """As repmgr has pg_basebackup do it."""
        staging = self.staging(*declared)
        staging.expect(self.tablespaces, wipe)
        staging.prepare(CONFIG, wipe)
        assert os.listdir(self.wal) == []
        for location in self.tablespaces:
            os.makedirs(location, exist_ok=True)
            assert os.listdir(location) == [], "pg_basebackup refuses what is not empty"
            Path(location, OURS).mkdir()
        copy(staging)
        Path(staging.data, "pg_tblspc").mkdir()
        for number, location in enumerate(self.tablespaces):
            Path(staging.data, "pg_tblspc", str(16384 + number)).symlink_to(location)
        staging.adopt()

    def stands(self) -> list[str]:
        """All that is there."""
        return sorted(str(path) for path in self.base.rglob("*"))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_tablespace_made_by_sql_goes_with_the_data_that_had_it(node: Node) -> None:
    """B15: the inventory does not know it."""
    location = node.has("ts2", link=node.main)
    node.clone()
    assert os.listdir(location) == [OURS]
    assert sorted(os.listdir(node.main)) == WHOLE


def test_one_that_the_copy_does_not_need_is_left(node: Node) -> None:
    location = node.has("dropped", on_primary=False, link=node.main)
    node.clone()
    assert (location / OURS / "5").is_dir()


@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("another cluster's", lambda node: node.has("ts2")),
        ("this node's of another version", lambda node: node.has("ts2", "PG_15_202209061", link=node.main)),
        ("somebody's files", lambda node: node.has("ts2", "notes", link=node.main)),
        ("the root of a file system", lambda node: node.has("ts2", LOST, link=node.main)),
        ("WAL in the root of a file system", lambda node: (node.wal / LOST).mkdir()),
    ],
)
@pytest.mark.parametrize("wipe", [True, False], ids=["wipe", "an unfinished clone"])
def test_nothing_is_touched_where_the_copy_would_fail(
    node: Node, what: str, make: Callable[[Node], object], wipe: bool
) -> None:
    make(node)
    if not wipe:
        (node.main / MARK).unlink()
        (node.main / STAGE).mkdir()
    before = node.stands()
    with pytest.raises(InTheWay, match="nothing was touched"):
        node.clone(wipe=wipe)
    assert node.stands() == before, what


@pytest.mark.skipif(not ROOT, reason="only root can do something as somebody else")
@pytest.mark.parametrize("there", [True, False], ids=["root's", "missing"])
def test_root_makes_no_directory_because_a_server_names_it(
    common_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """It may be any one of this host's."""
    monkeypatch.setattr(clone, "OWNER", pwd.getpwuid(OTHER).pw_name)
    location = common_path / "cron.d"
    if there:
        location.mkdir()
    with pytest.raises(InTheWay, match="name it in cluster_tablespaces"):
        Staging(debian(17, str(common_path / "main"))).expect({str(location): "evil"}, wipe=True)
    assert not there or location.stat().st_uid == 0
    assert sorted(os.listdir(common_path)) == (["cron.d"] if there else [])


@pytest.mark.parametrize("at", ["cleared", "copied in part"])
def test_an_interrupted_clone_knows_its_own(node: Node, at: str) -> None:
    """Also those that the inventory does not know: all that told of them was in the data directory."""
    location = node.has("ts2", link=node.main)
    staging = node.staging()
    staging.expect(node.tablespaces, wipe=True)
    staging.prepare(CONFIG, wipe=True)
    assert os.listdir(location) == []
    if at == "copied in part":
        (location / OURS / "5").mkdir(parents=True)
    node.clone(wipe=False)
    assert os.listdir(location) == [OURS]


def test_half_moved_up_it_knows_its_own(node: Node) -> None:
    """Without the list, which the code of a release before this did not make."""
    location = node.has("ts2", link=node.main)
    (node.main / MARK).unlink()
    (node.main / STAGE).mkdir()
    node.clone(wipe=False)
    assert os.listdir(location) == [OURS]


@pytest.mark.parametrize("at", range(12))
@pytest.mark.parametrize("backwards", [False, True])
def test_cut_off_anywhere_it_knows_its_own(
    node: Node, monkeypatch: pytest.MonkeyPatch, at: int, backwards: bool
) -> None:
    location = node.has("ts2", link=node.main)
    interrupted(monkeypatch, at, backwards, node.clone)
    node.clone(wipe=(node.main / MARK).exists())
    assert os.listdir(location) == [OURS]
    assert sorted(os.listdir(node.main)) == WHOLE


def test_declared_ones_go_as_before(node: Node) -> None:
    location = node.has("fast")
    node.clone(location)
    assert os.listdir(location) == [OURS]


@pytest.mark.parametrize("wipe", [False, True])
def test_a_lost_data_directory_gives_no_right_to_its_tablespaces(node: Node, wipe: bool) -> None:
    """A new disk: what lies in the location may be another cluster's. One that the inventory names goes by a person's word."""
    (node.main / MARK).unlink()
    location = node.has("ts2")
    with pytest.raises(InTheWay, match="look whose it is"):
        node.clone(wipe=wipe)
    if wipe:
        node.clone(location, wipe=True)
        assert os.listdir(location) == [OURS]


def test_what_a_person_has_to_mend_is_said_and_tried_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(work, "REFUSED", 1000.0)

    def refused() -> None:
        raise InTheWay("Clone into /main", "room", "none")

    todo = Work(said.append)
    for job, text, pause in ((refused, "Clone into /main: wanted room, found none.", 1000.0), (lambda: None, "", 0.0)):
        todo.begin("rejoin", job)
        while todo.name:
            time.sleep(0.01)
        assert todo.refused == text
        assert -1 < todo.since("rejoin", time.monotonic() + pause) < 1
    assert said == ["rejoin: refused: Clone into /main: wanted room, found none."]
