# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the lab asks of the machine it runs on."""

from __future__ import annotations

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
