# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The apt source: as it is asked for, and nobody else's to read where a login stands in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pgherd.places.host.files.facts import HostFacts
from pgherd.places.host.files.repository import SOURCES, files
from pgherd.ports.hostfiles import File, plan
from world import CLUSTER


def source(tmp_path: Path, **fields: Any) -> File:
    return next(item for item in files(CLUSTER, "pg1", HostFacts(17, fields), {}) if item.path == SOURCES)


def test_for_everybody(tmp_path: Path) -> None:
    item = source(tmp_path, URIs="https://apt.example.org/a@b", **{"Signed-By": "k1\n\nk2"})
    assert (item.mode, item.secret) == ("0644", False)
    assert item.content.endswith("Types: deb\nURIs: https://apt.example.org/a@b\nSigned-By:\n k1\n .\n k2\n")


@pytest.mark.parametrize("login", ["user:canary@", "canary@"])
def test_a_login_is_roots_alone(tmp_path: Path, login: str) -> None:
    item = source(tmp_path, URIs=["https://a.example.org", f"https://{login}apt.example.org"])
    assert (item.mode, item.owner, item.group) == ("0600", "root", "root")
    todo = plan([item], {item.path: {"kind": "absent"}})
    assert "canary" not in f"{todo.before} {todo.after} {item!r}"
    assert b"canary" in item.data()
