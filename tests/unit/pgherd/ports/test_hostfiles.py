# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Files on disk: only what differs is written, whole, and secrets are never shown."""

from __future__ import annotations

import base64
import grp
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from pgherd.errors import PgherdError
from pgherd.places.host.files.repository import deb822
from pgherd.ports.hostfiles import Disk, File, diff, leftovers, observe, plan

ME = pwd.getpwuid(os.geteuid()).pw_name
MINE = grp.getgrgid(os.getegid()).gr_name


def mine(path: Path, **options: Any) -> File:
    return File(str(path), owner=ME, group=MINE, **options)


def todo(*items: File) -> Any:
    return plan(items, {item.path: observe(item.path) for item in items})


def test_write_then_nothing(tmp_path: Path) -> None:
    items = [
        mine(tmp_path / "d", kind="directory", mode="0750"),
        mine(tmp_path / "d/f", content="text\n", mode="0640"),
        mine(tmp_path / "d/b", content=base64.b64encode(b"\x00\xff").decode(), binary=True),
        mine(tmp_path / "d/l", content="f", kind="link"),
    ]
    first = todo(*items)
    assert [step.action for step in first.steps] == ["write"] * 4
    first.apply(Disk())
    assert (tmp_path / "d/f").read_text() == "text\n"
    assert oct((tmp_path / "d/f").stat().st_mode)[-4:] == "0640"
    assert (tmp_path / "d/b").read_bytes() == b"\x00\xff"
    assert os.readlink(tmp_path / "d/l") == "f"
    assert not todo(*items).changed


@pytest.mark.parametrize("change", [{"content": "other"}, {"mode": "0600"}])
def test_only_what_differs(tmp_path: Path, change: dict[str, str]) -> None:
    Disk().write(mine(tmp_path / "a", content="x"))
    Disk().write(mine(tmp_path / "b", content="x"))
    changed = todo(mine(tmp_path / "a", **{"content": "x", **change}), mine(tmp_path / "b", content="x"))
    assert list(changed.after) == [str(tmp_path / "a")]


def test_absent(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    gone = mine(tmp_path / "f", kind="absent")
    todo(gone).apply(Disk())
    assert not (tmp_path / "f").exists()
    assert not todo(gone).changed


def test_nothing_else_is_in_a_directory_of_ours(tmp_path: Path) -> None:
    """Files and folders of an earlier release go, byte code of what stays does not."""
    top = tmp_path / "package"
    for name in (
        "kept/one.py",
        "kept/__pycache__/one.pyc",
        "kept/two.py",
        "gone/__pycache__/x.pyc",
        "gone/x.py",
        "gone/deep/y.py",
    ):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    (top / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/safe").touch()
    mine = {"owner": ME, "group": MINE}
    paths = [
        File(str(top), kind="directory", mode="0755", only=True, **mine),
        File(str(top / "kept"), kind="directory", **mine),
    ]
    stated = [*paths, File(str(top / "kept/one.py"), **mine)]
    for again in (True, False):
        items = [*stated, *leftovers(stated)]
        todo = plan(items, {item.path: observe(item.path) for item in items})
        assert ("remove" in [step.action for step in todo.steps]) == again
        for step in todo.steps:
            getattr(Disk(), step.action)(**step.args)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["elsewhere/safe", "package/kept/__pycache__/one.pyc", "package/kept/one.py"]
    assert sorted(path.name for path in top.iterdir()) == ["kept"]


def test_once(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("kept")
    assert not todo(mine(tmp_path / "f", content="new", once=True)).changed


@pytest.mark.parametrize(
    ("there", "whole"),
    [
        ("", "new\n"),
        ("new\n", "new\n"),
        ("old ours\n", "new\n"),
        ("# mine\n*:*:*:dump:pa\\:ss\nold ours\nlast", "new\n# mine\n*:*:*:dump:pa\\:ss\nlast\n"),
        ("caf\udce9\n", "new\ncaf\udce9\n"),
    ],
)
@pytest.mark.parametrize("kind", ["content", "secret_content"])
def test_what_others_wrote_beside_ours_stays(tmp_path: Path, there: str, whole: str, kind: str) -> None:
    (tmp_path / "f").write_text(there, errors="surrogateescape")
    item = mine(tmp_path / "f", own="ours$|^new$", **{kind: "new\n"})
    change = todo(item)
    change.apply(Disk())
    assert (tmp_path / "f").read_text(errors="surrogateescape") == whole
    assert not todo(item).changed
    assert kind == "content" or "pa\\:ss" not in str(change) + str(diff(change))


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("oldsecret")
    change = todo(mine(tmp_path / "f", secret_content="newsecret"))
    shown = str(change) + str(diff(change)) + str(change.describe())
    assert change.changed
    assert "oldsecret" not in shown
    assert "newsecret" not in shown
    assert "(another secret)" in shown


def test_unknown_owner_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(PgherdError, match="no such user or group"):
        Disk().write(File(str(tmp_path / "f"), "x", owner="nobody-of-that-name"))
    assert list(tmp_path.iterdir()) == []


def test_deb822_folds_a_key() -> None:
    text = deb822({"URIs": ["a", "b"], "Signed-By": "-----BEGIN\n\nabc\n-----END"})
    assert text == "URIs: a b\nSigned-By:\n -----BEGIN\n .\n abc\n -----END\n"
