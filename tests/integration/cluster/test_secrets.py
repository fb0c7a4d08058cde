# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""No password and no key shows anywhere: looked for in processes, output, logs, files and tables, all at work.

The site playbook runs once more, with every verbosity and a password that has to change, and is watched from outside.
Each search also looks for a word that was put there on purpose: one that does not find it has not searched.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import subprocess
import threading
from typing import Any

import psycopg
import pytest
import yaml
from deployed import Deployed, Host, everywhere, why

CHANGED = "spare"


def needles(cluster: Deployed) -> dict[str, str]:
    """What must not show, by whose it is: each password as it is, and as JSON, YAML and SQL would write it; each key."""
    found = {}
    for name, word in cluster.passwords.items():
        forms = [word, json.dumps(word)[1:-1], word.replace("'", "''"), word.replace("\\", "\\\\").replace(":", "\\:")]
        found |= {f"{name}, form {at}": form for at, form in enumerate(dict.fromkeys(forms))}
    for path in [cluster.secrets / "ca.key", *(cluster.secrets / "hosts").glob("*.key")]:
        body = [line for line in path.read_text(encoding="ascii").splitlines() if not line.startswith("-")]
        found[path.name] = body[1]
    return found


class Watch(threading.Thread):
    """Looks at argument lists and environments of all processes of this machine, those in its containers included."""

    def __init__(self, words: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self._names = {word.encode(): name for name, word in words.items()}
        self._words = re.compile(b"|".join(map(re.escape, self._names)))
        self._end = threading.Event()
        self._known: dict[str, bytes] = {}  # by process, its arguments: its environment is another one only with others
        self.seen: dict[tuple[str, str], str] = {}
        self.looks = 0

    def run(self) -> None:
        """Look until told to stop, some ten times a second."""
        while not self._end.wait(0.05):
            self.looks += 1
            for entry in os.scandir("/proc"):
                if entry.name.isdigit():
                    self._look(entry.name)

    def _look(self, pid: str) -> None:
        for where in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{where}", "rb") as file:
                    text = file.read()
            except OSError:
                continue  # it has ended
            if where == "cmdline":
                if self._known.get(pid) == text:
                    return
                self._known[pid] = text
            for match in self._words.finditer(text):
                self.seen.setdefault(
                    (self._names[match[0]], where), text[:300].replace(b"\0", b" ").decode(errors="replace")
                )

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        self.join()


@pytest.fixture(scope="module")
def run(cluster: Deployed) -> dict[str, Any]:
    """One watched run of the site playbook in which one user's password, whose line was taken out, is made anew."""
    store = cluster.secrets / "passwords.yml"
    kept = yaml.safe_load(store.read_text(encoding="utf-8"))
    old = kept.pop(CHANGED)
    words = {**needles(cluster), "the old one": old}
    canaries = {host.name: f"canary-{secrets.token_hex(8)}" for host in cluster.hosts.values()}
    watch = Watch({**words, **canaries})
    started = [
        host.run("CANARY=%s setsid sleep 1800 > /dev/null 2>&1 < /dev/null & echo $!", canaries[host.name]).strip()
        for host in cluster.hosts.values()
    ]
    store.write_text(yaml.safe_dump(kept, allow_unicode=True), encoding="utf-8")
    watch.start()
    try:
        done = cluster.play("-vvv", "--diff")
    finally:
        watch.stop()
        for host, pid in zip(cluster.hosts.values(), started):
            host.run("kill %s", pid)
    return {"done": done, "watch": watch, "words": {**words, **needles(cluster)}, "canaries": canaries, "old": old}


def test_a_password_changes(cluster: Deployed, run: dict[str, Any]) -> None:
    """The run changed it where it counts: servers and pgpools take the new one and no longer the old one."""
    done: subprocess.CompletedProcess[str] = run["done"]
    assert done.returncode == 0, why(done)
    assert cluster.passwords[CHANGED] != run["old"]
    for pool in cluster.group("pgpool"):
        cluster.through(pool, CHANGED).close()
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            cluster.through(pool, CHANGED, password=run["old"])
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        cluster.connect(cluster.primary, CHANGED, password=run["old"])


def test_output(cluster: Deployed, run: dict[str, Any]) -> None:
    """Neither -vvv nor --diff prints one; they do say what changed."""
    text = run["done"].stdout
    assert f"alter role {CHANGED}: password" in text
    assert "/etc/pgpool2/pool_passwd" in text
    assert "(another secret)" in text
    assert [name for name, word in run["words"].items() if word in text] == []


def test_processes(cluster: Deployed, run: dict[str, Any]) -> None:
    """None in an argument list or environment, on the hosts or the control machine, while the playbook ran."""
    watch: Watch = run["watch"]
    assert watch.looks > 50
    seen = {name for name, _where in watch.seen}
    assert seen >= set(run["canaries"]), "the processes of the hosts cannot be seen from here"
    assert {key: text for key, text in watch.seen.items() if key[0] not in run["canaries"]} == {}


SEARCH = """
import json, os, re, stat, subprocess
words, skip, roots = json.loads({words!r}), set({skip!r}), {roots!r}
names = {{word.encode(): name for name, word in words.items()}}
pattern = re.compile(b"|".join(map(re.escape, names)))
found = []
def search(where, data, mode, owner):
    found.extend([names[word], where, mode, owner] for word in set(pattern.findall(data)))
for root in roots:
    for directory, below, files in os.walk(root):
        below[:] = [name for name in below if os.path.join(directory, name) not in skip]
        for name in files:
            path = os.path.join(directory, name)
            try:
                status = os.lstat(path)
                if stat.S_ISREG(status.st_mode) and status.st_size < 64 << 20:
                    with open(path, "rb") as stream:
                        search(path, stream.read(), stat.S_IMODE(status.st_mode), status.st_uid)
            except FileNotFoundError:
                pass
journal = subprocess.run(["journalctl", "--no-pager", "--all", "--output=export"], stdout=subprocess.PIPE).stdout
search("the journal", journal, 0, 0)
print(json.dumps(found))
"""
ROOTS = ["/etc", "/var", "/root", "/home", "/tmp", "/run", "/srv", "/opt", "/usr/local", "/usr/lib/pgherd"]


def searched(cluster: Deployed, host: Host, words: dict[str, str]) -> list[tuple[str, str, int, int]]:
    """Where on a host what shows: (whose, file or journal, mode, owner's number). Not looked into: data and packages."""
    word = f"canary-{secrets.token_hex(8)}"
    host.run(
        "logger %s; journalctl --sync; install -m 600 /dev/null /var/log/test-canary; echo %s > /var/log/test-canary",
        word,
        word,
    )
    data = [
        cluster.data_directory,
        f"/var/lib/postgresql/{cluster.version}/main",
        cluster.wanted("wal_directory") or "",
    ]
    skip = [*data, cluster.backups, "/var/cache/apt", "/var/lib/apt", "/var/lib/dpkg", "/var/log/journal", "/run/log"]
    program = SEARCH.format(words=json.dumps({**words, "canary": word}), skip=skip, roots=ROOTS)
    found = [tuple(item) for item in json.loads(host.python(program))]
    host.run("rm /var/log/test-canary")
    own = [item for item in found if item[0] == "canary"]
    assert {"/var/log/test-canary", "the journal"} <= {item[1] for item in own}
    return [item for item in found if item[0] != "canary"]


def test_files_and_logs(cluster: Deployed, run: dict[str, Any]) -> None:
    """On the hosts they stand in files of one owner only; in no log, and the authority's key nowhere."""
    found = everywhere(cluster.hosts.values(), lambda host: searched(cluster, host, run["words"]))
    for name, places in found.items():
        assert [place for place in places if place[1].startswith(("/var/log", "the journal"))] == [], name
        assert "ca.key" not in {whose for whose, *_where in places}
        assert [item for item in places if item[2] & 0o077] == [], name
        keys = [item for item in places if item[0].endswith(".key")]
        places_of_keys = {"/etc/pgherd/tls/server.key"}
        if cluster.hosts[name] in cluster.group("pgpool"):
            # Its agent has a user of its own.
            places_of_keys.add("/etc/pgherd/agent/server.key")
        assert {(item[0], item[1]) for item in keys} == {(f"{name}.key", place) for place in places_of_keys}
    for host in cluster.nodes:
        assert {"/etc/pgherd/monitor.pgpass", "/var/lib/postgresql/.pgpass"} <= {item[1] for item in found[host.name]}
        agent = "/etc/pgherd/agent.pgpass" in {item[1] for item in found[host.name]}
        assert agent is (host not in cluster.group("witness")), host.name
    for host in cluster.group("pgpool"):
        assert {"/etc/pgpool2/pool_passwd", "/etc/pgherd/gate.pgpass"} <= {item[1] for item in found[host.name]}


def test_server(cluster: Deployed, run: dict[str, Any]) -> None:
    """Not in repmgr's tables, running statements, connection lines; what is kept of them are SCRAM verifiers."""
    asked = {
        "repmgr": "SELECT n.*, e.details FROM repmgr.nodes n LEFT JOIN repmgr.events e USING (node_id)",
        "postgres": (
            "SELECT query, (SELECT string_agg(setting, ' ') FROM pg_settings) AS settings,"
            " (SELECT string_agg(conninfo, ' ') FROM pg_stat_wal_receiver) AS receiver FROM pg_stat_activity"
        ),
    }
    for host in cluster.nodes:
        for database, query in asked.items():
            text = json.dumps(host.rows(query, database), ensure_ascii=False)
            assert [name for name, word in run["words"].items() if word in text or json.dumps(word)[1:-1] in text] == []
            assert not re.search(r"\bpassword *=", text), (host.name, database)
        kept = host.rows("SELECT rolname, rolpassword LIKE 'SCRAM-SHA-256$%' AS scram FROM pg_authid WHERE rolcanlogin")
        assert {row["rolname"]: row["scram"] for row in kept} == {
            row["rolname"]: None if row["rolname"] == "postgres" else True for row in kept
        }


def test_control_machine(cluster: Deployed, run: dict[str, Any]) -> None:
    """Its secrets are files of their owner in a directory of their owner."""
    assert stat.S_IMODE(cluster.secrets.stat().st_mode) == 0o700
    for path in cluster.secrets.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.suffix in (".crt", ".pub"):
            assert not mode & 0o022
        else:
            assert mode == (0o700 if path.is_dir() else 0o600), path
    kept = yaml.safe_load((cluster.secrets / "passwords.yml").read_text(encoding="utf-8"))
    made = [word for name, word in kept.items()]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"[A-Za-z0-9]{32}", word) for word in made)
    assert not set(cluster.wanted("passwords", {})) & set(kept)
