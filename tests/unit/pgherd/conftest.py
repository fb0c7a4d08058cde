# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Keeps the tests from this host's own files; lets one take another's tables of cases, in whichever folder it is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path += sorted(str(path) for path in Path(__file__).parent.iterdir() if path.is_dir())


@pytest.fixture(autouse=True)
def incarnation_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The note on the data directory of this host."""
    from pgherd.data import incarnation

    path = tmp_path / "pgherd-incarnation"
    monkeypatch.setattr(incarnation, "FILE", str(path))
    return path
