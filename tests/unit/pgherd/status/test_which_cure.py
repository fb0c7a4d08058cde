# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Of one problem the cure that ends it differs by the state: what would change nothing there, or lose something, is not named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pgherd.observe.topology import Topology
from pgherd.observe.views import BarmanSeen, Slot
from pgherd.places.host.words import words
from pgherd.status.problem import Problem
from pgherd.status.problems import problems
from world import CLUSTER, NOW, REGISTERED, healthy, stopped, with_node, with_postgres, with_repmgr

H = healthy()
SITE = ("", "ansible-playbook pgherd.cluster.site")
REPMGR = "sudo -u postgres repmgr -f /etc/repmgr/17/repmgr.conf"
AGENT = "systemctl restart pgherd-agent"


def start(node: str) -> tuple[str, str]:
    return node, "systemctl start postgresql@17-main"


def of(topology: Topology, kind: str, node: str = "") -> Problem:
    """The one problem of that kind, about *node* where that is said."""
    (found,) = [item for item in problems(CLUSTER, topology) if item.id == kind and node in ("", item.node)]
    return found


def cure(topology: Topology, kind: str, node: str = "") -> tuple[str, str]:
    """Where and what."""
    found = of(topology, kind, node).cure
    return found.on, words(found)


def rows(topology: Topology, name: str, **changes: object) -> Topology:
    """*topology* in which the metadata have another row for *name*."""
    changed = tuple(replace(row, **changes) if row.name == name else row for row in REGISTERED)  # type: ignore[arg-type]
    return with_repmgr(topology, "pg1", nodes=changed)


# As PostgreSQL, libpq and OpenSSL say it where a role, a password, a certificate or a right has been changed by hand.
SHUT_OUT = [
    'pg_hba.conf rejects connection for host "10.0.0.1", user "pgherd_monitor", database "repmgr", SSL encryption',
    'password authentication failed for user "pgherd_monitor"',
    'role "pgherd_monitor" does not exist',
    'role "pgherd_monitor" is not permitted to log in',
    'permission denied for database "repmgr" DETAIL: User does not have CONNECT privilege',
    "permission denied for schema repmgr",
    "SSL error: certificate verify failed",
    # Of another authority that has the same name, such as one that was made without the secrets of the first.
    "SSL error: provider signature failure",
    'server certificate for "pg9" does not match host name "pg4"',
]


@pytest.mark.parametrize("why", SHUT_OUT)
def test_who_runs_and_lets_nobody_look_is_not_started(why: str) -> None:
    assert cure(stopped(H, "pg5", why), "node-down") == SITE
    # Nor taken from the clients, who may be served as ever.
    assert "backend-stale" not in {item.id for item in problems(CLUSTER, stopped(H, "pg5", why))}
    # Also where another problem names the same node.
    assert cure(stopped(H, "pg4", why), "sync-no-spare") == SITE
    pools = (replace(H.pgpools[0], backends=None, why=why), H.pgpools[1])
    assert cure(replace(H, pgpools=pools), "pgpool-down") == SITE
    silent = BarmanSeen("backup1", NOW, None, f"its agent does not answer: {why}")
    assert cure(replace(H, barmans=(silent,)), "barman-unreadable") == SITE


@pytest.mark.parametrize(
    "why",
    [
        "Connection refused",
        "no answer in time",
        "SSL SYSCALL error: EOF detected",
        "SSL error: unexpected eof while reading",
        "server closed the connection unexpectedly",
        "the database system is shutting down",
    ],
)
def test_who_may_be_down_is_started(why: str) -> None:
    assert cure(stopped(H, "pg5", why), "node-down") == start("pg5")


@pytest.mark.parametrize(
    "why", ["sorry, too many clients already", "remaining connection slots are reserved for roles with the SUPERUSER"]
)
def test_where_no_connection_is_left_it_is_looked_who_has_them(why: str) -> None:
    on, command = cure(stopped(H, "pg5", why), "node-down")
    assert (on, "FROM pg_stat_activity" in command) == ("pg5", True)


def test_a_server_that_comes_back_from_a_crash_is_waited_for() -> None:
    topology = stopped(H, "pg5", "the database system is in recovery mode")
    assert cure(topology, "node-starting") == ("pg5", "tail -n 0 -F /var/log/postgresql/postgresql-17-main.log")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('FATAL: directory "/srv/x" does not exist; Create this directory for the tablespace before restarting', SITE),
        ("FATAL: recovery aborted because of insufficient parameter settings", SITE),
        ("Clone into /data, where nothing was touched: wanted room", ("pg4", "journalctl -u pgherd-agent -n 20")),
        ("FATAL: out of memory", start("pg4")),
    ],
)
def test_what_its_log_says_holds_for_every_problem_that_names_it(said: str, expected: tuple[str, str]) -> None:
    topology = with_node(stopped(H, "pg4"), "pg4", words=said)
    for kind in ("node-down", "sync-no-spare"):
        assert cure(topology, kind) == expected


def all_standbys(*away: str) -> Topology:
    """Nobody is primary, and those that are not *away* run."""
    topology = with_postgres(H, "pg1", in_recovery=True, write_lsn=None, replay_lsn="0/5000060", senders=())
    for name in away:
        topology = stopped(topology, name)
    return topology


@pytest.mark.parametrize(
    ("topology", "expected"),
    [
        (stopped(H, "pg1"), start("pg1")),
        # It runs: starting it would change nothing, and agents elect where enough are there.
        (all_standbys("pg4"), start("pg4")),
        (all_standbys(), ("pg1", AGENT)),
    ],
)
def test_who_is_to_be_primary_again(topology: Topology, expected: tuple[str, str]) -> None:
    assert cure(topology, "no-primary") == expected


def failed_over(topology: Topology, *nodes: str) -> Topology:
    """*nodes* are on timeline 2, and their metadata say that pg2 took the place of pg1."""
    old, new = replace(REGISTERED[0], active=False), replace(REGISTERED[1], type="primary", upstream_id=None)
    for name in nodes:
        topology = with_postgres(with_repmgr(topology, name, nodes=(old, new, *REGISTERED[2:])), name, timeline=2)
    return topology


@pytest.mark.parametrize(
    "topology",
    [
        # The former one is stopped, or runs as a standby with the metadata of its own time.
        failed_over(stopped(stopped(H, "pg1"), "pg2"), "pg3", "pg4", "pg5"),
        failed_over(all_standbys("pg2"), "pg3", "pg4", "pg5"),
    ],
)
def test_the_last_primary_is_not_the_one_before(topology: Topology) -> None:
    assert cure(topology, "no-primary") == start("pg2")


def test_below_one_that_does_not_stream_that_one_is_brought_back() -> None:
    """Following the same one again would change nothing."""
    topology = with_postgres(H, "pg4", upstream="", receiver="")
    assert cure(topology, "not-streaming", "pg5") == cure(topology, "not-streaming", "pg4") == ("pg4", AGENT)


@pytest.mark.parametrize("above", ["pg5", "10.9.9.9"])
def test_a_ring_or_a_stranger_is_left_for_the_primary(above: str) -> None:
    topology = with_postgres(H, "pg4", upstream=above)
    expected = ("pg4", f"{REPMGR} standby follow --upstream-node-id=1")
    assert cure(topology, "not-streaming", "pg4") == expected


def test_nobody_is_pointed_at_one_that_does_not_stream() -> None:
    topology = with_postgres(stopped(H, "pg4"), "pg5", upstream="pg2", receiver="streaming")
    assert cure(topology, "wrong-upstream") == ("pg5", f"{REPMGR} standby follow --upstream-node-id=1")


def test_a_standby_on_an_older_timeline_is_its_agents() -> None:
    """repmgr's follow refuses one whose history has parted from the primary's; the agent rewinds it."""
    assert cure(with_postgres(H, "pg1", timeline=2), "timeline-behind", "pg5") == ("pg5", AGENT)


LOST = Slot("repmgr_slot_5", "physical", False, "lost")
DROP = """sudo -u postgres psql -c "SELECT pg_drop_replication_slot('{}')\""""


@pytest.mark.parametrize(
    ("topology", "node", "slot", "expected"),
    [
        # Its agent clones it where nothing else will do, and keeps what only it has.
        (stopped(H, "pg5"), "pg4", "repmgr_slot_5", start("pg5")),
        (with_postgres(H, "pg5", upstream="", receiver=""), "pg4", "repmgr_slot_5", ("pg5", AGENT)),
        # It streams, here or elsewhere: nothing of its own is lost.
        (H, "pg2", "repmgr_slot_5", ("pg2", DROP.format("repmgr_slot_5"))),
        (H, "pg2", "repmgr_slot_1", ("pg2", DROP.format("repmgr_slot_1"))),
        # Without its slot the receiver would go on asking for what is gone, and the playbook would not see why.
        (H, "pg1", "barman", SITE),
        (H, "pg2", "barman", ("pg2", DROP.format("barman"))),
        (H, "pg1", "old_one", ("pg1", DROP.format("old_one"))),
    ],
)
def test_a_slot_that_has_lost_wal(topology: Topology, node: str, slot: str, expected: tuple[str, str]) -> None:
    assert cure(with_postgres(topology, node, slots=(replace(LOST, name=slot),)), "slot-lost") == expected


@pytest.mark.parametrize(
    ("topology", "kind", "node", "expected"),
    [
        # Without an upstream repmgr would put the primary into the row.
        (
            rows(H, "pg5", active=False),
            "metadata-inactive",
            "pg5",
            ("pg5", f"{REPMGR} standby register --force --upstream-node-id=4"),
        ),
        (
            rows(with_postgres(H, "pg5", upstream="", receiver=""), "pg5", type="primary"),
            "metadata-role",
            "pg5",
            ("pg5", f"{REPMGR} standby register --force --upstream-node-id=4"),
        ),
        (rows(H, "pg1", type="standby"), "metadata-role", "pg1", ("pg1", f"{REPMGR} primary register --force")),
        (
            rows(H, "w1", active=False),
            "metadata-inactive",
            "w1",
            ("w1", f"{REPMGR} witness register --force -h pg1"),
        ),
        # repmgr refuses to register a witness over another's row; without one, it is not registered, which is the playbook's.
        (
            rows(H, "w1", type="standby"),
            "metadata-role",
            "w1",
            ("pg1", f"{REPMGR} standby unregister --node-id=6"),
        ),
        # It refuses a second ID for a name, too: the row that has it goes, and the node's agent registers it.
        (rows(H, "pg5", id=7), "metadata-role", "pg5", ("pg1", f"{REPMGR} standby unregister --node-id=7")),
        (rows(H, "w1", id=7), "metadata-role", "w1", ("pg1", f"{REPMGR} witness unregister --node-id=7")),
    ],
)
def test_a_row_is_registered_as_repmgr_takes_it(
    topology: Topology, kind: str, node: str, expected: tuple[str, str]
) -> None:
    assert cure(topology, kind, node) == expected


def test_a_witness_finds_the_primary_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of the inventory need not resolve on any host."""
    nodes = tuple(replace(node, address="10.0.0.1") if node.name == "pg1" else node for node in CLUSTER.nodes)
    monkeypatch.setitem(globals(), "CLUSTER", replace(CLUSTER, nodes=nodes))
    assert cure(rows(H, "w1", active=False), "metadata-inactive")[1].endswith("-h 10.0.0.1")


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("standby", "standby unregister --node-id=9"),
        ("witness", "witness unregister --node-id=9"),
        # What is called active goes by force only.
        ("primary", "primary unregister --force --node-id=9"),
    ],
)
def test_a_stranger_is_unregistered_as_what_its_row_says(kind: str, command: str) -> None:
    stranger = replace(REGISTERED[1], id=9, name="pg9", type=kind)
    topology = with_repmgr(H, "pg1", nodes=(*REGISTERED, stranger))
    assert cure(topology, "metadata-stranger") == ("pg1", f"{REPMGR} {command}")


def granted(what: str) -> tuple[str, str]:
    return "pg1", f'sudo -u postgres psql -d repmgr -c "GRANT {what} TO pgherd_monitor"'


@pytest.mark.parametrize(
    ("why", "expected"),
    [
        ("permission denied for function pg_wal_lsn_diff", granted("EXECUTE ON FUNCTION pg_wal_lsn_diff")),
        ("permission denied for view pg_stat_replication", granted("SELECT ON pg_stat_replication")),
        # What is repmgr's or ours the playbook grants.
        ("permission denied for function get_upstream_last_seen", SITE),
        ("permission denied for table nodes", SITE),
    ],
)
def test_a_right_that_everybody_had_is_granted_by_hand(why: str, expected: tuple[str, str]) -> None:
    """The playbook grants what PostgreSQL does not give to all, and would change nothing here."""
    assert cure(with_postgres(H, "pg5", details_why=why), "details-unreadable") == expected
    assert cure(with_node(H, "pg5", repmgr=None, repmgr_why=why), "metadata-unreadable") == expected
    assert cure(stopped(H, "pg5", why), "node-down") == expected


@pytest.mark.parametrize("why", ["statement timeout", "conflict with recovery"])
def test_where_a_statement_took_too_long_it_is_looked_what_for(why: str) -> None:
    """It is no question of rights, and the server runs."""
    said = f"canceling statement due to {why}"
    for topology, kind in (
        (with_postgres(H, "pg5", details_why=said), "details-unreadable"),
        (with_node(H, "pg5", repmgr=None, repmgr_why=said), "metadata-unreadable"),
        (stopped(H, "pg5", said), "node-down"),
    ):
        on, command = cure(topology, kind)
        assert (on, "pg_blocking_pids(pid)" in command) == ("pg5", True)


def test_a_right_that_is_gone_everywhere_is_granted_where_that_works() -> None:
    """Nobody's state can be read, so that nobody is known to be primary; the playbook would change nothing."""
    why, topology = "permission denied for function pg_postmaster_start_time", H
    for node in CLUSTER.data_nodes:
        topology = stopped(topology, node.name, why)
    command = granted("EXECUTE ON FUNCTION pg_postmaster_start_time")[1]
    for node in CLUSTER.data_nodes:
        assert cure(topology, "node-down", node.name) == (node.name, command)


RESET = 'sudo -u postgres psql -c "ALTER SYSTEM RESET {}" -c "SELECT pg_reload_conf()"'


@pytest.mark.parametrize(
    ("altered", "expected"),
    [(("synchronous_standby_names",), ("pg1", RESET.format("synchronous_standby_names"))), (("work_mem",), SITE)],
)
def test_what_alter_system_has_set_is_reset(altered: tuple[str, ...], expected: tuple[str, str]) -> None:
    """It goes before the files that the playbook writes."""
    topology = with_postgres(H, "pg1", synchronous_standby_names="", altered=altered)
    assert cure(topology, "sync-names") == expected


@pytest.mark.parametrize(
    ("altered", "expected"), [(("max_connections",), ("pg5", RESET.format("max_connections"))), (("work_mem",), SITE)]
)
def test_a_limit_that_alter_system_has_lowered_is_reset_first(
    altered: tuple[str, ...], expected: tuple[str, str]
) -> None:
    topology = with_postgres(H, "pg1", limits={"max_connections": 400})
    topology = with_postgres(topology, "pg5", replay_paused=True, limits={"max_connections": 300}, altered=altered)
    assert cure(topology, "replay-paused") == expected
