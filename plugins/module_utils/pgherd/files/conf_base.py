# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What every host of the cluster has: its certificate, the package and the command."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from functools import partial

from ..model import CA_FILE, MONITOR_PASSFILE, MONITOR_ROLE, SERVER_CERT_FILE, SERVER_KEY_FILE, Cluster
from . import conf_cluster
from .hostfiles import File
from .render import HostFacts, passfile

POSTGRES_HOME = "/var/lib/postgresql"
LIBRARY = "/usr/lib/pgherd"
COMMAND = "/usr/bin/pgherd"
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
    if name in nodes and cluster.options.get("ssh_keys"):
        wanted += ["openssh-client", "openssh-server"]
    if name in nodes:
        wanted += [f"postgresql-{postgres_version}", f"postgresql-{postgres_version}-repmgr", "sudo"]
    if name in nodes and nodes[name].kind == "postgres":
        extensions = cluster.options.get("extensions", ())
        wanted += [
            item["package"].replace("VERSION", str(postgres_version)) for item in extensions if item.get("package")
        ]
    if any(item.name == name for item in cluster.pgpools):
        wanted.append("pgpool2")
    if any(item.name == name for item in cluster.barmans):
        wanted += ["barman", f"postgresql-client-{postgres_version}"]
    return list(dict.fromkeys(wanted))


def files(cluster: Cluster, name: str, facts: HostFacts, secrets: Mapping[str, str]) -> list[File]:
    """Certificate and key, monitoring passfile, the package file by file, and its command; the description where the host
    is no node. A node is told who is counted when that is due, by conf_cluster.py."""
    node = name in {item.name for item in cluster.nodes}
    # What connects as who: PostgreSQL and Pgpool-II run as postgres, Barman and its agent as barman.
    owner = "barman" if any(item.name == name for item in cluster.barmans) else "postgres"
    return [
        File("/etc/pgherd", kind="directory", mode="0755"),
        File("/etc/pgherd/tls", kind="directory", mode="0755"),
        *(() if node else conf_cluster.files(cluster, name, facts, secrets)),
        File(CA_FILE, secrets["tls:ca"]),
        File(SERVER_CERT_FILE, secrets["tls:certificate"]),
        File(SERVER_KEY_FILE, secret_content=secrets["tls:key"], owner=owner, group=owner, mode="0600"),
        File(MONITOR_PASSFILE, secret_content=monitor_passfile(secrets), mode="0600"),
        *package_files(),
        File(COMMAND, LAUNCHER, mode="0755"),
        *(ssh_files(cluster, secrets) if node else ()),
    ]


def ssh_files(cluster: Cluster, secrets: Mapping[str, str]) -> list[File]:
    """Keys with which the postgres users of the nodes reach each other, where the user asked for them.

    A node's host key is believed at first sight: the nodes have no other way to know it.
    """
    if not cluster.options.get("ssh_keys"):
        return []
    home = f"{POSTGRES_HOME}/.ssh"
    mine = partial(File, owner="postgres", group="postgres", mode="0600")
    names = " ".join(node.address for node in cluster.nodes)
    origins = ",".join(node.ip or node.address for node in cluster.nodes)
    return [
        File(home, kind="directory", owner="postgres", group="postgres", mode="0700"),
        mine(f"{home}/id_ed25519", secret_content=secrets["ssh:private"]),
        mine(f"{home}/authorized_keys", f'from="{origins}" {secrets["ssh:public"]}'),
        mine(f"{home}/config", f"Host {names}\n  StrictHostKeyChecking accept-new\n  BatchMode yes\n"),
    ]


def monitor_passfile(secrets: Mapping[str, str]) -> str:
    """The monitoring role's password for every node and every pgpool of the cluster."""
    return passfile([("*", "*", "*", MONITOR_ROLE, secrets[MONITOR_ROLE])])


def package_files() -> list[File]:
    """This package, as it stands here, for LIBRARY on the host."""
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    wanted = []
    for here, folders, names in sorted(os.walk(top)):
        folders[:] = [folder for folder in folders if folder != "__pycache__"]
        there = os.path.normpath(f"{LIBRARY}/pgherd/{os.path.relpath(here, top)}")
        wanted.append(File(there, kind="directory", mode="0755"))
        for name in sorted(name for name in names if name.endswith(".py")):
            with open(os.path.join(here, name), "rb") as stream:
                # As binary, so that a diff names the file and does not print the program.
                encoded = base64.b64encode(stream.read()).decode()
            wanted.append(File(f"{there}/{name}", encoded, binary=True))
    return wanted
