# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""With which packages apt has something to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from pgherd.errors import Unreachable
from pgherd.places.host.dpkg import automatic, missing
from scripted import ScriptedRunner

# dpkg-query --show --showformat='${Package} ${db:Status-Abbrev}\n' and /var/lib/apt/extended_states of Debian 13, shortened.
LISTED = (
    "acl ii \nbarman ii \npgpool2 hi \npostgresql-15 rc \npostgresql-17 iU \nrepmgr-common iHR\nlibpq5 ii \nsudo un \n"
)
STATES = """\
Package: libpq5
Architecture: amd64
Auto-Installed: 1

Package: acl
Architecture: amd64
Auto-Installed: 0
"""


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("acl", True),
        ("barman", True),
        # Held back by the user.
        ("pgpool2", True),
        # Removed, with its configuration left; unpacked only; broken off; known and never installed; not known.
        ("postgresql-15", False),
        ("postgresql-17", False),
        ("repmgr-common", False),
        ("sudo", False),
        ("postgresql-17-repmgr", False),
        # It would go with what it came for.
        ("libpq5", False),
        # Only apt knows what is meant.
        ("barman=3.13*", False),
        ("acl:amd64", False),
        ("acl/trixie", False),
        ("ac*", False),
    ],
)
def test_missing(tmp_path: Path, name: str, there: bool) -> None:
    states = tmp_path / "extended_states"
    states.write_text(STATES)
    runner = ScriptedRunner([("dpkg-query --show", LISTED)])
    assert missing([name], runner, str(states)) == ([] if there else [name])


def test_a_host_without_these_files(tmp_path: Path) -> None:
    runner = ScriptedRunner([("dpkg-query", Unreachable("dpkg-query: there is none"))])
    assert missing(["acl", "sudo"], runner, str(tmp_path / "none")) == ["acl", "sudo"]
    runner = ScriptedRunner([("dpkg-query", LISTED)])
    assert missing(["acl", "sudo"], runner, str(tmp_path / "none")) == ["sudo"]


def test_automatic() -> None:
    assert automatic(STATES) == {"libpq5"}
    assert automatic("") == set()
