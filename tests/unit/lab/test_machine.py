# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the lab asks of the machine it runs on."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))

import machine


@pytest.mark.parametrize(("found", "left", "told"), [(128, 1024, True), (1024, 1024, False), (8192, 8192, False)])
def test_too_few_inotify_instances_are_raised_and_more_are_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], found: int, left: int, told: bool
) -> None:
    setting = tmp_path / "max_user_instances"
    setting.write_text(f"{found}\n")
    machine.enough_inotify(setting)
    assert int(setting.read_text()) == left
    assert ("max_user_instances" in capsys.readouterr().err) is told


def test_a_limit_that_cannot_be_raised_is_told_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(machine.LabError, match=r"sysctl fs\.inotify\.max_user_instances=1024"):
        machine.enough_inotify(tmp_path / "missing")


def test_nobody_elses_process_is_taken_for_a_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that was stopped leaves its number to whoever comes."""
    answers = ["abc 7", "abc 9", "abc 0", ""]
    monkeypatch.setattr(machine, "podman", lambda *_given, **_more: answers.pop(0))
    monkeypatch.setattr(machine, "_seen", {})
    for number, path in {7: "libpod-abc/init.scope", 9: "libpod-abc"}.items():
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "cgroup").write_text(f"0::/machine.slice/{path}\n")
    assert [machine._first_process("pg1", tmp_path) for _time in range(2)] == [7, 7]
    (tmp_path / "7/cgroup").write_text("0::/machine.slice/libpod-other.scope\n")
    assert machine._first_process("pg1", tmp_path) == 9
    shutil.rmtree(tmp_path / "9")
    assert machine._first_process("pg1", tmp_path) == 0
    assert machine._first_process("pg1", tmp_path) == 0
    assert answers == []
