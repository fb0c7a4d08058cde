# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What an attacker has where he stands: sessions with passwords that he holds, files as the host's users, root's next run.

Passwords are taken from the control machine. That is no cheating: whoever has a host has the passwords that it needs, and a
test names the host.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import yaml
from faults.cluster import APP, CHECKOUT, Cluster, LabError, environment, until
from psycopg import conninfo

sys.path.append(str(CHECKOUT / "plugins/module_utils"))
from pgherd.observe.node_state import ASKING, SEAL_LOCK, STOP_LOCK
from pgherd.observe.peer_answers import QUESTION

OWN = "repmgr"  # pgherd's database
TENANT = "tenant"  # another client's role, which owns the database of that name
MARK = "/var/lib/postgresql/.pgherd-rejoin"  # a note of the agents'
EVIDENCE = {"verb": "evidence", "question": QUESTION}  # what the start guard asks another node's agent for
SESSION = str(CHECKOUT / "tests/attacks/session.py")
PROOF = "/srv/proof"  # root's, with root's file in it; everybody may look at the directory
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
REFUSED = "permission denied|must be superuser|must be a superuser|must be a member of"

# What commands a server or reads its files. Harmless where it is allowed, but for what allowed() takes back.
COMMANDS = {
    "reads files": "SELECT length(pg_read_binary_file('global/1260'))",  # pg_authid
    "lists files": "SELECT count(*) FROM pg_ls_dir('.')",
    "reads files by SQL": "CREATE TEMP TABLE t (line text); COPY t FROM '/etc/hostname'",
    "sets the fence": "ALTER SYSTEM SET default_transaction_read_only = off",
    "seals": "ALTER SYSTEM SET primary_slot_name = 'evil'",
    "reloads": "SELECT pg_reload_conf()",
    "promotes": "SELECT pg_promote()",  # asked of a primary
    "ends sessions": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'",
}


def password(cluster: Cluster, role: str) -> str:
    """The password of a role; '' when there is no such role."""
    return str(yaml.safe_load((cluster.secrets / "passwords.yml").read_text(encoding="utf-8")).get(role, ""))


def client(cluster: Cluster, host: str, role: str = APP, database: str = "", **more: Any) -> psycopg.Connection[Any]:
    """A client's session from this machine. Raises psycopg.Error."""
    line = conninfo.make_conninfo(
        cluster.dsn(host), user=role, dbname=database or role, password=password(cluster, role), connect_timeout=10
    )
    return psycopg.connect(line, autocommit=True, prepare_threshold=None, **more)


def _told(cluster: Cluster, role: str, to: str, database: str, statement: str, name: str = "attack") -> dict[str, Any]:
    more = {"user": role, "dbname": database, "password": password(cluster, role), "application_name": name}
    line = conninfo.make_conninfo(cluster.dsn(to), **more, connect_timeout=10)
    return {"dsn": line, "statements": statement.split("; "), "stay": False}


def ask(
    cluster: Cluster, where: str, role: str, to: str, statement: str, database: str = OWN, whole: bool = False
) -> str:
    """What a statement says that somebody on the host *where* sends with a role's password (several, one after the other,
    unless they are to be sent as a *whole*). Raises LabError."""
    told = _told(cluster, role, to, database, statement)
    if whole:
        told["statements"] = [statement]
    return cluster.place.in_network(where, sys.executable, SESSION, stdin=json.dumps(told)).strip()


def refusal(cluster: Cluster, where: str, role: str, to: str, statement: str, database: str = OWN) -> str:
    """How the server refused it; '' when it did not."""
    try:
        ask(cluster, where, role, to, statement, database)
    except LabError as error:
        return str(error)
    return ""


def allowed(cluster: Cluster, where: str, role: str, to: str, database: str = OWN) -> list[str]:
    """Which of COMMANDS somebody on *where* may give the server of *to*, which is a primary, with a role's password."""
    told = {**_told(cluster, role, to, database, ""), "statements": list(COMMANDS.values()), "each": True}
    with closing(client(cluster, to)):
        try:
            said = json.loads(cluster.place.in_network(where, sys.executable, SESSION, stdin=json.dumps(told)))
        finally:
            for name in ("default_transaction_read_only", "primary_slot_name"):
                cluster.rows(to, f"ALTER SYSTEM RESET {name}")
    return [what for what, words in zip(COMMANDS, said, strict=True) if not re.search(REFUSED, words)]


# Locks


def locks(session: psycopg.Connection[Any], *numbers: int) -> None:
    """Take session locks, or as many as are to be had."""
    for number in numbers:
        session.execute("SELECT pg_try_advisory_lock(%s)", [number])


@contextmanager
def locked_from(cluster: Cluster, where: str, role: str, node: str, *numbers: int) -> Iterator[bool]:
    """Somebody on the host *where* takes locks in pgherd's database on *node* with a role's password, and stays; whether he
    was let in, and got them."""
    taking = "; ".join(f"SELECT pg_try_advisory_lock({number})" for number in numbers)
    told = {**_told(cluster, role, node, OWN, taking, f"{ASKING}{node}"), "stay": True}
    words = [*cluster.place.entered(where), sys.executable, SESSION]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        yield process.stdout.readline().strip() == "True"
        process.stdin.close()
        process.wait(60)


# The host


def root_has(cluster: Cluster, host: str) -> None:
    """Root has a directory and a file there that nobody else may write, with a secret in it."""
    cluster.sh(host, f"rm -rf {PROOF}; install -d -m 0755 {PROOF}; umask 077; echo roots-own >{PROOF}/file")


def touched(cluster: Cluster, host: str) -> str:
    """What is not as root_has() made it; '' when all is."""
    found = cluster.sh(host, f"cd {PROOF}; stat -c '%n %U:%G %a' . file; cat file; ls -A")
    return "" if found.split("\n")[:4] == [". root:root 755", "file root:root 600", "roots-own", "file"] else found


def as_user(cluster: Cluster, host: str, user: str, script: str, check: bool = True) -> str:
    """What a script says that a user of the host's runs. Raises LabError."""
    return cluster.run(host, "runuser", "-u", user, "--", "sh", "-eu", stdin=script, check=check)


def roots_files(cluster: Cluster, host: str, files: list[Mapping[str, Any]], seconds: float = 120.0) -> str:
    """Root's next run states *files* of a host, as every play does; what it said. Raises subprocess.TimeoutExpired."""
    words = ["ansible", "-i", str(cluster.inventory_directory()), host, "--become"]
    words += ["-m", "pgherd.cluster.host_files", "-a", json.dumps({"files": files})]
    env = environment(cluster.name)
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=seconds, check=False)
    return done.stdout + done.stderr


def heal(cluster: Cluster, node: str) -> None:
    """Take away what attacks leave in a standby's files, and wait until it streams."""
    script = f"""
cd {cluster.data}
for file in postgresql.auto.conf standby.signal; do
  [ -L "$file" ] || continue
  cat "$file" >healed; chmod 0600 healed; chown postgres:postgres healed; mv healed "$file"
done
rm -f postgresql.auto.conf.new standby.signal.new
[ ! -L {MARK} ] || rm {MARK}
etc=/etc/postgresql/{cluster.version}
[ ! -d $etc/main.away ] || {{ rm -rf $etc/main; mv $etc/main.away $etc/main; }}
rm -rf {PROOF}
"""
    cluster.sh(node, script)
    if cluster.place.service_state(node, "postgres") != "running":
        cluster.place.service(node, "forget", "postgres")
        cluster.sh(node, f"systemctl start --no-block {cluster.unit}")
    until(f"{node} to stream again", lambda: streams(cluster, node), 120)


def streams(cluster: Cluster, node: str) -> bool:
    """Whether a standby streams."""
    return bool(cluster.value(node, "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"))


def started(cluster: Cluster, node: str) -> str:
    """When a server was started."""
    return str(cluster.value(node, "SELECT pg_postmaster_start_time()::text"))


def hold(seconds: float, so: Any, what: str) -> None:
    """*so* stays true for a time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert so(), f"{what}, but not after {seconds - (end - time.monotonic()):.1f} s"
        time.sleep(0.2)  # between two looks


__all__ = ["APP", "ASKING", "SEAL_LOCK", "STOP_LOCK", "Cluster", "LabError", "until"]
