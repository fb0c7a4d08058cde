# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The files of a pod, which it writes itself: from the mounted description, and from passwords that `pgherd own` has left.

They lie where a host's files do, so that what reads them, people too, need not know where it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ...errors import PgherdError
from ...layout import layout, version_of
from ...model import (
    AGENT_PASSFILE,
    CA_FILE,
    CLUSTER_FILE,
    CONFIG_FILE,
    MONITOR_PASSFILE,
    PCP_USER,
    PGPOOL_ROLE,
    POSTGRES_PASSFILE,
    SERVER_CERT_FILE,
    SERVER_KEY_FILE,
    Barman,
    Cluster,
    Node,
    Peer,
    Pgpool,
)
from ...ports.directories import around
from ...ports.services import PGPOOL, POSTGRES, RECEIVER, REPMGRD
from ...programs import pgpool
from ...programs.pgpool_settings import needs_restart, parse_configuration
from ...render.conf_barman import PASSFILE, server_file
from ...render.conf_postgres import INCLUDED
from . import texts

# Where the ConfigMap is mounted, and where the Secret is for `pgherd own` alone.
CONFIG = CONFIG_FILE
SECRETS = "/secrets"
# The passwords of this pod, by role, as `pgherd own` leaves them.
PASSWORDS = "/etc/pgherd/passwords.json"
# The image has a link to it at Barman's own place, whose directory cannot be written.
BARMAN_MAIN = "/etc/pgherd/barman.conf"
# What of a Secret's keys is no password, nor a certificate or key.
ALL = "passwords.json"


@dataclass(frozen=True)
class PodFile:
    """A file at *path* with *text*, for others to read unless it is *secret*."""

    path: str
    text: str = field(repr=False)
    secret: bool = False


def host_of(cluster: Cluster, name: str) -> Peer:
    """The host called *name*. Raises PgherdError."""
    found = next((item for item in cluster.hosts if item.name == name), None)
    if found is None:
        said = ", ".join(item.name for item in cluster.hosts)
        raise PgherdError(
            f"run {name}: the cluster {cluster.name} has no host called so, but {said}.",
            "More pods than the inventory has hosts wait like this; let the site playbook scale.",
        )
    return found


def files(
    cluster: Cluster,
    description: str,
    name: str,
    passwords: Mapping[str, str],
    least: Mapping[str, int] | None = None,
) -> list[PodFile]:
    """All that the pod called *name* writes. *description*: the text that *cluster* was read from. *passwords*: by role. *least*:
    see conf_postgres.settings(). Raises PgherdError."""
    host = host_of(cluster, name)
    found = dict(_plain(cluster, host, least))
    # To the letter: its digest says which one it is.
    found[CLUSTER_FILE] = description
    return [
        *(PodFile(path, text) for path, text in found.items()),
        *(PodFile(path, text, secret=True) for path, text in _secret(cluster, host, passwords)),
    ]


def _plain(cluster: Cluster, host: Peer, least: Mapping[str, int] | None) -> Iterator[tuple[str, str]]:
    if isinstance(host, Node):
        there = layout(cluster, version_of(host))
        given = texts.of_node(cluster, host, there.version, least)
        own = {"repmgr.conf": there.repmgr}
        places = {key: own.get(key, f"{there.configuration}/{key}") for key in given}
    elif isinstance(host, Barman):
        version = version_of(host)
        # Debian 12 has Barman 3.4; see conf_barman.ini().
        given = texts.of_barman(cluster, host, version, 1 if version < 17 else 2)
        places = {"barman.conf": BARMAN_MAIN, f"{cluster.name}.conf": server_file(cluster)}
    else:
        given = texts.of_pgpool(cluster, host)
        places = {key: f"{pgpool.DIRECTORY}/{key}" for key in given}
    yield from ((places[key], text) for key, text in given.items() if key != texts.DESCRIPTION)


def _secret(cluster: Cluster, host: Peer, passwords: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    try:
        given = texts.secrets_of(cluster, host, passwords)
        pcp = pgpool.pcp_passfile(PCP_USER, passwords[PCP_USER]) if "pcp.conf" in given else ""
    except KeyError as error:
        raise PgherdError(
            f"write the files of {host.name}: the password of {error.args[0]} is not in this pod.",
            "It comes out of the pod's Secrets: run the site playbook, or put it into the Secret that is yours.",
        ) from error
    places = {
        "monitor.pgpass": MONITOR_PASSFILE,
        "agent.pgpass": AGENT_PASSFILE,
        "pgpass": PASSFILE if isinstance(host, Barman) else POSTGRES_PASSFILE,
    }
    yield from ((places.get(key, f"{pgpool.DIRECTORY}/{key}"), text) for key, text in given.items())
    if pcp:
        yield pgpool.PCP_PASSFILE, pcp
        yield pgpool.GATE_PASSFILE, given["monitor.pgpass"]


class _Noting(dict[str, str]):
    """Has every password, an empty one, and notes whose were asked for."""

    def __missing__(self, key: str) -> str:
        self[key] = ""
        return ""


def roles_of(cluster: Cluster, name: str) -> tuple[str, ...]:
    """Whose passwords the pod called *name* needs: those that its files have."""
    asked = _Noting()
    list(_secret(cluster, host_of(cluster, name), asked))
    return tuple(sorted(asked))


def own(cluster: Cluster, name: str, found: Mapping[str, bytes]) -> list[PodFile]:
    """What of *found*, a Secret's keys, is the pod's called *name*: its certificate and key, the authority, and the passwords
    that it needs. Those are there by role, or all in one key. Raises PgherdError that names what is missing."""
    wanted = {"ca.crt": CA_FILE, f"{name}.crt": SERVER_CERT_FILE, f"{name}.key": SERVER_KEY_FILE}
    try:
        given = {str(role): str(text) for role, text in json.loads(found.get(ALL, b"{}")).items()}
        given.update({key: texts.password(found[key]) for key in roles_of(cluster, name) if key in found})
        kept = {key: found[key].decode() for key in wanted if key in found}
    except (ValueError, AttributeError) as error:
        raise PgherdError(f"read the Secret of {name}: {type(error).__name__}: {error}.") from error
    roles = roles_of(cluster, name)
    missing = [key for key in wanted if key not in kept] + [
        f"a password of {role}" for role in roles if role not in given
    ]
    if missing:
        raise PgherdError(
            f"take what is {name}'s out of its Secret: there is no {', no '.join(missing)}.",
            "Run the site playbook, or put it into the Secret that is yours.",
        )
    return [
        *(PodFile(wanted[key], text, secret=key.endswith(".key")) for key, text in kept.items()),
        PodFile(PASSWORDS, json.dumps({role: given[role] for role in roles}) + "\n", secret=True),
    ]


def effects(
    cluster: Cluster, name: str, wanted: Iterable[PodFile], before: Mapping[str, str | None]
) -> list[tuple[str, str]]:
    """What has to know that of the *wanted* files those changed that held *before* what stands there, by path, None for nothing:
    a verb, ``reload`` or ``restart``, and a service. The agent sees by itself that the description did."""
    host = host_of(cluster, name)
    if isinstance(host, Node):
        there = layout(cluster, version_of(host))
        postgres = any(os.path.dirname(path) == there.configuration for path in before)
        return [
            *([("reload", POSTGRES)] if postgres else []),
            *([("restart", REPMGRD)] if there.repmgr in before else []),
        ]
    if isinstance(host, Barman):
        return [("restart", RECEIVER)] if {BARMAN_MAIN, server_file(cluster)} & {*before} else []
    if not any(os.path.dirname(path) == pgpool.DIRECTORY for path in before):
        return []
    new = {item.path: item.text for item in wanted}
    old, entries = before.get(pgpool.CONFIGURATION), before.get(pgpool.PASSWORDS)
    again = old is not None and bool(
        needs_restart(parse_configuration(old), parse_configuration(new.get(pgpool.CONFIGURATION, "")))
    )
    # Sessions read it anew; the process that looks for the primary does not.
    again = again or (entries is not None and _own_entry(entries) != _own_entry(new.get(pgpool.PASSWORDS, "")))
    return [("restart" if again else "reload", PGPOOL)]


def _own_entry(text: str) -> str | None:
    return pgpool.password_entries(text.splitlines()).get(PGPOOL_ROLE)


def certified(cluster: Cluster, name: str) -> list[tuple[str, str]]:
    """The same where the pod's certificate, its key or the authority is another one. Agents, repmgr and Barman see it by
    themselves."""
    host = host_of(cluster, name)
    if isinstance(host, Node):
        return [("reload", POSTGRES)]
    # pgpool reads it at its start alone, and ends its sessions for that.
    return [("restart", PGPOOL)] if isinstance(host, Pgpool) and _differs(SERVER_CERT_FILE, pgpool.LOADED) else []


def _differs(path: str, loaded: str) -> bool:
    """Whether the file at *path* is not as its copy in the directory *loaded*; not where there is none."""
    try:
        return _bytes(path) != _bytes(os.path.join(loaded, os.path.basename(path)))
    except OSError:
        return False


def signature(path: str) -> tuple[int, ...]:
    """Tells what is at *path* from what was; empty where nothing is. Raises PgherdError."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise PgherdError(f"look at {path}: {error.strerror}.") from error
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def read_secret(directory: str = SECRETS) -> dict[str, bytes]:
    """A Secret as it is mounted: by key what it holds. Raises PgherdError."""
    try:
        keys = [key for key in os.listdir(directory) if not key.startswith("..")]
        return {key: _bytes(os.path.join(directory, key)) for key in keys}
    except OSError as error:
        raise PgherdError(f"read the Secret in {directory}: {error.strerror}.") from error


def passwords(path: str = PASSWORDS) -> dict[str, str]:
    """The passwords that `pgherd own` has left. Raises PgherdError."""
    try:
        return dict(json.loads(_bytes(path)))
    except (OSError, ValueError) as error:
        raise PgherdError(f"read {path}: {error}.", "The pod's first container, `pgherd own`, writes it.") from error


def _bytes(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def write(wanted: Iterable[PodFile]) -> dict[str, str | None]:
    """Have the *wanted* files be so, each whole or not at all; of those that were not, by path, what was there, None for nothing.
    Raises PgherdError."""
    changed: dict[str, str | None] = {}
    for item in wanted:
        mode = 0o600 if item.secret else 0o644
        try:
            with around(item.path, make=True) as (place, name):
                found = _found(place.handle, name)
                if found == (item.text, mode):
                    continue
                place.replace(name, item.text.encode(), mode)
                if name == "postgresql.conf":
                    os.makedirs(os.path.join(os.path.dirname(item.path), INCLUDED), exist_ok=True)
        except OSError as error:
            raise PgherdError(f"write {item.path}: {error.strerror}.", "See which volumes the pod has.") from error
        changed[item.path] = found[0]
    return changed


def _found(handle: int, name: str) -> tuple[str | None, int]:
    """What the file *name* holds, None where there is none, and its mode."""
    try:
        there = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=handle)
    except OSError:
        return None, 0
    with os.fdopen(there, "rb") as stream:
        return stream.read().decode(errors="replace"), os.fstat(there).st_mode & 0o777
