# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Every problem has a case that brings it about, and nothing else is said in that case."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from pgherd.model import Node
from pgherd.observe.topology import Topology
from pgherd.observe.views import BarmanSeen, CertificateSeen, Copy, Event, Sender, Slot
from pgherd.options import Options
from pgherd.places.host.words import words
from pgherd.ports.services import AGENT
from pgherd.programs.barman_view import Backup, Check
from pgherd.status.problem import SITE, Problem, Thresholds, duration, names, restart, size
from pgherd.status.problems import exit_code, problems
from world import (
    BACKUP,
    CLUSTER,
    NOW,
    REGISTERED,
    healthy,
    stopped,
    with_backend,
    with_barman,
    with_node,
    with_postgres,
    with_repmgr,
)

H = healthy()
NO_REPMGR = {"repmgr": None, "repmgr_why": "permission denied for schema repmgr"}


def found(topology: Topology) -> list[str]:
    """``id node`` of each problem."""
    return [f"{problem.id} {problem.node}".strip() for problem in problems(CLUSTER, topology)]


def rows(topology: Topology, name: str, **changes: object) -> Topology:
    """*topology* in which the metadata have another row for *name*."""
    changed = tuple(replace(row, **changes) if row.name == name else row for row in REGISTERED)  # type: ignore[arg-type]
    return with_repmgr(topology, "pg1", nodes=changed)


def slot(topology: Topology, node: str, name: str, **changes: object) -> Topology:
    """*topology* in which one slot differs."""
    view = topology.node(node)
    assert view
    assert view.postgres
    slots = tuple(replace(item, **changes) if item.name == name else item for item in view.postgres.slots)  # type: ignore[arg-type]
    return with_postgres(topology, node, slots=slots)


NEWER = ("2.36", "2.41")
FOLLOW = "sudo -u postgres repmgr -f /etc/repmgr/17/repmgr.conf standby follow --upstream-node-id="
DROP = """sudo -u postgres psql -c "SELECT pg_drop_replication_slot('old_one')\""""


def collated(found: dict[str, dict[str, tuple[str, str]]]) -> Topology:
    """A healthy topology in which the nodes of *found* say which databases have another collation; the others cannot."""
    topology = H
    for name, versions in found.items():
        topology = with_postgres(topology, name, collations=versions)
    return topology


def everywhere(topology: Topology, status: str, *nodes: str) -> Topology:
    """*topology* in which both pgpools have *nodes* in *status*."""
    for pool in ("pool1", "pool2"):
        for node in nodes:
            topology = with_backend(topology, pool, node, status=status)
    return topology


def unreachable(*names_: str) -> Topology:
    topology = H
    for name in names_:
        topology = with_node(topology, name, postgres=None, why="no answer in time", repmgr=None)
    return topology


def promoted(topology: Topology) -> Topology:
    """pg2 leaves recovery on timeline 2, repmgr has recorded it, and pg4 follows it."""
    row = {"pg1": ("primary", None), "pg2": ("primary", None), "pg4": ("standby", 2)}
    registered = tuple(
        replace(item, type=row[item.name][0], upstream_id=row[item.name][1], active=item.name != "pg1")
        if item.name in row
        else item
        for item in REGISTERED
    )
    topology = with_repmgr(topology, "pg2", nodes=registered)
    names_ = CLUSTER.synchronous_standby_names
    old = H.node("pg1")
    assert old
    assert old.postgres
    senders = tuple(
        replace(
            row,
            application_name={"pg2": "pg3"}.get(row.application_name, "pg4"),
            sync_state="async" if row.application_name == "pg2" else "quorum",
        )
        for row in old.postgres.senders
    )
    topology = with_postgres(topology, "pg2", in_recovery=False, timeline=2, write_lsn="0/5000060", receive_lsn=None,
                             replay_lsn=None, upstream="", receiver="", senders=senders,
                             synchronous_standby_names=names_)  # fmt: skip
    for name, upstream in {"pg3": "pg2", "pg4": "pg2", "pg5": "pg4"}.items():
        topology = with_postgres(topology, name, timeline=2, upstream=upstream, receiver="streaming")
    for pool in ("pool1", "pool2"):
        topology = with_backend(topology, pool, "pg1", role="standby", status="down")
        topology = with_backend(topology, pool, "pg2", role="primary")
    return topology


NO_ELECTABLE = [
    "sync-missing pg1",
    "no-standby pg1",
    "node-down pg2",
    "node-down pg4",
    "not-streaming pg3",
    "not-streaming pg5",
]


def _members(replaces: tuple[str, ...] = (), **own: str) -> Topology:
    """All nodes well, each with its name as its incarnation but those that are *own*, and all admitted as they were."""
    topology = H
    admitted = {f"pg{n}": f"pg{n}" for n in range(1, 6)}
    for name in admitted:
        shown = own.get(name, name)
        gone = replaces if name in own else ()
        topology = with_postgres(topology, name, incarnation=shown, replaces=gone, members=admitted)
    return topology


FALSE = Sender("PG2", "streaming", "quorum", "10.0.0.9", 0, 0.0, 1.0, "streaming_barman")


def false_standby(topology: Topology) -> Topology:
    """*topology* in which somebody else streams from the primary as pg2, which does not."""
    found = stopped(topology, "pg2")
    postgres = found.node("pg1").postgres  # type: ignore[union-attr]
    return with_postgres(found, "pg1", senders=(*postgres.senders, FALSE))  # type: ignore[union-attr]


CASES = {
    "healthy": (H, []),
    "a false standby": (
        false_standby(H),
        ["foreign-sender pg1", "sync-no-spare pg1", "node-down pg2", "not-streaming pg3"],
    ),
    "standby stopped": (
        stopped(H, "pg5"),
        ["node-down pg5"],
    ),
    "electable standby stopped": (
        stopped(H, "pg4"),
        ["sync-no-spare pg1", "node-down pg4", "not-streaming pg5"],
    ),
    "both electable standbys stopped": (
        stopped(stopped(H, "pg4"), "pg2"),
        NO_ELECTABLE,
    ),
    "all standbys are slow to answer, but stream": (
        unreachable("pg2", "pg3", "pg4", "pg5"),
        [
            *(f"node-down {name}" for name in ("pg2", "pg3", "pg4", "pg5")),
            *(f"backend-stale {pool}" for pool in ("pool1", "pool2") for _node in range(4)),
        ],
    ),
    "witness stopped": (unreachable("w1"), ["node-down w1"]),
    "standby starts": (
        with_node(stopped(H, "pg5"), "pg5", why="the database system is starting up"),
        ["node-starting pg5"],
    ),
    "clone runs": (
        with_postgres(stopped(H, "pg5"), "pg4", copies=(Copy("pg_basebackup", "10.0.0.5", 1, 2),)),
        [],
    ),
    "primary stopped": (
        stopped(H, "pg1"),
        ["no-primary", "node-down pg1"],
    ),
    "nothing reachable": (
        replace(
            unreachable(*(node.name for node in CLUSTER.nodes)),
            pgpools=tuple(replace(pool, backends=None, why="no answer in time") for pool in H.pgpools),
            barmans=(BarmanSeen("backup1", NOW, None, "its agent does not answer: timed out"),),
        ),
        [
            "nothing-reachable",
            *(f"node-down {node.name}" for node in CLUSTER.nodes),
            "pgpool-down pool1",
            "pgpool-down pool2",
            "barman-unreadable backup1",
        ],
    ),
    "after a failover, the old primary is down": (
        promoted(stopped(H, "pg1")),
        ["sync-no-spare pg2", "node-down pg1"],
    ),
    "after a failover, the old primary came back as one": (
        promoted(H),
        ["two-primaries pg1", "sync-no-spare pg2"],
    ),
    "two primaries, and nobody can tell": (
        with_postgres(
            stopped(stopped(stopped(H, "pg2"), "pg3"), "pg5"),
            "pg4",
            in_recovery=False,
            write_lsn="0/5000060",
            upstream="",
            receiver="",
        ),
        ["two-primaries", "node-down pg2", "node-down pg3", "node-down pg5"],
    ),
    "two primaries, and the numbers of confirmations differ": (
        # To stop pg1 would be to stop the primary, if the description's number counts.
        replace(
            with_postgres(
                with_postgres(stopped(H, "pg3"), "pg5", timeline=2, in_recovery=False, upstream="", receiver=""),
                "pg1",
                synchronous_standby_names="",
            ),
            electable=("pg1", "pg2", "pg4"),
            acknowledgers=1,
        ),
        ["two-primaries", "node-down pg3"],
    ),
    "stale primary": (
        with_postgres(stopped(stopped(H, "pg2"), "pg4"), "pg5", timeline=2),
        ["stale-primary pg1", "node-down pg2", "node-down pg4"],
    ),
    "a primary that lost its standbys is fenced": (
        with_postgres(stopped(stopped(H, "pg2"), "pg4"), "pg1", read_only=True),
        [
            "fenced pg1",
            *NO_ELECTABLE,
        ],
    ),
    "fenced, though all are there": (with_postgres(H, "pg1", read_only=True), ["fenced pg1"]),
    "a host was made anew": (_members(pg2="b"), ["not-admitted pg2"]),
    "a node was cloned anew by its agent": (_members(pg2="b", replaces=("pg2",)), ["not-admitted pg2"]),
    "each is what is admitted": (_members(), []),
    "standby does not stream": (
        with_postgres(H, "pg5", upstream="", receiver=""),
        ["not-streaming pg5"],
    ),
    "standby streams from one that does not": (
        with_postgres(H, "pg4", upstream="", receiver=""),
        ["not-streaming pg4", "not-streaming pg5"],
    ),
    "lag in bytes": (with_postgres(H, "pg5", replay_lsn="0/3F00000", replay_age=1.0), ["lag pg5"]),
    "less lag than the limit": (with_postgres(H, "pg5", replay_lsn="0/4F00000", replay_age=1.0), []),
    "replay paused": (
        with_postgres(H, "pg5", replay_lsn="0/1000060", replay_paused=True),
        ["replay-paused pg5"],
    ),
    "replay paused by a limit": (
        with_postgres(
            with_postgres(H, "pg1", limits={"max_connections": 400, "max_wal_senders": 32}),
            "pg5",
            replay_paused=True,
            limits={"max_connections": 300, "max_wal_senders": 32},
        ),
        ["replay-paused pg5"],
    ),
    "another upstream than the metadata's": (
        with_postgres(H, "pg5", upstream="pg1"),
        ["wrong-upstream pg5"],
    ),
    "timeline behind": (
        with_postgres(with_postgres(H, "pg5", upstream="", receiver=""), "pg1", timeline=2),
        ["timeline-behind pg2", "timeline-behind pg3", "timeline-behind pg4", "timeline-behind pg5"],
    ),
    "another cluster": (with_postgres(H, "pg5", system_id="6"), ["system-id pg5"]),
    "another cluster's primary, on a newer timeline": (
        with_postgres(H, "pg5", system_id="6", in_recovery=False, timeline=9, upstream="", receiver=""),
        ["two-primaries pg5", "system-id pg5", "backend-stale pool1", "backend-stale pool2"],
    ),
    "another cluster's primary alone": (
        with_postgres(stopped(H, "pg1"), "pg5", system_id="6", in_recovery=False, upstream="", receiver=""),
        ["system-id pg5", "node-down pg1"],
    ),
    "sync names shrunk": (
        with_postgres(H, "pg1", synchronous_standby_names=""),
        ["sync-names pg1"],
    ),
    "details unreadable": (
        with_postgres(H, "pg5", details_why="permission denied for view pg_replication_slots"),
        ["details-unreadable pg5"],
    ),
    "repmgrd stopped": (with_repmgr(H, "pg3", running=False), ["repmgrd-down pg3"]),
    "repmgr's library is not loaded": (with_repmgr(H, "pg3", running=None, paused=None), ["repmgrd-down pg3"]),
    "repmgrd paused": (with_repmgr(H, "pg3", paused=True), ["repmgrd-paused pg3"]),
    "metadata unreadable": (with_node(H, "pg3", **NO_REPMGR), ["metadata-unreadable pg3"]),
    "not registered": (
        with_repmgr(H, "pg1", nodes=tuple(row for row in REGISTERED if row.name != "pg5")),
        ["not-registered pg5"],
    ),
    "inactive": (rows(H, "pg5", active=False), ["metadata-inactive pg5"]),
    "inactive and down": (rows(stopped(H, "pg5"), "pg5", active=False), ["node-down pg5"]),
    "another role": (rows(H, "pg5", type="primary"), ["metadata-role pg5"]),
    "another ID": (rows(H, "w1", id=7), ["metadata-role w1"]),
    "a stranger": (
        with_repmgr(H, "pg1", nodes=(*REGISTERED, replace(REGISTERED[1], id=9, name="pg9"))),
        ["metadata-stranger pg9"],
    ),
    "pgpool down": (
        replace(H, pgpools=(replace(H.pgpools[0], backends=None, why="Connection refused"), H.pgpools[1])),
        ["pgpool-down pool1"],
    ),
    "backend down": (with_backend(H, "pool2", "pg5", status="down"), ["backend-down pool2"]),
    "the primary's backend down": (
        with_backend(H, "pool2", "pg1", status="down"),
        ["backend-down pool2", "pgpool-primary pool2"],
    ),
    "a stopped node is still up in pgpool": (
        everywhere(stopped(H, "pg5"), "up", "pg5"),
        ["node-down pg5", "backend-stale pool1", "backend-stale pool2"],
    ),
    "a second primary is up in pgpool": (
        everywhere(promoted(H), "up", "pg1"),
        ["two-primaries pg1", "backend-stale pool1", "backend-stale pool2", "sync-no-spare pg2"],
    ),
    "pgpool takes another for primary": (
        with_backend(with_backend(H, "pool1", "pg1", role="standby"), "pool1", "pg2", role="primary"),
        ["pgpool-primary pool1"],
    ),
    "backend missing": (
        replace(H, pgpools=(replace(H.pgpools[0], backends=(H.pgpools[0].backends or ())[:-1]), H.pgpools[1])),
        ["backend-missing pool1"],
    ),
    "a backend waits for its first client": (everywhere(H, "waiting", "pg2", "pg3"), []),
    "no backup": (with_barman(H, backups=()), ["no-backup backup1"]),
    "only a failed backup": (with_barman(H, backups=(Backup("1", "FAILED"),)), ["no-backup backup1"]),
    "first backup runs": (with_barman(H, backups=(Backup("1", "STARTED"),)), ["no-backup backup1"]),
    "backup too old": (
        with_barman(H, backups=(replace(BACKUP, end=NOW - 40 * 3600),)),
        ["backup-old backup1"],
    ),
    "catalogue unreadable": (
        with_barman(H, backups=None, unread={"catalogue": "exited 1"}),
        ["barman-unreadable backup1"],
    ),
    "checks cannot be run": (
        with_barman(H, checks=None, unread={"check": "no end after 90 s"}),
        ["barman-unreadable backup1"],
    ),
    "checks fail": (
        with_barman(H, checks=(Check("ssh", True), Check("wal_archive", False, "full"), Check("slot", False))),
        ["barman-check backup1", "barman-check backup1"],
    ),
    "barman does not receive": (with_barman(H, receiving=False), ["barman-not-receiving backup1"]),
    "barman has not looked yet": (with_barman(H, receiving=None), []),
    "archive behind": (
        with_barman(H, last_wal="000000010000000000000001", last_wal_at=NOW - 1200),
        ["archive-behind backup1"],
    ),
    "an idle primary fills no segments": (with_barman(H, last_wal_at=NOW - 86400), []),
    "barman silent": (
        replace(H, barmans=(BarmanSeen("backup1", NOW, None, "its agent does not answer"),)),
        ["barman-unreadable backup1"],
    ),
    "slot lost": (slot(H, "pg4", "repmgr_slot_5", wal_status="lost", active=False), ["slot-lost pg4"]),
    "slot about to lose": (slot(H, "pg4", "repmgr_slot_5", wal_status="unreserved"), ["slot-losing pg4"]),
    "slot inactive and full": (
        slot(H, "pg1", "barman", active=False, retained_bytes=1 << 30),
        ["slot-inactive pg1"],
    ),
    "slot inactive": (slot(H, "pg1", "barman", active=False), []),
    "pending restart": (with_postgres(H, "pg4", pending_restart=("shared_buffers",)), ["pending-restart pg4"]),
    "archive_command fails": (with_postgres(H, "pg1", archive_failing_since=NOW - 60), ["archive-failing pg1"]),
    "certificates end": (
        replace(H, certificates=(CertificateSeen("", NOW + 86400), CertificateSeen("pg2", NOW + 30 * 86400))),
        ["authority-ends", "certificate-ends pg2"],
    ),
    "passwords end": (
        with_postgres(
            H,
            "pg1",
            password_ends={
                "repmgr": NOW + 86400,
                "pgherd_agent": NOW + 30 * 86400,
                "else": NOW - 1,
                "pgpool": NOW + 9e7,
            },
        ),
        ["password-ends pg1", "password-ends pg1"],
    ),
    "passwords on a standby are the primary's": (with_postgres(H, "pg2", password_ends={"repmgr": NOW + 86400}), []),
    "the C library was updated everywhere": (
        collated({"pg1": {"app": NEWER, "postgres": NEWER}, "pg2": {"app": NEWER, "postgres": NEWER}}),
        ["collation-version pg1", "collation-version pg1"],
    ),
    "on a standby": (collated({"pg1": {}, "pg2": {"app": NEWER}}), ["collation-differs pg2"]),
    "on all but a standby": (
        collated({"pg1": {"app": NEWER}, "pg2": {}}),
        ["collation-version pg1", "collation-differs pg2"],
    ),
    "to another on a standby": (
        collated({"pg1": {"app": NEWER}, "pg2": {"app": ("2.36", "2.40")}}),
        ["collation-version pg1", "collation-differs pg2"],
    ),
    "a standby's version cannot be read": (collated({"pg1": {"app": NEWER}}), ["collation-version pg1"]),
    "nor the primary's": (collated({"pg2": {"app": NEWER}}), []),
    "a certificate is refused": (
        replace(H, certificates=(CertificateSeen("pool1", None, "certificate has expired"),)),
        ["certificate-refused pool1"],
    ),
}


UNFINISHED = "sync-unfinished"


@pytest.mark.parametrize(("topology", "expected"), CASES.values(), ids=CASES.keys())
def test_case(topology: Topology, expected: list[str]) -> None:
    assert found(topology) == expected


def test_a_change_of_who_is_electable_that_is_not_finished() -> None:
    unfinished = replace(CLUSTER, counted=CLUSTER.electable_names)
    assert [problem.id for problem in problems(unfinished, H)] == [UNFINISHED]
    # Where all are counted already, and not named.
    stage = replace(CLUSTER, named=CLUSTER.electable_names, named_needed=CLUSTER.sync_standbys)
    assert [problem.id for problem in problems(stage, H)] == [UNFINISHED]


def test_every_problem_has_a_case_and_a_page() -> None:
    """The documentation lists exactly the ids that the code can give, and each is brought about by a case."""
    core = Path(__file__).resolve().parents[4] / "plugins/module_utils/pgherd"
    given = {
        name
        for path in core.glob("status/checks_*.py")
        for name in re.findall(r'Problem\(\s*"([a-z-]+)"', path.read_text())
    }
    shown = {item.split()[0] for _topology, expected in CASES.values() for item in expected} | {UNFINISHED}
    page = (core.parents[2] / "docs/status.md").read_text()
    documented = set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE))
    assert given == shown
    assert given == documented


@pytest.mark.parametrize(
    ("severities", "code"),
    [
        ([], 0),
        (["warning"], 1),
        (["critical", "warning"], 2),
        (["unknown", "critical"], 2),
        (["unknown"], 3),
        (["unknown", "warning"], 1),
    ],
)
def test_exit_code(severities: list[str], code: int) -> None:
    broken = problems(CLUSTER, stopped(H, "pg5"))[0]
    assert exit_code([replace(broken, severity=severity) for severity in severities]) == code


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("healthy", 0),
        ("standby stopped", 1),
        ("primary stopped", 2),
        ("no backup", 2),
        ("barman silent", 3),
        ("nothing reachable", 3),
        ("first backup runs", 1),
    ],
)
def test_exit_code_of_a_case(case: str, code: int) -> None:
    assert exit_code(problems(CLUSTER, CASES[case][0])) == code


def only(topology: Topology, kind: str) -> Problem:
    (problem,) = [problem for problem in problems(CLUSTER, topology) if problem.id == kind]
    return problem


def test_nobody_is_told_to_stop_what_may_be_the_primary() -> None:
    found = only(CASES["two primaries, and the numbers of confirmations differ"][0], "two-primaries")
    assert "pg1 may be the primary" in found.text
    # By the description pg1 is: the other one's agent gives way. A playbook writes to none of two.
    assert found.cure == restart(AGENT, "pg5")


@pytest.mark.parametrize(
    "case", [case for case, (_topology, found) in CASES.items() if "two-primaries" in " ".join(found)]
)
def test_nobody_is_sent_to_a_playbook_that_refuses(case: str) -> None:
    """It writes to none of two primaries: first there has to be one."""
    topology = with_postgres(CASES[case][0], "pg1", synchronous_standby_names="")
    found = problems(CLUSTER, topology)
    first = next(one.cure for one in found if one.id == "two-primaries")
    assert not [one for one in found if one.cure.what.startswith(SITE.what)]
    alone = problems(CLUSTER, with_postgres(H, "pg1", synchronous_standby_names=""))
    sent = {one.id for one in alone if one.cure.what.startswith(SITE.what)}
    assert sent
    assert {one.cure for one in found if one.id in sent} <= {first}


@pytest.mark.parametrize(("own", "acknowledgers", "on"), [("", 1, "pg5"), ('ANY 1 ("pg2", "pg4")', 3, "pg1")])
def test_whose_agent_gives_way_where_the_number_is_in_doubt(own: str, acknowledgers: int, on: str) -> None:
    """Two follow pg1, which is the primary by the description's number in the one case, and by its own setting in the other."""
    stray = with_postgres(H, "pg5", timeline=2, in_recovery=False, upstream="", receiver="")
    topology = with_postgres(stray, "pg1", synchronous_standby_names=own)
    topology = replace(topology, electable=("pg1", "pg2", "pg3", "pg4"), acknowledgers=acknowledgers)
    assert only(topology, "two-primaries").cure == restart(AGENT, on)


def test_since_when_no_wal_is_received_is_not_when_wal_was_last_written() -> None:
    """An idle primary writes nothing for hours."""
    idle = with_barman(H, receiving=False, receiving_at=NOW - 7200)
    assert only(idle, "barman-not-receiving").since is None
    assert (
        only(with_barman(idle, receiving=False, not_receiving_since=NOW - 3), "barman-not-receiving").since == NOW - 3
    )


def test_since_when_a_node_is_down_comes_from_repmgrs_events() -> None:
    gone = Event(1, "child_node_disconnect", NOW - 300, True, 'standby node "pg5" (ID: 5) has disconnected')
    back = replace(gone, event="child_node_reconnect", at=NOW - 100)
    topology = with_repmgr(stopped(H, "pg5"), "pg1", events=(gone,))
    assert only(topology, "node-down").since == NOW - 300
    topology = with_repmgr(stopped(H, "pg5"), "pg1", events=(back, gone))
    assert only(topology, "node-down").since is None


@pytest.mark.parametrize(
    ("case", "on", "command"),
    [
        ("standby stopped", "pg5", "systemctl start postgresql@17-main"),
        ("standby does not stream", "pg5", "systemctl restart pgherd-agent"),
        ("replay paused", "pg5", 'sudo -u postgres psql -c "SELECT pg_wal_replay_resume()"'),
        ("replay paused by a limit", "", "ansible-playbook pgherd.cluster.site"),
        (
            "another upstream than the metadata's",
            "pg5",
            "sudo -u postgres repmgr -f /etc/repmgr/17/repmgr.conf standby follow --upstream-node-id=4",
        ),
        ("repmgrd paused", "pg3", "sudo -u postgres repmgr -f /etc/repmgr/17/repmgr.conf service unpause"),
        (
            "backend down",
            "pool2",
            "env PCPPASSFILE=/etc/pgherd/pcp.pass pcp_attach_node -h localhost -p 9898 -U pgherd -w -n 4",
        ),
        ("no backup", "backup1", "systemctl start barman-backup.service"),
        ("not registered", "", "ansible-playbook pgherd.cluster.site"),
        ("another cluster", "", """ansible-playbook pgherd.cluster.site -e '{"cluster_wipe": ["pg5"]}'"""),
        ("after a failover, the old primary came back as one", "pg1", "pg_ctlcluster 17 main stop"),
        ("pending restart", "", "ansible-playbook pgherd.cluster.site"),
    ],
)
def test_cure(case: str, on: str, command: str) -> None:
    topology, expected = CASES[case]
    kind = expected[0].split()[0]
    cure = only(topology, kind).cure
    assert (cure.on, words(cure)) == (on, command)


@pytest.mark.parametrize(
    ("said", "text", "command"),
    [
        (
            'FATAL: directory "/srv/ts2" does not exist; Create this directory for the tablespace before restarting the server.',
            "name /srv/ts2 in cluster_tablespaces",
            "ansible-playbook pgherd.cluster.site",
        ),
        ("Clone into /data, where nothing was touched: wanted room", "wanted room", "journalctl -u pgherd-agent -n 20"),
        # Another start would end the same way.
        (
            "FATAL: recovery aborted because of insufficient parameter settings",
            "aborted",
            "ansible-playbook pgherd.cluster.site",
        ),
        ("FATAL: out of memory", "out of memory", "systemctl start postgresql@17-main"),
        # So would one that the start guard refuses for good; one that waits for others is as good as any.
        (
            "Start pg5: wanted data of the cluster that pg1 hold (system identifier 1), found 2. "
            "If its data may go, name the host in cluster_wipe.",
            "Connection refused; its start is refused: Start pg5",
            """ansible-playbook pgherd.cluster.site -e '{"cluster_wipe": ["pg5"]}'""",
        ),
        (
            "Start pg5: wanted data of a running cluster, found a restored backup (recovery.signal), whose recovery would end "
            "by itself. If it is to be the primary, say so: touch PATH, then start it. Else name it in cluster_wipe.",
            "found a restored backup",
            "journalctl -u pgherd-agent -n 20",
        ),
        (
            "start pg5: too few of the others answer",
            "; its start is refused: start pg5",
            "systemctl start postgresql@17-main",
        ),
    ],
)
def test_a_cure_goes_by_what_the_log_says(said: str, text: str, command: str) -> None:
    nodes = tuple(replace(view, words=said) if view.name == "pg5" else view for view in stopped(H, "pg5").nodes)
    problem = only(replace(stopped(H, "pg5"), nodes=nodes), "node-down")
    assert text in problem.text
    assert words(problem.cure) == command


@pytest.mark.parametrize(
    "why",
    [
        'pg_hba.conf rejects connection for host "fd00::1", user "pgherd_monitor", database "repmgr", SSL encryption',
        'no pg_hba.conf entry for host "fd00::1", user "pgherd_monitor", database "repmgr", SSL encryption',
        'client authentication failed: no pool_hba.conf entry for host "fd00::1", user "pgherd_monitor"',
    ],
)
def test_an_address_that_is_let_in_nowhere_is_asked_for_anew(why: str) -> None:
    problem = only(stopped(H, "pg5", why), "node-down")
    assert "when the playbook ran, no host came from fd00::1" in problem.text
    assert words(problem.cure) == "ansible-playbook pgherd.cluster.site"
    pools = tuple(replace(pool, backends=None, why=why) for pool in H.pgpools)
    assert words(only(replace(H, pgpools=pools[:1]), "pgpool-down").cure) == "ansible-playbook pgherd.cluster.site"


def test_a_pause_by_a_limit_names_it_with_both_values() -> None:
    text = only(CASES["replay paused by a limit"][0], "replay-paused").text
    assert "max_connections is 300 and has to be 400" in text
    assert "max_wal_senders" not in text


def test_only_the_primary_needs_leave_to_restart() -> None:
    primary = only(with_postgres(H, "pg1", pending_restart=("shared_buffers",)), "pending-restart")
    assert words(primary.cure).endswith("-e cluster_restart_primary=true")


def test_limits_move() -> None:
    topology = with_postgres(H, "pg5", replay_lsn="0/4F00000", replay_age=1.0)
    assert [problem.id for problem in problems(CLUSTER, topology, Thresholds(lag_bytes=1024))] == ["lag"]


def test_async_durability_needs_no_sync_standby() -> None:
    cluster = replace(CLUSTER, durability="async")
    topology = with_postgres(stopped(H, "pg4"), "pg1", synchronous_standby_names="")
    assert [problem.id for problem in problems(cluster, topology)] == ["node-down", "not-streaming"]


def test_a_new_host_of_the_inventory_is_missing_until_the_site_playbook_ran() -> None:
    cluster = replace(CLUSTER, nodes=(*CLUSTER.nodes, Node("pg7", 7, "postgres", "pg7", "pg2")))
    ids = [f"{problem.id} {problem.node}" for problem in problems(cluster, H)]
    assert ids == ["backend-missing pool1", "backend-missing pool2", "not-registered pg7"]


def test_a_slot_that_nobody_owns_is_dropped_not_started() -> None:
    left = Slot("old_one", "physical", False, "extended", 1 << 30)
    problem = only(with_postgres(H, "pg4", slots=(left,)), "slot-inactive")
    assert "pg_drop_replication_slot('old_one')" in words(problem.cure)


@pytest.mark.parametrize(
    ("topology", "node", "name", "on", "command"),
    [
        (H, "pg1", "barman", "backup1", "systemctl restart barman-receive-wal.service"),
        # On a standby nobody reads it, and the agent moves it on.
        (H, "pg2", "barman", "pg2", "systemctl restart pgherd-agent"),
        (stopped(H, "pg5"), "pg4", "repmgr_slot_5", "pg5", "systemctl start postgresql@17-main"),
        (
            with_postgres(H, "pg5", upstream="", receiver=""),
            "pg4",
            "repmgr_slot_5",
            "pg5",
            "systemctl restart pgherd-agent",
        ),
        (H, "pg4", "repmgr_slot_5", "pg5", f"{FOLLOW}4"),
        (H, "pg1", "repmgr_slot_5", "pg1", "systemctl restart pgherd-agent"),
        # The primary reads nowhere.
        (H, "pg2", "repmgr_slot_1", "pg2", "systemctl restart pgherd-agent"),
        (H, "pg4", "old_one", "pg4", DROP),
    ],
)
@pytest.mark.parametrize(("kind", "state"), [("slot-inactive", "extended"), ("slot-losing", "unreserved")])
def test_a_slot_is_read_again_by_whom_it_is_for(
    topology: Topology, node: str, name: str, on: str, command: str, kind: str, state: str
) -> None:
    """Nothing is dropped that has a reader, and starting what runs would end nothing."""
    kept = Slot(name, "physical", False, state, 1 << 30)
    cure = only(with_postgres(topology, node, slots=(kept,)), kind).cure
    assert (cure.on, words(cure)) == (on, command)


def test_a_standby_that_streams_from_another_is_pointed_at_the_primary() -> None:
    """It cannot confirm commits from there, and a restart would leave it there."""
    senders = tuple(row for row in H.node("pg1").postgres.senders if row.application_name != "pg4")  # type: ignore[union-attr]
    topology = with_postgres(with_postgres(H, "pg4", upstream="pg2"), "pg1", senders=senders)
    cure = only(topology, "sync-no-spare").cure
    assert (cure.on, words(cure)) == ("pg4", f"{FOLLOW}1")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 kB"), (1 << 20, "1 MB"), (120 << 20, "120 MB"), (5 << 40, "5120 GB")],
)
def test_size(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0s"), (59, "59s"), (61, "1m"), (11520, "3h12m"), (90000, "1d1h")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_names() -> None:
    assert [names(["a"]), names(["a", "b"]), names(["a", "b", "c"]), names([])] == ["a", "a and b", "a, b and c", ""]


def test_a_collations_cure() -> None:
    found = problems(CLUSTER, collated({"pg1": {"app": NEWER, 'o"d': NEWER}}))
    texts = {item.text.split(" ")[1]: (item.text, item.cure) for item in found if item.id == "collation-version"}
    text, cure = texts["app"]
    assert text.startswith("database app was made with version 2.36 of its collation, and pg1 has 2.41")
    assert cure.on == "pg1"
    assert words(cure) == (
        'sudo -u postgres psql -d app -c "REINDEX DATABASE app" -c "ALTER DATABASE app REFRESH COLLATION VERSION"'
    )
    assert shlex.split(words(texts['o"d'][1]))[5:] == [
        'o"d',
        "-c",
        'REINDEX DATABASE "o""d"',
        "-c",
        'ALTER DATABASE "o""d" REFRESH COLLATION VERSION',
    ]
    (differs,) = problems(CLUSTER, collated({"pg1": {}, "pg2": {"app": NEWER}}))
    assert "pg2 has version 2.41 of the collation of database app, its primary pg1 2.36" in differs.text


def test_a_users_password_is_the_users() -> None:
    cluster = replace(
        CLUSTER, options=Options.of({**vars(CLUSTER.options), "users": [{"name": "app"}, {"name": 'o"d'}]})
    )
    ends = {"app": NOW - 7200, 'o"d': NOW + 86400, "repmgr": NOW - 60}
    found = [
        item for item in problems(cluster, with_postgres(H, "pg1", password_ends=ends)) if item.id == "password-ends"
    ]
    assert [(item.severity, item.text, words(item.cure)) for item in found] == [
        ("critical", "the password of role repmgr ended 1m ago", "ansible-playbook pgherd.cluster.site"),
        (
            "warning",
            "the password of role app ended 2h00m ago",
            """sudo -u postgres psql -c "ALTER ROLE app VALID UNTIL 'infinity'\"""",
        ),
        (
            "warning",
            'the password of role o"d ends in 1d0h',
            """sudo -u postgres psql -c 'ALTER ROLE "o""d" VALID UNTIL '"'"'infinity'"'"''""",
        ),
    ]
