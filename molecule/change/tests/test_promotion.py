# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""After a failover the site playbook moves nobody, and an old primary that comes back does no harm.

One story: each test goes on where the one before it ended.
"""

from __future__ import annotations

import pytest
from living import MISSED, Living, until


@pytest.fixture(scope="module")
def timeline(tree: Living) -> int:
    """The timeline before the failover, which begins on a whole cluster."""
    tree.until_well()
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

    until("a new primary that all follow", over, 180, missed=MISSED)
    return name


@pytest.fixture(scope="module")
def rest(tree: Living, old: str) -> list[str]:
    """The other nodes."""
    return [name for name in tree.nodes if name != old]


def settle(tree: Living, new: str, names: list[str]) -> None:
    """Wait until all that follows the servers has followed: *names*, which are there, stream on the primary's timeline, repmgr's
    records say so, pgpools use them and no others, Barman receives. A run before that would have something to do."""
    receivers = "SELECT count(*) FROM pg_stat_replication WHERE usename = 'streaming_barman' AND state = 'streaming'"

    def right() -> bool:
        rows, look = tree.records(new), tree.look(names)
        servers = all(
            rows[name]["upstream"] == node.upstream and node.timeline == look[new].timeline
            for name, node in look.items()
        )
        return (
            servers and tree.value(new, receivers) == len(tree.group("barman")) and all(map(used, tree.group("pgpool")))
        )

    def used(pool: str) -> bool:
        return {name for name, status in tree.backends(pool, new).items() if status == "up"} == set(names)

    until("records, pgpools and Barman to follow", right, 150, 0.5, MISSED)


def test_the_site_run_after_a_failover_changes_nothing(tree: Living, timeline: int, old: str, rest: list[str]) -> None:
    new = tree.primary(rest)
    settle(tree, new, rest)
    look, records = tree.look(rest), tree.records(new)
    assert look[new].timeline == timeline + 1
    run = tree.site()
    assert run.unreachable == {old}, run
    assert not run.failed, run
    assert run.changed == {}, run
    tree.until_as(look)
    assert tree.records(new) == records
    assert f"primary {new} (TL {timeline + 1})" in run.last_line
    assert run.last_line.endswith(f"missing: {old}")


def test_an_old_primary_that_comes_back_follows_the_new_one(
    tree: Living, timeline: int, old: str, rest: list[str]
) -> None:
    """By itself; then a run finds nothing to do, and what it does for the user it does on the new primary."""
    new = tree.primary(rest)
    look = tree.look(rest)
    tree.start(old)

    def follows() -> bool:
        if not tree.answers(old):
            return False
        assert tree.value(old, "SELECT pg_is_in_recovery() AS standby"), f"{old} takes writes beside {new}"
        return bool(tree.look([old])[old].upstream)

    until(f"{old} to follow {new}", follows, 240, missed=MISSED)
    settle(tree, new, tree.nodes)
    tree.until_well()
    records = tree.records(new)
    assert (records[old]["type"], records[old]["active"], records[old]["upstream"]) == ("standby", True, new)
    run = tree.site()
    assert (run.rc, run.changed) == (0, {}), run
    tree.until_as(look)

    def streams() -> bool:
        node = tree.look([old])[old]
        return (node.upstream, node.timeline) == (new, timeline + 1)

    until(f"{old} to stream from {new}", streams, 60, missed=MISSED)
    assert tree.records(new) == records
    tree.until_well()
