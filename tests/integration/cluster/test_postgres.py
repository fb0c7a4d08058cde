# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the inventory says of PostgreSQL, as the servers show it."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest
from deployed import MISSED, Deployed, everywhere, until

SYSTEM_SETTINGS = {"ssl": "on", "password_encryption": "scram-sha-256", "ssl_min_protocol_version": "TLSv1.2"}


def text(value: Any) -> str:
    """A value as SHOW writes it."""
    return {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def test_settings(cluster: Deployed) -> None:
    """C59: every setting of the inventory, whatever commas, colons, quotes and backslashes it has, on every node."""
    wanted = {key: text(value) for key, value in cluster.wanted("postgres_settings").items()}
    assert re.search(r"[,].*[:].*'|'.*[:].*[,]", wanted["log_line_prefix"])
    for host in cluster.nodes:
        assert {key: host.show(key) for key in wanted} == wanted, host.name
        assert {key: host.show(key) for key in SYSTEM_SETTINGS} == SYSTEM_SETTINGS, host.name
        assert host.rows("SELECT name FROM pg_settings WHERE pending_restart") == [], host.name


def test_odd_prefix_in_the_log(cluster: Deployed) -> None:
    """C59: the setting does what it says: lines of the log have the prefix with its quotes, colon and comma."""
    host = cluster.primary
    host.run("psql -XU postgres -c %s", "SELECT test_nothing()", rc=1)
    log = f"/var/log/postgresql/postgresql-{cluster.version}-main.log"
    line = r"\[\d+\] 'psql': postgres@postgres, ERROR: .*test_nothing"
    until("the line", lambda: re.search(line, host.run("tail -n 200 %s", log)))


def test_initdb(cluster: Deployed) -> None:
    """Data checksums, locale and encoding are the inventory's, in all copies."""
    for host in cluster.data_nodes:
        assert host.show("data_checksums") == text(cluster.wanted("data_checksums", True)), host.name
    columns = "pg_encoding_to_char(encoding) AS e, datcollate AS c, datctype AS t"
    query = f"SELECT {columns} FROM pg_database WHERE datname = 'postgres'"
    locale = cluster.wanted("locale", "C.UTF-8")
    assert cluster.primary.rows(query) == [{"e": cluster.wanted("encoding", "UTF8"), "c": locale, "t": locale}]


def test_directories(cluster: Deployed) -> None:
    """Data and WAL lie where the inventory wants them, on the nodes that were cloned too; nobody else can look in."""
    for host in cluster.data_nodes:
        assert host.show("data_directory") == cluster.data_directory
        data = host.shell.file(cluster.data_directory)
        assert (data.user, data.mode) == ("postgres", 0o700)
        wal = cluster.wanted("wal_directory")
        assert host.run("realpath %s", f"{cluster.data_directory}/pg_wal").strip() == (
            wal or f"{cluster.data_directory}/pg_wal"
        )
        segment = host.value("SELECT name FROM pg_ls_waldir() ORDER BY modification DESC LIMIT 1")
        assert host.shell.file(f"{wal or cluster.data_directory + '/pg_wal'}/{segment}").exists
    # No configuration in the data directory: a clone or a rewind would copy it from elsewhere.
    for host in cluster.nodes:
        assert host.show("config_file") == f"/etc/postgresql/{cluster.version}/main/postgresql.conf"


def test_databases(cluster: Deployed) -> None:
    """Owner, encoding, locale, tablespace of each database."""
    query = (
        "SELECT datname AS name, pg_get_userbyid(datdba) AS owner, pg_encoding_to_char(encoding) AS encoding,"
        " datcollate AS locale, spcname AS tablespace FROM pg_database d JOIN pg_tablespace s ON s.oid = dattablespace"
    )
    found = {row["name"]: row for row in cluster.primary.rows(query)}
    for wanted in cluster.wanted("databases"):
        plain = {"encoding": cluster.wanted("encoding", "UTF8"), "locale": cluster.wanted("locale", "C.UTF-8")}
        assert found[wanted["name"]] == {"tablespace": "pg_default", **plain, **wanted}


def test_users(cluster: Deployed) -> None:
    """Attributes, memberships, settings and connection limit of each user; its settings hold in its sessions."""
    query = (
        "SELECT rolname AS name, rolcreatedb AS createdb, rolcreaterole AS createrole, rolsuper AS superuser,"
        " rolreplication AS replication, rolbypassrls AS bypassrls, rolconnlimit AS connection_limit, rolcanlogin AS login,"
        " array(SELECT roleid::regrole::text FROM pg_auth_members WHERE member = r.oid ORDER BY 1) AS memberships"
        " FROM pg_roles r"
    )
    found = {row["name"]: row for row in cluster.primary.rows(query)}
    plain = {"createdb": False, "createrole": False, "superuser": False, "replication": False, "bypassrls": False}
    for user in cluster.wanted("users"):
        wanted = {key: value for key, value in user.items() if key not in ("password", "settings")}
        assert found[user["name"]] == {**plain, "connection_limit": -1, "login": True, "memberships": [], **wanted}
        if user.get("settings"):
            with cluster.connect(cluster.primary, user["name"], dbname="latin") as client:
                for key, value in user["settings"].items():
                    assert client.execute(f"SHOW {key}").fetchone() == {key: value}


def test_connection_limit(cluster: Deployed) -> None:
    """The user's own limit is the server's."""
    limited = [user for user in cluster.wanted("users") if user.get("connection_limit")]
    for user in limited:
        clients = [
            cluster.connect(cluster.primary, user["name"], dbname="latin") for _turn in range(user["connection_limit"])
        ]
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            cluster.connect(cluster.primary, user["name"], dbname="latin")
        for client in clients:
            client.close()


def test_tablespaces(cluster: Deployed) -> None:
    """A table in it has its files below the tablespace's directory, on every data node."""
    for space in cluster.wanted("tablespaces", []):
        columns = "pg_tablespace_location(oid) AS location, pg_get_userbyid(spcowner) AS owner"
        query = f"SELECT {columns} FROM pg_tablespace WHERE spcname = '{space['name']}'"
        assert cluster.primary.rows(query) == [{"location": space["location"], "owner": space["owner"]}]
        cluster.primary.sql(f"CREATE TABLE test_there (id int) TABLESPACE {space['name']}")
        cluster.primary.sql("INSERT INTO test_there VALUES (1)")
        path = cluster.primary.value("SELECT pg_relation_filepath('test_there')")
        for host in cluster.data_nodes:
            where = host.run("readlink %s", f"{cluster.data_directory}/{'/'.join(path.split('/')[:2])}").strip()
            assert where == space["location"]
            file = f"{cluster.data_directory}/{path}"
            until(f"{file} on {host.name}", lambda host=host, file=file: host.shell.file(file).exists)
        cluster.primary.sql("DROP TABLE test_there")


def test_extensions(cluster: Deployed) -> None:
    """Each is in its database; one that is preloaded and has a package of its own works: pgaudit writes what it saw."""
    for extension in cluster.wanted("extensions"):
        found = cluster.primary.value(
            f"SELECT n.nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace"
            f" WHERE extname = '{extension['name']}'",
            extension["database"],
        )
        assert found == extension.get("schema", "public")
        if extension.get("preload"):
            for host in cluster.data_nodes:
                assert extension["name"] in host.show("shared_preload_libraries").split(",")
    cluster.primary.sql("CREATE TABLE test_audited (); DROP TABLE test_audited", "app")
    log = f"/var/log/postgresql/postgresql-{cluster.version}-main.log"
    audited = r"AUDIT: SESSION,\d+,\d+,DDL,CREATE TABLE,TABLE,public.test_audited"
    until("pgaudit's line", lambda: re.search(audited, cluster.primary.run("tail -n 100 %s", log)))


def test_listening_sockets(cluster: Deployed) -> None:
    """PostgreSQL on its port at all addresses and in its directory, which only its own tools need; nothing else of it."""
    for host in cluster.nodes:
        assert host.shell.socket("tcp://0.0.0.0:5432").is_listening
        assert host.shell.socket("unix:///var/run/postgresql/.s.PGSQL.5432").is_listening
        sockets = host.run("ss -Hltnp").splitlines()
        ports = {line.split()[3].rpartition(":")[2] for line in sockets if '"postgres"' in line}
        assert ports == {"5432"}
        assert host.shell.service(cluster.unit).is_running
        clusters = host.run("pg_lsclusters --no-header").splitlines()
        assert [line.split()[:2] for line in clusters] == [[str(cluster.version), "main"]]


def test_stop_is_graceful(cluster: Deployed) -> None:
    """C86: a stop with an idle session open ends soon, clean on the disk, and the standby comes back where it was, also where
    its number has become another process'."""
    host = cluster.leaves[-1]
    sender = "SELECT sender_host FROM pg_stat_wal_receiver WHERE status = 'streaming'"
    before = until("its stream", lambda: host.rows(sender))
    with cluster.connect(host, "app", connect_timeout=5) as client:
        client.execute("SELECT 1")
        with cluster.stopped(host, cluster.unit):
            with pytest.raises(psycopg.OperationalError):
                client.execute("SELECT 1")
            control = f"/usr/lib/postgresql/{cluster.version}/bin/pg_controldata"
            assert re.search(r"state: +shut down in recovery\n", host.run(f"{control} %s", cluster.data_directory))
            assert host.run("systemctl is-failed %s", cluster.unit, rc=None).strip() == "inactive"
            # As a power cut may leave it: the number of the last postmaster is the agent's now.
            left = f"{cluster.data_directory}/postmaster.pid"
            host.run("install -o postgres -g postgres -m 0600 /dev/null %s", left)
            host.run("systemctl show --value -p MainPID pgherd-agent >%s", left)
    until("its stream where it was", lambda: host.rows(sender) == before, 60)


def test_stop_during_the_start(cluster: Deployed) -> None:
    """A stop that comes before systemd has seen the start end is a fast shutdown too: of processes that SIGTERM reaches one by
    one some come back, and the stop lasts an hour."""
    host = cluster.leaves[-1]
    slow = f"/run/systemd/system/{cluster.unit}.d/test.conf"
    log = f"/var/log/postgresql/postgresql-{cluster.version}-main.log"
    host.run("printf '[Service]\\nExecStartPost=/bin/sleep 60\\n' | install -D -m 0644 /dev/stdin %s", slow)
    try:
        host.unit("stop", cluster.unit)
        host.run("systemctl daemon-reload; systemctl start --no-block %s", cluster.unit)
        until("the server", lambda: host.result("runuser -u postgres -- psql -XAtqc 'SELECT 1'").rc == 0, 45)
        assert host.run("systemctl is-active %s", cluster.unit, rc=None).strip() == "activating"
        with cluster.connect(host, "app", connect_timeout=5):
            host.run("timeout 60 systemctl stop %s", cluster.unit)
        requests = re.findall("received (.+) shutdown request", host.run("tail -n 50 %s", log))
        assert requests[-1] == "fast"
    finally:
        host.run("rm %s; systemctl daemon-reload; systemctl start %s", slow, cluster.unit)
    cluster.settle()


def test_killed_server_comes_back(cluster: Deployed) -> None:
    """A postmaster that dies is started again by systemd, and streams from its upstream again."""
    host = cluster.leaves[0]
    started = "SELECT pg_postmaster_start_time()::text"
    before = host.value(started)
    host.run("kill -KILL $(head -n 1 %s)", f"{cluster.data_directory}/postmaster.pid")

    def again() -> bool:
        done = host.result("psql -XAtqU postgres -c %s", started)
        return done.rc == 0 and done.stdout.strip() != before

    until("another postmaster", again, 90)
    receiver = "SELECT sender_host FROM pg_stat_wal_receiver WHERE status = 'streaming'"
    upstream = [{"sender_host": cluster.upstream(host)}]
    until("its stream", lambda: host.rows(receiver) == upstream, 90, missed=MISSED)
    cluster.settle()


def test_hba_line_of_the_user(cluster: Deployed) -> None:
    """A line of the inventory stands after pgherd's own and before those of the networks, and counts."""
    users = {user["name"] for user in cluster.wanted("users")}
    if "barred" not in users:
        pytest.skip("the inventory bars nobody")
    everywhere(cluster.data_nodes, lambda host: refused(cluster, host))


def refused(cluster: Deployed, host: Any) -> None:
    """A user whom the line rejects, with the right password, from a network that is let in."""
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects connection"):
        cluster.connect(host, "barred")
