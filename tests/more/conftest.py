# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The cluster whose problems are made here, and cured. Its replication nobody else changes at the same time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "integration/change"))

from curing import Kept
from herd import Herd, healthy, wait


@pytest.fixture
def herd() -> Iterator[Herd]:
    """The cluster as it is, well before and after, with all data on all nodes: what was there before, and what is written now."""
    found = Herd()
    wait(found.primary, healthy, 120.0)
    kept = Kept()
    kept.write(found)
    yield found
    wait(found.primary, healthy, 180.0)
    now = Herd()  # another may be primary
    kept.write(now)
    kept.everywhere(now)
    kept.forget(now)
