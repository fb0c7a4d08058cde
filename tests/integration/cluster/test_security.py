# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Who can connect from where and how, who may do what, what listens."""

from __future__ import annotations

import datetime
import re
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from deployed import Deployed, Host, everywhere, until

MONITOR, POOL = "pgherd_monitor", "pgpool_check"
AGENT = "pgherd_agent"
MEMBERSHIPS = {
    "repmgr": ["pg_monitor"],
    AGENT: ["pg_checkpoint", "pg_monitor", "pg_signal_backend"],
    MONITOR: ["pg_monitor"],
    POOL: ["pg_monitor"],
    "barman": ["pg_checkpoint", "pg_read_all_settings", "pg_read_all_stats"],
    "streaming_barman": [],
}
REPLICATION = {AGENT, "streaming_barman"}
# Who has a place when clients have taken all others; PostgreSQL 16 and later.
PLACES = {"repmgr", AGENT, MONITOR, POOL}


@pytest.fixture(params=["node", "pgpool"])
def door(request: pytest.FixtureRequest, cluster: Deployed) -> tuple[Host, int]:
    """Where clients come in: host and port."""
    if request.param == "node":
        return cluster.primary, 5432
    return cluster.group("pgpool")[0], int(cluster.wanted("pgpool_port", 9999))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of an authority that has nothing to do with the cluster."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pgherd CA")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    path = tmp_path_factory.mktemp("stranger") / "ca.crt"
    path.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


def test_every_session_is_encrypted(cluster: Deployed) -> None:
    """Of all sessions that come over the network, receivers and checks included, none is without TLS 1.2 or later."""
    query = (
        "SELECT usename, host(client_addr) AS ip, ssl, version FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
        " WHERE client_addr IS NOT NULL"
    )

    def users() -> set[str]:
        """All that are there at a moment, where every node has some."""
        found = everywhere(cluster.nodes, lambda host: host.rows(query))
        for name, rows in found.items():
            assert [row for row in rows if not row["ssl"] or row["version"] not in ("TLSv1.2", "TLSv1.3")] == [], name
        return {row["usename"] for rows in found.values() for row in rows} if all(found.values()) else set()

    # One that was just ended is about to come again.
    until("a look at all roles' sessions", lambda: {"repmgr", AGENT, "streaming_barman", MONITOR} <= users())


def test_no_session_without_tls(cluster: Deployed, door: tuple[Host, int]) -> None:
    """The right password does not help a client that does not encrypt."""
    with pytest.raises(
        psycopg.OperationalError, match=r"no pg_hba.conf entry .* no encryption|no pool_hba.conf entry|SSL off"
    ):
        cluster.connect(door[0], "app", door[1], sslmode="disable")


def test_certificates(cluster: Deployed, door: tuple[Host, int], stranger: Path) -> None:
    """Servers prove name and address, where the inventory has that; another authority or another name is not believed."""
    host, port = door
    for name in (host.name, *([host.ip] if "ansible_host" in host.vars else [])):
        cluster.connect(host, "app", port, host=name).close()
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        cluster.connect(host, "app", port, sslrootcert=str(stranger))
    others = [other.name for other in cluster.hosts.values() if other != host]
    for name in ("example.org", others[0]):
        with pytest.raises(psycopg.OperationalError, match="does not match host name"):
            cluster.connect(host, "app", port, host=name)


def test_verified_everywhere(cluster: Deployed) -> None:
    """Parts that connect to each other check the name too: receivers, repmgr's own lines, Barman (its own tests)."""
    receiver = "SELECT conninfo FROM pg_stat_wal_receiver WHERE status = 'streaming'"
    for host in cluster.standbys:
        line = until("the receiver", lambda host=host: host.rows(receiver))[0]["conninfo"]
        assert "sslmode=verify-full" in line
        assert "sslrootcert=/etc/pgherd/tls/ca.crt" in line
        assert "channel_binding=require" in line
        assert f"user={AGENT}" in line
    for line in cluster.primary.rows("SELECT conninfo FROM repmgr.nodes", "repmgr"):
        assert "sslmode=verify-full" in line["conninfo"]
        assert "channel_binding=require" in line["conninfo"]


def test_from_elsewhere(cluster: Deployed, door: tuple[Host, int]) -> None:
    """A host outside the networks is refused before it is asked for a password, even one of the cluster's own."""
    outside = cluster.group("barman")[0]
    line = (
        f"host={door[0].name} port={door[1]} user=app dbname=app sslmode=verify-full sslrootcert=/etc/pgherd/tls/ca.crt"
    )
    done = outside.result("psql -Xwc %s %s", "SELECT 1", line)
    assert done.rc == 2
    assert re.search(r"no pg_hba.conf entry|no pool_hba.conf entry|pool_hba", done.stderr), done.stderr


def test_superuser_stays_at_home(cluster: Deployed) -> None:
    """postgres comes in through the socket as the system's postgres or root; a user of the system's does not."""
    host = cluster.primary
    assert host.run("sudo -u postgres psql -XAtqc %s", "SELECT session_user").strip() == "postgres"
    # The host is named, since Debian's psql looks it up in postgresql.conf, which is not everybody's to read.
    line = "setpriv --reuid=65534 --clear-groups psql -XAtqw -h /var/run/postgresql -U postgres -d postgres -c %s"
    done = host.result(line, "SELECT 1")
    assert (done.rc, "Peer authentication failed" in done.stderr) == (2, True), done.stderr


def test_roles(cluster: Deployed) -> None:
    """Exactly the roles that are wanted, on a witness pgherd's own two, each with what docs/security.md says."""
    query = (
        "SELECT rolname AS name, rolsuper AS super, rolcreatedb OR rolcreaterole OR rolbypassrls AS more,"
        " rolreplication AS replication,"
        " array(SELECT roleid::regrole::text FROM pg_auth_members WHERE member = r.oid ORDER BY 1) AS member"
        " FROM pg_roles r WHERE rolname !~ '^pg_'"
    )
    places = ["pg_use_reserved_connections"] if cluster.version >= 16 else []
    users = {user["name"] for user in cluster.wanted("users")}
    for host in cluster.nodes:
        own = {"repmgr", MONITOR} if host in cluster.group("witness") else {*MEMBERSHIPS, *users}
        found = {row.pop("name"): row for row in host.rows(query)}
        assert set(found) == {"postgres", *own}, host.name
        for name in own & set(MEMBERSHIPS):
            member = sorted(MEMBERSHIPS[name] + (places if name in PLACES else []))
            rights = {"super": False, "more": False, "replication": name in REPLICATION, "member": member}
            assert found[name] == rights, (host.name, name)
        assert [name for name, row in found.items() if row["super"]] == ["postgres"]


def test_roles_may_not(cluster: Deployed) -> None:
    """No role of pgherd's reads or writes the users' data, files, or programs; only repmgr writes, in its own database."""
    tables = "has_table_privilege('{0}', 'test_private', 'SELECT, INSERT, UPDATE, DELETE')"
    cluster.primary.sql("CREATE TABLE IF NOT EXISTS test_private ()", "app")
    try:
        for role in MEMBERSHIPS:
            may = cluster.primary.rows(
                f"SELECT {tables.format(role)} AS data, has_database_privilege('{role}', 'app', 'CREATE') AS make,"
                f" has_schema_privilege('{role}', 'public', 'CREATE') AS public,"
                f" has_function_privilege('{role}', 'pg_read_file(text)', 'EXECUTE') AS files,"
                f" has_function_privilege('{role}', 'pg_reload_conf()', 'EXECUTE') AS reload,"
                f" has_parameter_privilege('{role}', 'shared_preload_libraries', 'ALTER SYSTEM') AS alter",
                "app",
            )
            assert may == [dict.fromkeys(["data", "make", "public", "files", "reload", "alter"], False)], role
    finally:
        cluster.primary.sql("DROP TABLE test_private", "app")
    writes = "has_table_privilege('{}', oid, 'INSERT, UPDATE, DELETE, TRUNCATE')"
    writable = f"SELECT bool_or({writes}) FROM pg_class WHERE relkind = 'r'"
    found = {role: cluster.primary.value(writable.format(role), "repmgr") for role in MEMBERSHIPS}
    assert found == {role: role in ("repmgr", AGENT) for role in MEMBERSHIPS}


def test_only_agents_command(cluster: Deployed) -> None:
    """What seals, fences, promotes and reads files on a data node is the agents' role's, and no one but that locks in
    repmgr's database, where locks are orders."""
    functions = ("pg_promote(boolean,integer)", "pg_reload_conf()", "pg_read_binary_file(text)")
    settings = ("primary_conninfo", "primary_slot_name", "default_transaction_read_only")
    for role in MEMBERSHIPS:
        columns = [f"has_function_privilege('{role}', '{name}', 'EXECUTE')" for name in functions]
        columns += [f"has_parameter_privilege('{role}', '{name}', 'ALTER SYSTEM')" for name in settings]
        may = cluster.primary.rows(
            f"SELECT {', '.join(f'{what} AS c{at}' for at, what in enumerate(columns))}", "repmgr"
        )
        assert set(may[0].values()) == {role == AGENT}, role
    query = (
        "SELECT proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS lock, rolname AS role"
        " FROM pg_proc p, pg_roles r WHERE proname ~ '^pg_(try_)?advisory_(xact_)?lock' AND NOT rolsuper"
        " AND rolname !~ '^pg_' AND has_function_privilege(r.oid, p.oid, 'EXECUTE')"
    )
    for host in cluster.nodes:
        who = "repmgr" if host in cluster.group("witness") else AGENT
        assert host.rows(query, "repmgr") == [{"lock": "pg_try_advisory_lock(bigint)", "role": who}], host.name


def test_repmgrs_database_is_nobodys_business(cluster: Deployed) -> None:
    """Its owner is postgres, and of all others only three roles come in."""
    query = (
        "SELECT (SELECT datdba::regrole::text FROM pg_database WHERE datname = 'repmgr') AS owner,"
        " array(SELECT rolname::text FROM pg_roles WHERE NOT rolsuper AND rolname !~ '^pg_'"
        " AND has_database_privilege(oid, 'repmgr', 'CONNECT') ORDER BY 1) AS may,"
        " array(SELECT rolname::text FROM pg_roles WHERE NOT rolsuper AND rolname !~ '^pg_'"
        " AND has_database_privilege(oid, 'repmgr', 'CREATE, TEMPORARY') ORDER BY 1) AS make"
    )
    for host in cluster.nodes:
        own = [] if host in cluster.group("witness") else [AGENT]
        assert host.rows(query) == [{"owner": "postgres", "may": sorted([*own, MONITOR, "repmgr"]), "make": []}], (
            host.name
        )


def test_no_user_reaches_repmgrs_database(cluster: Deployed, door: tuple[Host, int]) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba.conf rejects connection|pool_hba"):
        cluster.connect(door[0], "app", door[1], dbname="repmgr")


def test_a_witness_neither_reads_nor_streams(cluster: Deployed) -> None:
    """With all that is there: repmgr's password. A way into a database is one for a base backup too, for a role that may
    stream."""
    for host in cluster.group("witness"):
        held = host.run("cat /var/lib/postgresql/.pgpass")
        assert AGENT not in held
        assert not host.shell.file("/etc/pgherd/agent.pgpass").exists
        line = f"host={cluster.primary.name} user=repmgr dbname=repmgr sslmode=verify-full sslrootcert=/etc/pgherd/tls/ca.crt"
        ask = "setpriv --reuid=postgres --regid=postgres --clear-groups env HOME=/var/lib/postgresql psql -XAtqwc %s %s"
        assert host.run(ask, "SELECT 1", line).strip() == "1"
        for words in (
            "SELECT pg_promote()",
            "SELECT pg_read_binary_file('PG_VERSION')",
            "SELECT pg_try_advisory_lock(1)",
        ):
            done = host.result(ask, words, line)
            assert (done.rc, "permission denied" in done.stderr) == (1, True), done.stderr
        done = host.result(ask, "BASE_BACKUP (TARGET 'blackhole')", f"{line} replication=database")
        assert (done.rc, "walsender" in done.stderr.lower().replace(" ", "")) == (2, True), done.stderr


def test_only_repmgr_commands_repmgrd(cluster: Deployed) -> None:
    """The extension gives its functions, which pause repmgrd or tell it of an election, to everybody: not here."""
    query = (
        "SELECT proname AS name, rolname AS role FROM pg_roles, pg_proc WHERE pronamespace = 'repmgr'::regnamespace"
        " AND NOT rolsuper AND rolname !~ '^pg_' AND has_function_privilege(pg_roles.oid, pg_proc.oid, 'EXECUTE')"
    )
    every = {
        row["proname"]
        for row in cluster.primary.rows(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'repmgr'::regnamespace", "repmgr"
        )
    }
    assert {"repmgrd_pause", "repmgrd_is_paused", "set_upstream_last_seen"} <= every
    read = {"repmgrd_is_running", "repmgrd_is_paused", "get_upstream_last_seen"}
    for host in (cluster.primary, *cluster.group("witness")):
        found: dict[str, set[str]] = {}
        for row in host.rows(query, "repmgr"):
            found.setdefault(row["role"], set()).add(row["name"])
        own = {} if host in cluster.group("witness") else {AGENT: read}
        assert found == {"repmgr": every, MONITOR: read, **own}, host.name


def test_sudo(cluster: Deployed) -> None:
    """postgres may run nine commands as root on a node and nothing on other hosts; so for barman."""
    verbs = ("start", "stop", "restart", "reload", "reset-failed", "start --no-block")
    units = [f"/usr/bin/systemctl {verb} {cluster.unit}" for verb in verbs]
    units += [f"/usr/bin/systemctl {verb} repmgrd.service" for verb in ("start", "stop", "restart")]
    for host in cluster.nodes:
        allowed = re.findall(r"^ +\((.*?)\) (.*)$", host.run("sudo -l -U postgres"), re.M)
        assert sorted(allowed) == sorted(("root", f"NOPASSWD: {command}") for command in units), host.name
        host.run("visudo -c")
    for host in cluster.group("pgpool"):
        assert "not allowed to run sudo" in host.run("sudo -l -U postgres")
    for host in cluster.group("barman"):
        assert "not allowed to run sudo" in host.run("sudo -l -U barman")


def test_what_listens(cluster: Deployed) -> None:
    """On addresses of the network: ssh, the one service of the host, the agent, and data nodes' for others. Nothing more."""
    agent, pool = str(cluster.wanted("agent_port", 8765)), str(cluster.wanted("pgpool_port", 9999))
    peer, witnesses = str(cluster.wanted("peer_port", 8767)), {host.name for host in cluster.group("witness")}
    wanted = {host.name: {"22", agent, "5432", *(() if host.name in witnesses else (peer,))} for host in cluster.nodes}
    wanted |= {host.name: {"22", agent, pool} for host in cluster.group("pgpool")}
    wanted |= {host.name: {"22", agent} for host in cluster.group("barman")}

    def open_ports(host: Host) -> set[str]:
        listening = [line.split()[3] for line in host.run("ss -Hltn").splitlines()]
        return {
            port for address, _colon, port in (item.rpartition(":") for item in listening) if address not in LOOPBACK
        }

    assert everywhere(cluster.hosts.values(), open_ports) == wanted


LOOPBACK = ("127.0.0.1", "[::1]")


def test_agent_on_the_barman_host(cluster: Deployed) -> None:
    """It answers over TLS with the host's certificate, and not otherwise."""
    context = ssl.create_default_context(cafile=str(cluster.secrets / "ca.crt"))
    for host in cluster.group("barman"):
        port = int(cluster.wanted("agent_port", 8765))
        assert host.https(port, "/barman", context)[0] == 200
        with pytest.raises((urllib.error.URLError, ConnectionError, OSError)):
            urllib.request.urlopen(f"http://{host.ip}:{port}/barman", timeout=5)
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            host.https(port, "/barman", ssl.create_default_context())


def test_hosts_trust_no_neighbour(cluster: Deployed) -> None:
    """pg_hba.conf as the servers read it: TLS and SCRAM on every remote line that lets in; no line that cannot be read."""
    query = "SELECT type, auth_method, error, options FROM pg_hba_file_rules"
    for name, rows in everywhere(cluster.nodes, lambda host: host.rows(query)).items():
        assert [row for row in rows if row["error"]] == []
        remote = {(row["type"], row["auth_method"]) for row in rows if row["type"] != "local"}
        assert remote <= {("hostssl", "scram-sha-256"), ("host", "reject")}, name
        local = {row["auth_method"] for row in rows if row["type"] == "local"}
        assert local == {"peer", "scram-sha-256"}, name
