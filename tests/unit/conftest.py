# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Makes the core importable as ``pgherd``, without Ansible; holds every scripted conversation to its end."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
for directory in (ROOT / "plugins" / "module_utils", ROOT / "tests" / "unit" / "pgherd"):
    sys.path.insert(0, str(directory))


@pytest.fixture
def common_path() -> Iterator[Path]:
    """As tmp_path, which lets nobody in whose it is not."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(autouse=True)
def _scripts_are_used_up() -> Iterator[None]:
    """Fail a test that left something of its script unsaid."""
    import scripted

    scripted.made.clear()
    yield
    for script in scripted.made:
        script.finish()
