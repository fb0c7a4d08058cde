# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What status prints as the cure of a problem is run in that state, word for word, and ends it: who is primary, and who streams.

Those that other tests run are named in tests/unit/pgherd/status/test_cures.py, which has a line for each problem. Works on any
converged cluster of three data nodes or more with a pgpool and a Barman, whose replication nobody else changes at the same time.
"""

from __future__ import annotations

import pytest
from curing import (
    AGENT,
    NOWHERE,
    REPMGR,
    as_standby,
    cured,
    electable,
    goes_on,
    left_alone,
    place,
    primaries,
    set_,
    upstream,
    upstream_by_design,
)
from herd import Herd, cure, group, healthy, on, problem, said, status, wait

pytestmark = pytest.mark.more


def test_no_primary(herd: Herd) -> None:
    with left_alone(*herd.nodes):
        on(herd.primary, "systemctl", "stop", herd.unit())
        command = cured(herd, "no-primary", "", ask=herd.leaf)
        assert command == f"systemctl start {herd.unit()}"


def test_no_primary_where_the_last_one_runs_as_a_standby(herd: Herd) -> None:
    """It would not become primary by a start; its agent has one elected."""
    with left_alone(*herd.nodes):
        as_standby(herd, herd.primary)
        assert cured(herd, "no-primary", "", ask=herd.leaf) == AGENT


def test_no_primary_where_too_few_are_there_for_an_election(herd: Herd) -> None:
    """Those that are missing come back one after the other, until there are enough."""
    away = electable(herd)
    start = f"systemctl start {herd.unit()}"
    with left_alone(*herd.nodes):
        for name in away:
            on(name, "systemctl", "stop", herd.unit())
        as_standby(herd, herd.primary)
    assert set(goes_on(herd, "no-primary", "")) == {start}
    for name in away:
        if ("node-down", name) in said(status(herd.primary)[1]):
            assert cured(herd, "node-down", name) == start


def test_a_primary_that_is_left_behind(herd: Herd) -> None:
    """It was cut off without its agent while another took its place, and that one is gone when it is back."""
    hosts, old = place(), herd.primary
    others = [name for name in herd.nodes if name != old]
    with left_alone(old):
        hosts.drop(old, [f"{way} {hosts.address(name)} -j DROP" for name in others for way in ("-s", "-d")])
        try:
            document = wait(herd.leaf, lambda seen: bool(primaries(seen) - {old}), 120.0)
            (new,) = primaries(document) - {old}
            with left_alone(*others):
                on(new, "systemctl", "stop", herd.unit())
                hosts.join(old)
                assert cured(herd, "stale-primary", old) == f"pg_ctlcluster {herd.version} main stop"
                # As whoever is there now says.
                assert cured(herd, "no-primary", "") == f"systemctl start {herd.unit()}"
        finally:
            hosts.join(old)
    wait(old, lambda seen: ("node-down", old) in said(seen))
    # Its agent may stop it at once, to rewind it.
    assert cured(herd, "node-down", old, expect=(0, 1)) == f"systemctl start {herd.unit()}"
    wait(old, healthy, 180.0)
    assert primaries(status(old)[1]) == {new}


def test_too_few_standbys(herd: Herd) -> None:
    """Writes wait, the fence is up: the node that is named comes back, and then the others."""
    down = electable(herd)
    # Others would stream from the primary itself then.
    down += [name for name in herd.nodes if name not in (*down, herd.primary)]
    for name in reversed(down):
        on(name, "systemctl", "stop", herd.unit())
    primary = herd.primary
    wanted = {("fenced", primary), ("sync-missing", primary), ("no-standby", primary)}
    document = wait(primary, lambda seen: wanted <= said(seen))
    cures = [problem(document, kind, node)["cure"] for kind, node in wanted]
    assert all(one == {"on": down[0], "command": f"systemctl start {herd.unit()}"} for one in cures), cures
    cure(problem(document, "fenced", primary))
    wait(primary, lambda seen: not wanted & said(seen), 120.0)
    for name in down[1:]:
        document = wait(primary, lambda seen, name=name: ("node-down", name) in said(seen))
        found = "sync-no-spare" if ("sync-no-spare", primary) in said(document) else "node-down"
        cured(herd, found, primary if found == "sync-no-spare" else name)


def test_a_second_primary(herd: Herd) -> None:
    """Its agent does not run, and who started it so goes on by what is printed until all is well."""
    leaf, pool = herd.leaf, group("pgpool")[-1]
    with left_alone(leaf), left_alone(pool, units=("pgherd-agent",)):
        herd.sql(leaf, "SELECT pg_promote()")
        document = wait(herd.primary, lambda seen: ("two-primaries", leaf) in said(seen))
        if ("backend-stale", pool) in said(document):
            # It finds out by itself when a client comes.
            cure(problem(document, "backend-stale", pool))
        cured(herd, "two-primaries", leaf)
        cured(herd, "node-down", leaf)
        # It comes back as a standby, with a history of its own.
        assert cured(herd, "not-streaming", leaf) == AGENT
        # Its agent stops it for that.
        wait(herd.primary, lambda seen: {kind for kind, node in said(seen) if node == leaf} == {"repmgrd-down"})
        # What is left of its WAL does not say where it is, once it receives none.
        on(leaf, "systemctl", "stop", "pgherd-agent")
        set_(herd, leaf, primary_conninfo=NOWHERE)
        document = wait(herd.primary, lambda seen: ("not-streaming", leaf) in said(seen))
        timelines = {view["name"]: view["postgres"]["timeline"] for view in document["topology"]["nodes"]}
        assert timelines[leaf] == timelines[herd.primary], timelines
        assert cured(herd, "not-streaming", leaf) == AGENT


def test_another_upstream(herd: Herd) -> None:
    """repmgr's metadata name another one than it streams from."""
    other = next(name for name in herd.nodes if name not in (herd.leaf, upstream(herd, herd.leaf)))
    there = f"(SELECT node_id FROM repmgr.nodes WHERE node_name = '{other}')"
    with left_alone(herd.leaf):
        update = f"UPDATE repmgr.nodes SET upstream_node_id = {there} WHERE node_name = '{herd.leaf}'"
        on(herd.primary, *REPMGR, update)
        assert "standby follow" in cured(herd, "wrong-upstream", herd.leaf)
        assert upstream(herd, herd.leaf) == other
        # Where it confirms commits it has to stream from the primary itself.
        if ("sync-no-spare", herd.primary) in said(status(herd.primary)[1]):
            assert "standby follow" in cured(herd, "sync-no-spare", herd.primary)
            assert upstream(herd, herd.leaf) == herd.primary


def test_a_standby_that_does_not_stream(herd: Herd) -> None:
    """It is pointed elsewhere, and starting it again would not have it stream."""
    source = upstream(herd, herd.leaf)
    with left_alone(herd.leaf, source):
        set_(herd, herd.leaf, primary_conninfo=NOWHERE)
        assert cured(herd, "not-streaming", herd.leaf) == AGENT


def test_a_standby_whose_slot_is_gone(herd: Herd) -> None:
    """Its agent makes the slot, where its upstream's does not."""
    source = upstream(herd, herd.leaf)
    slot = herd.sql(herd.leaf, "SHOW primary_slot_name").strip()
    with left_alone(herd.leaf, source):
        on(herd.leaf, "systemctl", "stop", herd.unit())
        herd.sql(source, f"SELECT pg_drop_replication_slot('{slot}')")
        on(herd.leaf, "systemctl", "start", herd.unit())
        assert cured(herd, "not-streaming", herd.leaf) == AGENT


def test_a_standby_below_one_that_does_not_stream(herd: Herd) -> None:
    """That one is brought back."""
    source = upstream_by_design(herd, herd.leaf)
    if source == herd.primary:
        pytest.skip("it streams from the primary")
    with left_alone(herd.leaf, source):
        set_(herd, source, primary_conninfo=NOWHERE)
        document = wait(
            herd.primary, lambda seen: {("not-streaming", name) for name in (source, herd.leaf)} <= said(seen)
        )
        assert problem(document, "not-streaming", herd.leaf)["cure"] == {"on": source, "command": AGENT}
        assert cured(herd, "not-streaming", herd.leaf) == AGENT


def test_a_timeline_that_is_behind(herd: Herd) -> None:
    """The primary has begun another while the standby was pointed elsewhere."""
    data = herd.sql(herd.primary, "SHOW data_directory").strip()
    with left_alone(*herd.nodes):
        set_(herd, herd.leaf, primary_conninfo=NOWHERE)
        wait(herd.primary, lambda seen: ("not-streaming", herd.leaf) in said(seen))
        on(herd.primary, "systemctl", "stop", herd.unit())
        on(herd.primary, "install", "-o", "postgres", "-m", "600", "/dev/null", f"{data}/standby.signal")
        on(herd.primary, "systemctl", "start", herd.unit())
        herd.sql(herd.primary, "SELECT pg_promote()")
        assert cured(herd, "timeline-behind", herd.leaf) == AGENT


def test_a_collation_that_has_changed(herd: Herd) -> None:
    """The lab's own locale, C.UTF-8, has no version."""
    make = "CREATE DATABASE sorted TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en' ENCODING 'UTF8'"
    herd.sql(herd.primary, make)
    try:
        herd.sql(herd.primary, "UPDATE pg_database SET datcollversion = '1.0' WHERE datname = 'sorted'")
        assert "REINDEX DATABASE sorted" in cured(herd, "collation-version", herd.primary)
    finally:
        herd.sql(herd.primary, "DROP DATABASE sorted WITH (FORCE)")
