# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What every host of the cluster has: its certificate, the package and the command."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from functools import partial

from ....agent import guard_client
from ....model import (
    CA_FILE,
    COMMAND,
    MONITOR_PASSFILE,
    MONITOR_ROLE,
    SERVER_CERT_FILE,
    SERVER_KEY_FILE,
    Cluster,
)
from ....ports.hostfiles import File
from ....programs.pgpool import GATE_PASSFILE
from ....render.quoting import HEADER, passfile
from .facts import HostFacts

POSTGRES_HOME = "/var/lib/postgresql"
LIBRARY = "/usr/lib/pgherd"
# Stands before each start of PostgreSQL. Its place is no part of the package, so that a unit finds it whatever moves there.
GUARD = f"{LIBRARY}/guard"
SSH_CONFIG = "/etc/ssh/ssh_config.d/pgherd.conf"
LAUNCHER = f"""#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "{LIBRARY}")
from pgherd.cli import main

sys.exit(main())
"""


def packages(cluster: Cluster, name: str, postgres_version: int) -> list[str]:
    """Debian packages for all that runs on the host called *name*."""
    wanted = ["python3-prometheus-client", "python3-psycopg"]
    nodes = {node.name: node for node in cluster.nodes}
    if name in nodes and cluster.options.ssh_keys:
        wanted += ["openssh-client", "openssh-server"]
    if name in nodes:
        wanted += [f"postgresql-{postgres_version}", f"postgresql-{postgres_version}-repmgr", "sudo"]
    if name in nodes and nodes[name].kind == "postgres":
        extensions = cluster.options.extensions
        wanted += [
            item["package"].replace("VERSION", str(postgres_version)) for item in extensions if item.get("package")
        ]
    if any(item.name == name for item in cluster.pgpools):
        wanted.append("pgpool2")
    if any(item.name == name for item in cluster.barmans):
        wanted += ["barman", f"postgresql-client-{postgres_version}"]
    return list(dict.fromkeys(wanted))


def files(cluster: Cluster, name: str, facts: HostFacts, secrets: Mapping[str, str]) -> list[File]:
    """Certificate and key, monitoring passfile, the package file by file, and its command. The cluster's description comes
    with the program that decides by it, and beside a pgpool so does the certificate: what runs there holds a copy."""
    node = name in {item.name for item in cluster.nodes}
    return [
        File("/etc/pgherd", kind="directory", mode="0755"),
        File("/etc/pgherd/tls", kind="directory", mode="0755"),
        File(CA_FILE, secrets["tls:ca"]),
        *(() if name in {item.name for item in cluster.pgpools} else certificate(cluster, name, secrets)),
        File(MONITOR_PASSFILE, secret_content=monitor_passfile(secrets), mode="0600"),
        *(gate_files(secrets) if name in {item.name for item in cluster.pgpools} else ()),
        # Stated, though it would be made with what is in it: an earlier run may have left it closed by its umask.
        File(LIBRARY, kind="directory", mode="0755"),
        *package_files(),
        File(COMMAND, LAUNCHER, mode="0755"),
        *((guard(),) if node else ()),
        *(ssh_files(cluster, secrets) if node else ()),
    ]


def guard() -> File:
    """What asks the agent before each start of PostgreSQL."""
    with open(guard_client.__file__, encoding="utf-8") as stream:
        # Neither modules installed beside Python's own nor what only they need.
        return File(GUARD, f"#!/usr/bin/python3 -IS\n{stream.read()}", mode="0755")


def certificate(cluster: Cluster, name: str, secrets: Mapping[str, str]) -> list[File]:
    """Certificate and key of the host called *name*."""
    # What connects as who: PostgreSQL and Pgpool-II run as postgres, Barman and its agent as barman.
    owner = "barman" if any(item.name == name for item in cluster.barmans) else "postgres"
    return [
        File(SERVER_CERT_FILE, secrets["tls:certificate"]),
        File(SERVER_KEY_FILE, secret_content=secrets["tls:key"], owner=owner, group=owner, mode="0600"),
    ]


def ssh_files(cluster: Cluster, secrets: Mapping[str, str]) -> list[File]:
    """Keys with which the postgres users of the nodes reach each other, where the user asked for them, beside those that are
    there.

    A node's host key is believed at first sight: the nodes have no other way to know it.
    """
    if not cluster.options.ssh_keys:
        return []
    home = f"{POSTGRES_HOME}/.ssh"
    key = f"{home}/pgherd_ed25519"
    mine = partial(File, owner="postgres", group="postgres", mode="0600")
    names = ",".join(node.address for node in cluster.nodes)
    places = ",".join(place for node in cluster.nodes for place in node.origins.short or (node.address,))
    public = secrets["ssh:public"].strip()
    # Earlier releases wrote no comment.
    ours = f"{re.escape(public)}| pgherd$"
    settings = f"  IdentityFile {key}\n  StrictHostKeyChecking accept-new\n  BatchMode yes\n"
    return [
        File(home, kind="directory", owner="postgres", group="postgres", mode="0700"),
        mine(key, secret_content=secrets["ssh:private"]),
        mine(f"{home}/authorized_keys", f'from="{places}" {public} pgherd\n', own=ours),
        File(SSH_CONFIG, f"{HEADER}Match localuser postgres host {names}\n{settings}"),
    ]


def monitor_passfile(secrets: Mapping[str, str]) -> str:
    """The monitoring role's password for every node and every pgpool of the cluster."""
    return passfile([("*", "*", "*", MONITOR_ROLE, secrets[MONITOR_ROLE])])


def gate_files(secrets: Mapping[str, str]) -> list[File]:
    """What pgpool's user asks the nodes with before pgpool starts. Here, since the gate wants it as soon as it is new."""
    mine = partial(File, owner="postgres", group="postgres", mode="0600")
    return [mine(GATE_PASSFILE, secret_content=monitor_passfile(secrets))]


def package_files() -> list[File]:
    """This package, as it stands here, for LIBRARY on the host."""
    top = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
    wanted = []
    for here, _folders, names in sorted(os.walk(top)):
        if os.path.basename(here) == "__pycache__":
            continue
        there = os.path.normpath(f"{LIBRARY}/pgherd/{os.path.relpath(here, top)}")
        # A file of an earlier release would still be imported, and is nobody's to look after.
        wanted.append(File(there, kind="directory", mode="0755", only=here == top))
        for name in sorted(name for name in names if name.endswith(".py")):
            with open(os.path.join(here, name), "rb") as stream:
                # As binary, so that a diff names the file and does not print the program.
                encoded = base64.b64encode(stream.read()).decode()
            wanted.append(File(f"{there}/{name}", encoded, binary=True))
    return wanted
