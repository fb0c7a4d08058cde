# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What of a cluster a host holds already, wherever it lies: read from its own files and processes before anything is written.

Needs no PostgreSQL, no psycopg and no package of ours: it is asked of hosts that have nothing yet.
"""

from __future__ import annotations

import glob
import hashlib
import hmac
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from ..data.incarnation import FILE as NOTE
from ..errors import Conflict, PgherdError
from ..model import CA_FILE, CLUSTER_FILE, MONITOR_PASSFILE, MONITOR_ROLE, Cluster, build
from ..ports.directories import around, as_owner
from ..ports.processes import directories_of
from ..render.conf_barman import HOME
from ..render.quoting import HEADER

CONFIGURATIONS = "/etc/postgresql/*/*/postgresql.conf"
USUAL = "/var/lib/postgresql/*/main"
PGPOOL_FILE = "/etc/pgpool2/pgpool.conf"
BARMAN_FILES = ("/etc/barman.conf", "/etc/barman.d/*.conf")
# PostgreSQL's own number for SCRAM (scram-common.h): words must not be cheap to try on what a host is asked.
ROUNDS = 4096
# Bytes of a file that are read.
_LONGEST = 1 << 20


@dataclass(frozen=True)
class HeldServer:
    """One PostgreSQL cluster of a host. *names* are paths of its data directory, what it is called by before what links lead to;
    *cluster* what Debian calls it (``17/main``; '' where it has no configuration there). *port* is the one it serves, or would by
    its configuration; 0 where that is not known. *wal* is where its WAL is, when that is a link."""

    names: tuple[str, ...]
    version: int
    cluster: str = ""
    port: int = 0
    running: bool = False
    system_identifier: str = ""
    wal: str = ""

    @property
    def directory(self) -> str:
        """Its data directory, as people call it."""
        return self.names[0]

    def at(self, directory: str) -> bool:
        """Whether *directory* is its data directory."""
        return os.path.normpath(directory) in self.names


@dataclass(frozen=True)
class Described:
    """What the last run of the site playbook on this host was for, of CLUSTER_FILE as much as is no secret. *nodes* have
    ``name``, ``kind``, ``id``, ``address`` and ``ip``; *others* are the names of pgpool and Barman hosts. An empty directory
    means the usual place."""

    name: str
    port: int = 5432
    nodes: tuple[Mapping[str, Any], ...] = ()
    others: tuple[str, ...] = ()
    data_directory: str = ""
    wal_directory: str = ""
    barman_directory: str = ""


@dataclass(frozen=True)
class Holdings:
    """What one host holds. *described*: see there; None where no run has come so far. *authority*: the certificates that its
    programs trust, as PEM. *passwords*: whether the monitoring role's is the one asked about: ``same``, ``other``, or
    '' where there is none, or none was. *note*: the note of whose data directory it has is there. *barman*: servers that its
    Barman has. *backups*: those of the directories asked about that have backups. *pgpool*: the servers of a Pgpool-II that this
    collection has not configured."""

    name: str
    described: Described | None = None
    servers: tuple[HeldServer, ...] = ()
    authority: str = ""
    passwords: str = ""
    note: bool = False
    barman: tuple[str, ...] = ()
    backups: tuple[str, ...] = ()
    pgpool: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Holdings:
        """Build from to_dict's output. Raises TypeError, KeyError or AttributeError for what is none."""
        described = data.get("described")
        lists = {name: tuple(data.get(name) or ()) for name in ("barman", "backups", "pgpool")}
        return build(
            cls,
            {
                **data,
                **lists,
                "described": _described(described) if described else None,
                "servers": tuple(
                    build(HeldServer, {**one, "names": tuple(map(str, one["names"]))})
                    for one in data.get("servers") or ()
                ),
            },
        )


def _described(data: Mapping[str, Any]) -> Described:
    return build(Described, {**data, "nodes": tuple(data["nodes"]), "others": tuple(data["others"])})


def question(text: str) -> str:
    """What asks a host whether it has the same *text*, and says nothing of that: a salt and a digest."""
    salt = os.urandom(16)
    return f"{salt.hex()}:{_digest(text, salt)}"


def same(text: str, asked: str) -> bool:
    """Whether *text* is that of the question() *asked*."""
    salt, _colon, digest = asked.partition(":")
    return hmac.compare_digest(_digest(text, bytes.fromhex(salt)), digest)


def _digest(text: str, salt: bytes) -> str:
    return hashlib.pbkdf2_hmac("sha256", text.encode(), salt, ROUNDS).hex()


def monitoring(passfile: str) -> str:
    """The monitoring role's password in the text of a *passfile*, as it is written there; '' where it has none. What else a
    release writes there is no matter."""
    rests = (line.partition(f":{MONITOR_ROLE}:")[2] for line in passfile.splitlines())
    return next((rest for rest in rests if rest), "")


def observe(name: str, asked: Cluster, directory: str, passfile: str = "") -> Holdings:
    """Look at this host, called *name*. *asked* is the cluster that it is to be of, *directory* where its data would be ('' for
    a host without), *passfile* a question() about monitoring(). Raises Conflict for a description that cannot be read."""
    described = describe(CLUSTER_FILE)
    places = [directory, described.data_directory if described else ""]
    stores = {backup_directory(asked.options.barman_directory, asked.name)}
    if described:
        stores.add(backup_directory(described.barman_directory, described.name))
    kept = monitoring(_text(MONITOR_PASSFILE))
    return Holdings(
        name,
        described,
        tuple(servers([place for place in places if place])),
        _text(CA_FILE),
        ("same" if same(kept, passfile) else "other") if kept and passfile else "",
        os.path.exists(NOTE),
        tuple(barman_servers(BARMAN_FILES)),
        tuple(store for store in sorted(stores) if _has_backups(store)),
        tuple(pgpool_backends(_text(PGPOOL_FILE))),
    )


def describe(path: str) -> Described | None:
    """What the description at *path* says, None where there is none. Raises Conflict for one that cannot be read."""
    try:
        with open(path, encoding="utf-8") as stream:
            cluster = Cluster.from_dict(json.load(stream))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Conflict(
            f"Read which cluster this host is of in {path}",
            "the description of a cluster",
            f"{type(error).__name__}: {error}",
            "Put it back from another host of the cluster; move it away only where this host serves none.",
        ) from error
    return Described(
        cluster.name,
        cluster.port,
        tuple(
            {"name": node.name, "kind": node.kind, "id": node.id, "address": node.address, "ip": node.origins.known}
            for node in cluster.nodes
        ),
        (*(one.name for one in cluster.pgpools), *(one.name for one in cluster.barmans)),
        cluster.options.data_directory,
        cluster.options.wal_directory,
        cluster.options.barman_directory,
    )


def backup_directory(home: str, cluster: str) -> str:
    """Where Barman has the backups of the cluster called *cluster*; *home* is cluster_barman_directory."""
    return os.path.normpath(f"{home or HOME}/{cluster}")


def servers(places: Sequence[str]) -> list[HeldServer]:
    """PostgreSQL clusters: what is in *places*, those that Debian's tools know, and those that run."""
    known: dict[str, tuple[str, int]] = {}
    called: dict[str, list[str]] = {}
    for place in (*places, *sorted(glob.glob(USUAL))):
        called.setdefault(os.path.realpath(place), []).append(os.path.normpath(place))
    for path in sorted(glob.glob(CONFIGURATIONS)):
        wanted = settings(_text(path))
        version, cluster = path.split("/")[-3:-1]
        directory = wanted.get("data_directory", "") or f"/var/lib/postgresql/{version}/{cluster}"
        called.setdefault(os.path.realpath(directory), []).append(os.path.normpath(directory))
        known.setdefault(os.path.realpath(directory), (f"{version}/{cluster}", _number(wanted.get("port", "5432"))))
    running = directories_of("postgres")
    for directory in running:
        called.setdefault(directory, [])
    looked = (
        _server(real, [*names, real], *known.get(real, ("", 0)), real in running) for real, names in called.items()
    )
    return [server for server in looked if server]


def _server(directory: str, names: Sequence[str], cluster: str, port: int, running: bool) -> HeldServer | None:
    """What is in the data directory *directory*; None where that is no cluster."""
    version = _number(_text(f"{directory}/PG_VERSION").partition(".")[0])
    if not version:
        return None
    lines = _text(f"{directory}/postmaster.pid").splitlines() if running else []
    # miscinit.h, LOCK_FILE_LINE_PORT: the fourth line.
    serves = _number(lines[3]) if len(lines) > 3 else 0
    wal = os.path.join(directory, "pg_wal")
    return HeldServer(
        tuple(dict.fromkeys(names)),
        version,
        cluster,
        serves or port,
        running,
        # The first field of ControlFileData (pg_control.h), in the host's own byte order.
        str(int.from_bytes(_bytes(f"{directory}/global/pg_control")[:8], sys.byteorder)),
        os.path.realpath(wal) if os.path.realpath(wal) != wal else "",
    )


def settings(text: str) -> dict[str, str]:
    """Settings of a postgresql.conf's *text*, by lower-case name; the last one counts. What it includes is not followed."""
    found: dict[str, str] = {}
    for match in re.finditer(r"^\s*(\w+)\s*(?:=|\s)\s*(?:'((?:[^']|'')*)'|([^\s#']+))", text, re.MULTILINE):
        quoted = match.group(2)
        found[match.group(1).lower()] = match.group(3) if quoted is None else quoted.replace("''", "'")
    return found


def barman_servers(patterns: Iterable[str]) -> list[str]:
    """The servers that Barman's configuration files name, by their sections."""
    paths = [path for pattern in patterns for path in sorted(glob.glob(pattern))]
    names = [name for path in paths for name in re.findall(r"^\[([^\]\n]+)\]", _text(path), re.MULTILINE)]
    return [name for name in dict.fromkeys(names) if name != "barman"]


def pgpool_backends(text: str) -> list[str]:
    """The servers in a pgpool.conf's *text* that this collection has not written, and nothing where it has."""
    if text.startswith(HEADER):
        return []
    found = [value for key, value in settings(text).items() if re.fullmatch(r"backend_hostname\d+", key)]
    return [host for host in dict.fromkeys(found) if host]


def _has_backups(directory: str) -> bool:
    with suppress(OSError, PgherdError), as_owner(directory):
        return bool(os.listdir(f"{directory}/base"))
    return False


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0


def _text(path: str) -> str:
    return _bytes(path).decode(errors="replace")


def _bytes(path: str) -> bytes:
    """What is in a file, as who owns its directory may read it; nothing where it cannot be read."""
    try:
        with as_owner(os.path.dirname(path)), around(path) as (place, name):
            return place.read(name, _LONGEST)
    except (OSError, PgherdError):
        return b""
