# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The picture, held against files that a person has looked at. ``GOLDEN=write pytest`` writes them anew."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from pgherd.observe.topology import Topology
from pgherd.observe.views import BackendView, BarmanSeen, Copy, Event
from pgherd.places.host.words import words
from pgherd.status.health import health_line
from pgherd.status.report import report
from test_problems import CASES, promoted
from test_topology import sender
from world import CLUSTER, NOW, healthy, stopped, with_barman, with_postgres, with_repmgr

GOLDEN = Path(__file__).parents[1] / "golden"
H = healthy()
GONE = Event(1, "child_node_disconnect", NOW - 720, True, 'standby node "pg4" (ID: 4) has disconnected')

PICTURES = {
    "healthy": H,
    "node_stopped": with_repmgr(stopped(H, "pg4"), "pg1", events=(GONE,)),
    "standby_lagging": sender(with_postgres(H, "pg5", replay_lsn="0/1000060"), "pg4", "pg5", lag_seconds=45.0),
    "replay_paused": with_postgres(H, "pg5", replay_lsn="0/1000060", replay_age=45.0, replay_paused=True),
    "pgpool_down": replace(H, pgpools=(replace(H.pgpools[0], backends=None, why="Connection refused"), H.pgpools[1])),
    "backup_missing": with_barman(H, backups=()),
    "two_primaries": promoted(H),
    "nothing_reachable": CASES["nothing reachable"][0],
    "after_failover": promoted(stopped(H, "pg1")),
    "clone_running": with_postgres(stopped(H, "pg4"), "pg1", copies=(Copy("pg_basebackup", "10.0.0.4", 42, 100),)),
    "barman_silent": replace(H, barmans=(BarmanSeen("backup1", NOW, None, "its agent does not answer: timed out"),)),
}


def drawn(topology: Topology, **how: object) -> str:
    return report(CLUSTER, topology, words).picture(**how)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "topology"), PICTURES.items(), ids=PICTURES.keys())
def test_golden(name: str, topology: Topology) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(drawn(topology) + "\n")
    assert drawn(topology) + "\n" == path.read_text()


@pytest.mark.parametrize("topology", PICTURES.values(), ids=PICTURES.keys())
@pytest.mark.parametrize("width", [50, 60, 80, 100, 200])
def test_it_fits(topology: Topology, width: int) -> None:
    """Only the line of health and a command, which must be copied whole, may be wider than a narrow terminal."""
    lines = drawn(topology, width=width).splitlines()
    for line in lines[1:]:
        if not re.match(r"  (\w*#|\$) ", line):
            assert len(line) <= min(width, 100), line
    if width >= 100:
        assert max(map(len, lines)) <= 100


def test_wider_does_not_stretch() -> None:
    assert drawn(H, width=300) == drawn(H)


def test_narrower_loses_whole_columns() -> None:
    def headings(width: int) -> list[str]:
        return drawn(H, width=width).splitlines()[1].split()

    assert headings(84) == headings(100)
    assert set(headings(100)) - set(headings(72)) == {"SEEN", "SYNC"}
    assert set(headings(72)) - set(headings(60)) == {"PGPOOL"}


def test_no_colour_unless_asked_for() -> None:
    topology = PICTURES["node_stopped"]
    coloured = drawn(topology, colour=True)
    assert "\033[" not in drawn(topology)
    assert "\033[33mDEGRADED\033[0m" in coloured
    assert re.sub(r"\033\[\d+m", "", coloured) == drawn(topology)


def test_a_moved_node_is_drawn_where_it_is() -> None:
    tree = drawn(PICTURES["after_failover"])
    assert re.search(r"^pg2 .*\n\|- pg3 .*\n`- pg4 .*\n   `- pg5 ", tree, re.MULTILINE)
    assert re.search(r"^pg1 +\? +down", tree, re.MULTILINE)


def test_every_node_is_drawn_once_even_in_a_circle() -> None:
    circle = with_postgres(H, "pg2", upstream="pg3")
    names = [re.sub(r"^[|` -]+", "", line).split()[0] for line in drawn(circle).splitlines()[2:8]]
    assert sorted(names) == sorted(node.name for node in CLUSTER.nodes)


def test_the_line_names_whom_a_playbook_did_not_reach() -> None:
    found = report(CLUSTER, H, words, missing=["pg4", "pool2"])
    assert found.line().endswith("  missing: pg4, pool2")
    later = report(CLUSTER, H, words, missing=["pg4"], waiting=["extension a in database b"]).line()
    told = "waits for a restart of the primary (-e cluster_restart_primary=true): extension a in database b"
    assert later.endswith(f"  missing: pg4  {told}")
    assert found.picture().splitlines()[0] == found.line()[: found.line().index("  missing")]


@pytest.mark.parametrize("colour", [False, True])
def test_a_long_line_goes_on_in_the_next_after_a_whole_part(colour: bool) -> None:
    """Names in a domain are long: 'primary pg1.db.example.com (TL 1)'."""
    cluster, topology = replace(CLUSTER, barmans=()), replace(H, barmans=())
    plain = report(cluster, topology, words).line()
    seen = set()
    for length in range(1, 30):
        told = f"  missing: {'x' * length}"
        found = report(cluster, topology, words, missing=["x" * length])
        lines = re.sub(r"\033\[\d+m", "", found.picture(colour=colour)).splitlines()
        wanted = [plain + told] if len(plain + told) <= 100 else [plain, told]
        assert lines[: len(wanted)] == wanted
        assert lines[len(wanted)].startswith("NODE ")
        seen.add(len(wanted))
    assert seen == {1, 2}


def test_the_line_without_what_a_cluster_does_not_have() -> None:
    cluster = replace(CLUSTER, durability="async", barmans=())
    topology = replace(with_postgres(H, "pg1", synchronous_standby_names=""), barmans=())
    line = health_line(cluster, topology, ())
    assert line == "demo  HEALTHY  primary pg1 (TL 1)  standbys 4/4  sync off  failover armed 6/6"


def test_the_documentation_shows_the_picture_as_it_is() -> None:
    page = (Path(__file__).resolve().parents[4] / "docs/status.md").read_text()
    assert drawn(H) in page
    assert "\n".join(line for line in drawn(PICTURES["node_stopped"]).splitlines() if re.match("! |  pg", line)) in page


def test_gaps_and_nodes_that_have_left_are_no_backends() -> None:
    pool = H.pgpools[0]
    more = (*(pool.backends or ()), BackendView(6, "", "unused", "standby"), BackendView(7, "gone", "down", "standby"))
    shown = drawn(replace(H, pgpools=(replace(pool, backends=more), *H.pgpools[1:])))
    assert "backends 5/5" in next(line for line in shown.splitlines() if line.startswith(pool.name))
