# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Problems that are made, and ended by what status prints as their cure, word for word."""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from deployed import described, until
from herd import Document, Herd, cure, on, problem, problems, said, status, wait
from systemd_hosts import SystemdHosts

SITE = {"on": "", "command": "ansible-playbook pgherd.cluster.site"}
AGENT = "systemctl restart pgherd-agent"
ACTING = ("pgherd-agent", "repmgrd")
NOWHERE = "host=127.0.0.1 port=1"
REPMGR = ("sudo", "-u", "postgres", "psql", "-XAtqd", "repmgr", "-c")
CERTIFICATES = ("/etc/pgherd/tls/server.crt", "/etc/pgherd/agent/server.crt")


@contextmanager
def left_alone(*hosts: str, units: tuple[str, ...] = ACTING) -> Iterator[None]:
    """Nobody mends or promotes there meanwhile."""
    for host in hosts:
        on(host, "systemctl", "stop", *units)
    try:
        yield
    finally:
        for host in hosts:
            on(host, "systemctl", "start", *units, expect=None)


def cured(herd: Herd, kind: str, node: str, naming: str = "", ask: str = "", expect: tuple[int, ...] = (0,)) -> str:
    """Wait until the problem, *naming* what its text says, is shown, run its cure, wait until it is gone. The command. *ask*: the
    host whose status it is; *expect*: as the command may exit."""
    asked = ask or herd.primary
    document = wait(asked, lambda seen: bool(problems(seen, kind, node, naming)))
    found = problem(document, kind, node, naming)
    cure(found, expect=expect)
    wait(asked, lambda seen: not problems(seen, kind, node, naming), 180.0)
    return str(found["cure"]["command"])


def goes_on(herd: Herd, kind: str, node: str, ask: str = "", turns: int = 4) -> list[str]:
    """The same where one cure leads to the next: the commands, each run when it was shown first."""
    asked, run = ask or herd.primary, []
    document = wait(asked, lambda seen: (kind, node) in said(seen))
    while (kind, node) in said(document):
        assert len(run) < turns, (run, document["problems"])
        found = problem(document, kind, node)
        cure(found)
        run.append(str(found["cure"]["command"]))

        def another(seen: Document, before: object = found["cure"]) -> bool:
            return (kind, node) not in said(seen) or problem(seen, kind, node)["cure"] != before

        document = wait(asked, another, 120.0)
    return run


def by_playbook(herd: Herd, *wanted: tuple[str, str], ask: str = "", more: tuple[str, ...] = ()) -> None:
    """Wait until all these problems are shown, run the site playbook, which each names as its cure, once, with *more* words;
    wait until none of them is there."""
    asked = ask or herd.primary
    document = wait(asked, lambda seen: set(wanted) <= said(seen))
    cures = {one: problem(document, *one)["cure"] for one in wanted}
    assert all(found == SITE for found in cures.values()), cures
    cure(problem(document, *wanted[0]), *more)
    wait(asked, lambda seen: not set(wanted) & said(seen))


def set_(herd: Herd, node: str, **settings: str | None) -> None:
    """ALTER SYSTEM and reload; None resets."""
    for name, value in settings.items():
        herd.sql(node, f"ALTER SYSTEM RESET {name}" if value is None else f"ALTER SYSTEM SET {name} = '{value}'")
    herd.sql(node, "SELECT pg_reload_conf()")


def as_standby(herd: Herd, node: str) -> None:
    """The primary runs as a standby of nobody."""
    data = herd.sql(node, "SHOW data_directory").strip()
    on(node, "systemctl", "stop", herd.unit())
    on(node, "install", "-o", "postgres", "-m", "600", "/dev/null", f"{data}/standby.signal")
    on(node, "systemctl", "start", herd.unit())


def in_file(herd: Herd, names: str) -> None:
    """The primary's file has these synchronous_standby_names."""
    file = herd.sql(herd.primary, "SHOW config_file").strip()
    line = f"synchronous_standby_names = '{names}'"
    on(herd.primary, "sed", "-i", f"s/^synchronous_standby_names = .*/{line}/", file)
    herd.sql(herd.primary, "SELECT pg_reload_conf()")


def primaries(document: Document) -> set[str]:
    """Who runs outside recovery."""
    views = [view for view in document["topology"]["nodes"] if view["kind"] == "postgres" and view["postgres"]]
    return {view["name"] for view in views if not view["postgres"]["in_recovery"]}


def upstream(herd: Herd, name: str) -> str:
    """Whom a node streams from."""
    nodes = status(herd.primary)[1]["topology"]["nodes"]
    return str(next(view["postgres"]["upstream"] for view in nodes if view["name"] == name))


def upstream_by_design(herd: Herd, name: str) -> str:
    """Whom a node streams from, once that is who the inventory names, where he is not the primary."""
    wanted = str(described().hosts[name].vars.get("upstream"))
    if wanted in herd.nodes and wanted != herd.primary:
        until(f"{name} to follow {wanted}, its upstream by design", lambda: upstream(herd, name) == wanted, 180.0)
    return upstream(herd, name)


def electable(herd: Herd) -> list[str]:
    """Standbys that confirm commits."""
    names = herd.sql(herd.primary, "SHOW synchronous_standby_names")
    return [name for name in herd.nodes if f'"{name}"' in names and name != herd.primary]


def backend(herd: Herd, pool: str, node: str) -> int:
    """The number of a node's backend."""
    views = status(herd.primary)[1]["topology"]["pgpools"]
    return next(row["id"] for view in views if view["name"] == pool for row in view["backends"] if row["node"] == node)


def lose(herd: Herd, node: str) -> None:
    """Have the slots of *node* that nobody reads lose WAL: it is removed at a checkpoint, on a standby after the primary's. In
    small pieces: who reads has to keep up."""
    for turn in range(12):
        herd.write(16, checkpoint=turn in (5, 11))
        if turn in (5, 11) and node != herd.primary:
            lsn = herd.sql(herd.primary, "SELECT pg_current_wal_lsn()").strip()
            done = f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'"
            until(f"{node} to replay", lambda done=done: herd.sql(node, done).strip() == "t", 60.0)  # type: ignore[misc]
            herd.sql(node, "CHECKPOINT")


def place() -> SystemdHosts:
    """The hosts as what can be done to them from outside."""
    return SystemdHosts(Path(described().vars["lab_directory"]).name)


def another_certificate(host: str, days: int, trusted: bool) -> str:
    """One like *host*'s, for its key, which ends in so many *days*: of the cluster's own authority, or of a stranger that has
    its name."""
    secrets, now = described().secrets, datetime.datetime.now(datetime.timezone.utc)
    like = x509.load_pem_x509_certificate((secrets / f"hosts/{host}.crt").read_bytes())
    authority = x509.load_pem_x509_certificate((secrets / "ca.crt").read_bytes())
    own = serialization.load_pem_private_key((secrets / "ca.key").read_bytes(), None)
    key = own if trusted else ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateBuilder(authority.subject, like.subject, like.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=days))
    for extension in like.extensions:
        made = made.add_extension(extension.value, extension.critical)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def show_certificate(host: str, text: str, *services: str) -> None:
    """Have the agent on *host*, and *services*, show it."""
    for path in CERTIFICATES:
        on(host, "sh", "-c", 'if [ -e "$1" ]; then printf %s "$2" >"$1"; fi', "sh", path, text)
    for service in ("pgherd-agent", *services):
        on(host, "systemctl", "reload" if service.startswith("postgresql") else "restart", service)


class Kept:
    """Rows of a table that the tests have beside what they break."""

    def __init__(self) -> None:
        self._marks: list[str] = []

    def write(self, herd: Herd) -> None:
        """Some more, on the primary."""
        if not self._marks:
            herd.sql(herd.primary, "DROP TABLE IF EXISTS public.kept; CREATE TABLE public.kept (mark text, at int)")
        self._marks.append(uuid.uuid4().hex)
        rows = f"SELECT '{self._marks[-1]}', n FROM generate_series(1, 100) n"
        herd.sql(herd.primary, f"INSERT INTO public.kept {rows}")

    def everywhere(self, herd: Herd, seconds: float = 60.0) -> None:
        """Wait until each node has all that was written, and no more."""
        query = "SELECT count(*) || ' ' || md5(string_agg(mark || at, ',' ORDER BY mark, at)) FROM public.kept"
        deadline = time.monotonic() + seconds
        while True:
            found = {node: herd.sql(node, query).strip() for node in herd.nodes}
            if len(set(found.values())) == 1:
                assert all(one.startswith(f"{100 * len(self._marks)} ") for one in found.values()), found
                return
            assert time.monotonic() < deadline, found

    def forget(self, herd: Herd) -> None:
        """Drop the table."""
        herd.sql(herd.primary, "DROP TABLE public.kept")
