# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whoever must read a file of ours can get to it, whatever umask a host has, or had when a directory was made."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pgherd.places.host.files import repository
from pgherd.places.host.files.facts import HostFacts
from pgherd.ports.hostfiles import Disk, File, observe, plan
from test_hostfiles import ME, MINE
from test_root import CLUSTER, NAMES, every

# What Debian's packages make, with modes of their own. All others are ours.
DEBIANS = (
    "/etc/apt/sources.list.d",
    "/etc/barman.d",
    "/etc/cron.d",
    "/etc/pgpool2",
    "/etc/ssh/ssh_config.d",
    "/etc/sudoers.d",
    "/etc/systemd/system/multi-user.target.wants",
    "/etc/systemd/system/timers.target.wants",
    "/srv",
    "/usr/bin",
    "/usr/lib",
    "/var/lib/postgresql",
)


def stated(kind: str) -> list[File]:
    """All that is stated of a host, in its order."""
    (name,) = (name for name, of in NAMES.items() if of == kind)
    facts = HostFacts(17, {"URIs": "http://mirror"})
    return [*repository.files(CLUSTER, name, facts, {}), *(item for of, item in every() if of == kind)]


def ways(path: str) -> Iterator[str]:
    """The directories on the way to *path*, itself left out."""
    while (path := os.path.dirname(path)) != "/":
        yield path


def system(directory: str) -> bool:
    return any(of == directory or of.startswith(f"{directory}/") for of in DEBIANS)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("before", ["nothing", "closed"], ids=["fresh", "closed by an earlier run"])
@pytest.mark.parametrize("kind", sorted(set(NAMES.values())))
def test_the_way_to_what_others_read_is_open(tmp_path: Path, kind: str, before: str) -> None:
    items = stated(kind)
    shut = {way for item in items for way in ways(item.path) if not system(way)}
    for directory in DEBIANS:
        (tmp_path / directory[1:]).mkdir(parents=True, exist_ok=True)
    for directory in sorted(shut) if before == "closed" else ():
        (tmp_path / directory[1:]).mkdir(mode=0o700, exist_ok=True)
    here = [replace(item, path=f"{tmp_path}{item.path}", owner=ME, group=MINE) for item in items]
    plan(here, {item.path: observe(item.path) for item in here}).apply(Disk())
    owners = {item.path: item.owner for item in items}
    for item in items:
        if item.kind in ("link", "absent") or (item.owner == item.group == "root" and not int(item.mode, 8) & 0o007):
            continue
        for way in set(ways(item.path)) & shut:
            mode = stat.S_IMODE((tmp_path / way[1:]).stat().st_mode)
            assert mode & 0o001 or owners.get(way) == item.owner, f"{item.path}: {way} is {mode:04o}"
