# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""One at a time is at a node's data directory, the agent or a playbook."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from here import here_of
from pgherd.data import rejoin_marker
from pgherd.errors import Conflict
from pgherd.nodes import node_apply
from states import cluster


@pytest.fixture(autouse=True)
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rejoin_marker, "MARK", str(tmp_path / "note"))
    return tmp_path / "note"


def test_another_is_refused_or_waits(note: Path) -> None:
    with rejoin_marker.alone("pg2") as waited:
        assert not waited
        # Any user may lock what any user may open.
        assert Path(f"{note}.lock").stat().st_mode & 0o777 == 0o600
        with (
            pytest.raises(Conflict, match="Bring pg2 back: another attempt is running already") as refused,
            rejoin_marker.alone("pg2"),
        ):
            pass
        assert "look again when that has ended" in str(refused.value)
        with pytest.raises(Conflict), rejoin_marker.alone("pg2", 0.3):
            pass
    with rejoin_marker.alone("pg2") as waited:
        assert not waited
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with rejoin_marker.alone("pg2"):
            entered.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert entered.wait(10)
    threading.Timer(0.3, leave.set).start()
    with rejoin_marker.alone("pg2", 10.0) as waited:
        assert waited
    holder.join()


def test_no_link_is_followed(note: Path, tmp_path: Path) -> None:
    Path(f"{note}.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), rejoin_marker.alone("pg2"):
        pass


def cloning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, filled: bool) -> tuple[node_apply.NodeExecutor, list[str]]:
    """An executor whose data directory is *filled*, or not, and where it has copied from."""
    executor = node_apply.NodeExecutor(here_of(cluster(3), "pg2", data=str(tmp_path / "main")), 10.0)
    done: list[str] = []
    monkeypatch.setattr(executor._staging, "filled", lambda: filled)
    monkeypatch.setattr(executor, "copy", lambda upstream, wipe, source: done.append(upstream))
    return executor, done


@pytest.mark.parametrize(
    ("what", "wipe", "there", "left", "copies"),
    [
        ("the agent has cloned it meanwhile", False, True, "", False),
        ("the agent has brought it back meanwhile", True, True, "", False),
        ("the agent failed on it", True, True, "clone from pg1", True),
        ("the agent's copy failed", True, False, "", True),
    ],
)
def test_what_the_agent_has_made_is_taken(
    what: str, wipe: bool, there: bool, left: str, copies: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A playbook and the agent both see the need; each would end the other's copy for a leftover."""
    executor, done = cloning(monkeypatch, tmp_path, there)
    entered = threading.Event()

    def agent() -> None:
        with rejoin_marker.alone("pg2"):
            entered.set()
            threading.Event().wait(0.3)
            if left:
                rejoin_marker.mark(left)

    holder = threading.Thread(target=agent)
    holder.start()
    assert entered.wait(10)
    executor.clone("pg1", wipe)
    holder.join()
    assert done == (["pg1"] if copies else []), what
    assert rejoin_marker.marked() == ""


@pytest.mark.parametrize(("wipe", "copies"), [(False, False), (True, True)])
def test_what_is_there_goes_only_where_that_was_asked_for(
    wipe: bool, copies: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    executor, done = cloning(monkeypatch, tmp_path, True)
    executor.clone("pg1", wipe)
    assert done == (["pg1"] if copies else [])
