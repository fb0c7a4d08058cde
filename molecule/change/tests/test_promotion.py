# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""After a failover the site playbook moves nobody, and an old primary that comes back does no harm.

One story: each test goes on where the one before it ended.
"""

from __future__ import annotations

import re

import pytest
from living import DATA, LabError, Living, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def timeline(tree: Living) -> int:
    """The timeline before the failover."""
    found = tree.look()[tree.primary()].timeline
    assert found
    return found


@pytest.fixture(scope="module")
def old(tree: Living, timeline: int) -> str:
    """The primary whose host loses its power; the failover is over."""
    name = tree.primary()
    rest = [other for other in tree.nodes if other != name]
    tree.stop(name)

    def over() -> bool:
        look = tree.look(rest)
        primaries = [other for other, node in look.items() if not node.standby]
        return len(primaries) == 1 and all(node.upstream or not node.standby for node in look.values())

    until("a new primary that all follow", over, seconds=120)
    return name


@pytest.fixture(scope="module")
def rest(tree: Living, old: str) -> list[str]:
    """The other nodes."""
    return [name for name in tree.nodes if name != old]


def control(tree: Living, name: str) -> tuple[str, int]:
    """System identifier and timeline in pg_control."""
    out = tree.execute(name, "/usr/lib/postgresql/17/bin/pg_controldata", DATA)
    identifier = re.search(r"Database system identifier:\s+(\d+)", out)
    timeline = re.search(r"Latest checkpoint's TimeLineID:\s+(\d+)", out)
    assert identifier
    assert timeline
    return identifier.group(1), int(timeline.group(1))


def has_role(tree: Living, name: str, role: str) -> bool:
    return bool(tree.rows(name, f"SELECT 1 AS one FROM pg_roles WHERE rolname = '{role}'"))


def test_the_site_run_after_a_failover_changes_nothing(tree: Living, timeline: int, old: str, rest: list[str]) -> None:
    new = tree.primary(rest)
    look, records = tree.look(rest), tree.records(new)
    assert look[new].timeline == timeline + 1
    run = tree.site()
    assert run.unreachable == {old}, run
    assert not run.failed, run
    assert run.changed == {}, run
    assert tree.look(rest) == look
    assert tree.records(new) == records
    assert f"primary {new} (TL {timeline + 1})" in run.last_line
    assert run.last_line.endswith(f"missing: {old}")


def test_an_old_primary_that_comes_back_is_reported_and_left_as_it_is(
    tree: Living, timeline: int, old: str, rest: list[str]
) -> None:
    new = tree.primary(rest)
    look, records = tree.look(rest), tree.records(new)
    tree.start(old)
    settled = ("active", "failed", "inactive")
    until(f"PostgreSQL's unit on {old} to settle", lambda: tree.postgres_unit(old) in settled, seconds=60)
    tree.variables["cluster_users"].append({"name": "late"})
    run = tree.site("--limit", "postgres")
    assert old in run.failed or f"{old} was a primary" in str(run), run
    assert new in run.failed.get(old, "") + str(run)
    assert not [name for name in run.failed if name != old], run
    assert tree.look(rest) == look
    assert tree.records(new) == records
    assert control(tree, old)[1] == timeline, "it is what it was, not a clone"
    assert has_role(tree, new, "late")
    # Whatever the run had to write went to the cluster, not to a primary that nobody follows.
    try:
        assert not has_role(tree, old, "late")
    except LabError:
        assert tree.postgres_unit(old) != "active"
    assert "HEALTHY" not in run.last_line
    status = tree.execute(new, "pgherd", "status", check=False)
    assert re.search(rf"^! .*\b{old}\b", status, re.MULTILINE), status


def test_it_is_cloned_where_the_flag_names_it(tree: Living, timeline: int, old: str, rest: list[str]) -> None:
    new = tree.primary(rest)
    look = tree.look(rest)
    run = tree.site("--limit", "postgres", extra={"cluster_wipe": [old]})
    assert run.rc == 0, run
    tree.until_streaming(old)
    after = tree.look()
    assert {name: after[name] for name in rest} == look
    assert (after[old].upstream, after[old].timeline) == (new, timeline + 1)
    row = tree.records(new)[old]
    assert (row["type"], row["active"], row["upstream"]) == ("standby", True, new)
    again = tree.site()
    assert (again.rc, again.changed) == (0, {}), again
    assert "HEALTHY" in again.last_line
