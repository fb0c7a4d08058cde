# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Makes the collection importable as Ansible imports it: what runs on the control machine needs both."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.plugins.loader import init_plugin_loader

ROOT = Path(__file__).resolve().parents[3]
_PLACE = tempfile.TemporaryDirectory(prefix="pgherd-collections-")
_NAMESPACE = Path(_PLACE.name, "ansible_collections", "pgherd")
_NAMESPACE.mkdir(parents=True)
(_NAMESPACE / "cluster").symlink_to(ROOT)
init_plugin_loader([_PLACE.name])


@pytest.fixture(scope="session", autouse=True)
def _place() -> Iterator[None]:
    """The link goes with the tests."""
    yield
    _PLACE.cleanup()


@pytest.fixture(scope="session")
def specification() -> dict[str, dict[str, Any]]:
    """Every cluster_* variable with what it should be."""
    text = (ROOT / "roles/cluster/meta/argument_specs.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["argument_specs"]["main"]["options"]
