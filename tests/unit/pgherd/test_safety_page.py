# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""docs/safety.md says what the code does: its times, its counts, its grants."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from pgherd.model import AGENT_ROLE
from pgherd.programs.repmgr import REWIND, SETTINGS, grants, roles
from pgherd.quorum import acknowledgers, seals_needed, voters
from states import cluster

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "safety.md").read_text(encoding="utf-8")
TIMES = re.findall(r"^\| [^|]+ \| ([\d.]+) \| `([\w.]+)\.(\w+)` \|$", PAGE, re.MULTILINE)
COUNTS = re.findall(r"^\| (\d)( and a witness)? \| (\d) \| (\d) \| (\d) \|", PAGE, re.MULTILINE)


def test_the_page_has_its_tables() -> None:
    assert len(TIMES) >= 14
    assert len(COUNTS) >= 7


@pytest.mark.parametrize(("seconds", "module", "name"), TIMES)
def test_times(seconds: str, module: str, name: str) -> None:
    assert float(seconds) == getattr(importlib.import_module(f"pgherd.{module}"), name)


@pytest.mark.parametrize(("listed", "witness", "sync", "able", "sealed"), COUNTS)
def test_counts(listed: str, witness: str, sync: str, able: str, sealed: str) -> None:
    found = cluster(int(listed), bool(witness), sync_standbys=int(sync))
    assert acknowledgers(found) == int(sync)
    assert len(voters(found, "pg1")) == int(able)
    assert seals_needed(found, "pg1") == int(sealed)


def test_every_grant_is_named() -> None:
    table = PAGE.split("| granted | for |")[1].split("\n\n")[0]
    functions = [grant.object for grant in grants(17) if grant.kind == "FUNCTION" and grant.role == AGENT_ROLE]
    functions = [name for name in functions if not name.startswith("repmgr.")]
    named = [name if name in table else name.split("(")[0] for name in (*SETTINGS, *REWIND, *functions)]
    assert [name for name in named if f"`{name}" not in table] == []
    assert [member for role in roles(17) for member in role.memberships or () if f"`{member}`" not in PAGE] == []


def test_names_are_explicit() -> None:
    """Never *: a receiver of Barman's or a base backup would acknowledge commits then."""
    found = cluster(3, witness=True)
    assert found.synchronous_standby_names == 'ANY 1 ("pg1", "pg2", "pg3")'
    assert "'ANY W (…)'" in PAGE
