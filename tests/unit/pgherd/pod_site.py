# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the site playbook does on the first primary, for a test whose pod has no Ansible: ``pod_site.py NAME``, in that pod."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "plugins/module_utils"))

from pgherd.nodes.instance import local_login
from pgherd.nodes.node import Desired, plan
from pgherd.nodes.node_apply import NodeExecutor, look
from pgherd.nodes.objects import objects
from pgherd.objects import extensions, identity, roles
from pgherd.places import chosen
from pgherd.places.pod.files import passwords
from pgherd.ports.sql import Server, connect
from pgherd.status.report import read_cluster

if __name__ == "__main__":
    me = sys.argv[1]
    cluster = read_cluster()
    here = chosen.here(cluster, me, print)
    wanted = objects(cluster, me, here.layout.version)
    with ExitStack() as stack:
        opened: dict[str, Server] = {}

        def session(database: str) -> Server:
            if database not in opened:
                login = local_login(cluster, here.layout, database)
                login["options"] += " -c synchronous_commit=local"
                opened[database] = stack.enter_context(connect(me, login))
            return opened[database]

        def grant(given: tuple[roles.Role, ...], grants: tuple[roles.Grant, ...]) -> None:
            found = roles.observe(session, given, grants, [])
            roles.plan(given, grants, passwords() if given else {}, found, []).apply(roles.RoleExecutor(session))

        grant(wanted.roles, ())
        for database in wanted.databases:
            if not session("postgres").rows("SELECT 1 FROM pg_database WHERE datname = %s", (database["name"],)):
                session("postgres").run(f'CREATE DATABASE "{database["name"]}"')
        found = extensions.observe(session, wanted.extensions)
        extensions.plan(wanted.extensions, found).apply(extensions.ExtensionExecutor(session))
        identity.plan(identity.look(session)).apply(identity.IdentityExecutor(session))
        grant((), wanted.grants)
    todo, _left = plan(cluster, me, Desired(), look(here), here.layout)
    todo.apply(NodeExecutor(here, 60.0))
    print(*todo.describe())
