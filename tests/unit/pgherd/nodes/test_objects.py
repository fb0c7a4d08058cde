# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What every server must hold, whichever node it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pgherd.model import AGENT_ROLE, MONITOR_ROLE, REPMGR_DATABASE, REPMGR_ROLE, Cluster, Node
from pgherd.nodes.objects import objects
from pgherd.objects.extensions import Extension
from pgherd.objects.grants import PUBLIC, ObjectState, plan
from pgherd.objects.identity import READ as XML
from pgherd.objects.roles import Draft, Role
from pgherd.objects.shield import own_settings
from pgherd.options import Options
from pgherd.programs.repmgr import LOCK, LOCKS, RESUME

CLUSTER = Cluster(
    "demo",
    (Node("pg1", 1, "postgres", "pg1"), Node("w1", 9, "witness", "w1", "pg1", priority=0)),
    durability="async",
)
READ = ("get_upstream_last_seen()", "repmgrd_is_paused()", "repmgrd_is_running()")
EXECUTE = frozenset(["EXECUTE"])


@pytest.mark.parametrize("name", ["pg1", "w1"])
@pytest.mark.parametrize("version", [15, 17])
def test_repmgrs_functions_are_repmgrs_and_the_monitor_only_reads(name: str, version: int) -> None:
    """As the extension leaves them, everybody may call them: who may afterwards?"""
    may = {(PUBLIC, function) for function in ("repmgr.repmgrd_pause(boolean)", *(f"repmgr.{item}" for item in READ))}
    grants = [grant for grant in objects(CLUSTER, name, version).grants if "FUNCTION" in grant.kind]
    found = {}
    for grant in grants:
        names = sorted(item for _role, item in may) if grant.kind.startswith("ALL") else [grant.object]
        ours = [item for item in names if item.startswith("repmgr.")]
        found[grant] = tuple(
            ObjectState(item, "FUNCTION", False, EXECUTE if (grant.role, item) in may else frozenset(), EXECUTE)
            for item in ours
        )
    draft = Draft()
    plan(draft, grants, found)
    statements = [step.args["statement"] for step in draft.steps if "repmgr." in step.args["statement"]]
    pause = [line for line in statements if "repmgrd_pause" in line]
    assert [line.rpartition(" ")[2] for line in pause] == [f'"{REPMGR_ROLE}"', PUBLIC]
    agents = [line for line in statements if AGENT_ROLE in line]
    assert all(f"repmgr.{item}" in agents[0] for item in READ) if name == "pg1" else not agents
    assert pause[1].startswith("REVOKE EXECUTE ON FUNCTION ")
    monitor = [line for line in statements if MONITOR_ROLE in line]
    assert all(f"repmgr.{item}" in monitor[0] for item in READ)
    assert len(monitor) == 1


def _held(name: str, version: int, role: str) -> set[str]:
    """What *role* is given on the server of node *name*, beside tables and functions of repmgr's schema."""
    found = {
        grant.object for grant in objects(CLUSTER, name, version).grants if grant.role == role and grant.privileges
    }
    return {item for item in found if not item.startswith("repmgr.")} - {"repmgr"}


@pytest.mark.parametrize("version", [15, 17])
def test_what_commands_a_node_is_the_agents_alone(version: int) -> None:
    places = ("pg_use_reserved_connections",) if version > 15 else ()
    roles = {role.name: role for role in objects(CLUSTER, "pg1", version).spent_roles}
    assert roles == {
        REPMGR_ROLE: Role(REPMGR_ROLE, memberships=("pg_monitor", *places), settings=own_settings(version))
    }
    agent = next(role for role in objects(CLUSTER, "pg1", version).roles if role.name == AGENT_ROLE)
    assert agent == Role(
        AGENT_ROLE,
        replication=True,
        memberships=("pg_checkpoint", "pg_monitor", "pg_signal_backend", *places),
        settings=own_settings(version),
        endless=True,
    )
    assert _held("pg1", version, REPMGR_ROLE) == {XML}
    assert {"pg_promote(boolean,integer)", "primary_conninfo", "pg_reload_conf()", LOCK} <= _held(
        "pg1", version, AGENT_ROLE
    )
    # A witness' own agent locks it as repmgr's role; it does not even know the other.
    assert _held("w1", version, REPMGR_ROLE) == {LOCK, XML}
    assert AGENT_ROLE not in repr(objects(CLUSTER, "w1", version))


def test_repmgrd_resumes_no_replay() -> None:
    """It would before it asks, and a standby that is short of a limit shuts down by that. Earlier releases granted it."""
    taken = [grant for grant in objects(CLUSTER, "pg1", 17).grants if grant.object == RESUME]
    assert [(grant.role, grant.privileges) for grant in taken] == [(REPMGR_ROLE, ())]


def test_repmgrs_role_keeps_what_old_agents_do_until_they_are_gone() -> None:
    """A run of the site playbook must not blind the agents that it has not restarted yet."""
    found = objects(CLUSTER, "pg1", 17)
    (repmgr,) = [role for role in found.roles if role.name == REPMGR_ROLE]
    assert repmgr.at_least
    taken = [grant.object for grant in found.grants if grant.role == REPMGR_ROLE and not grant.privileges]
    taken.remove(RESUME)
    taken += [grant.object for grant in found.grants if grant.role == PUBLIC and grant.object in LOCKS]
    assert taken == []
    last = {grant.object for grant in found.spent_grants if grant.role == REPMGR_ROLE and not grant.privileges}
    assert {"primary_conninfo", "pg_promote(boolean,integer)", "pg_reload_conf()", LOCK} <= last


@pytest.mark.parametrize("name", ["pg1", "w1"])
def test_nobody_else_comes_into_repmgrs_database_or_locks_there(name: str) -> None:
    found = objects(CLUSTER, name, 17)
    assert {"name": REPMGR_DATABASE, "owner": "postgres"} in found.databases
    door = [grant for grant in found.grants if (grant.kind, grant.object) == ("DATABASE", REPMGR_DATABASE)]
    assert (door[-1].role, door[-1].privileges) == (PUBLIC, ())
    inside = {grant.role for grant in door if grant.privileges}
    assert inside == {REPMGR_ROLE, MONITOR_ROLE, *([AGENT_ROLE] if name == "pg1" else [])}
    assert {grant.object for grant in found.spent_grants if grant.role == PUBLIC} == set(LOCKS)
    assert len(set(LOCKS)) == 16


def test_extensions_are_repmgrs_own_and_the_users_on_data_nodes_alone() -> None:
    wanted = [{"name": "a", "database": "app", "package": "p", "preload": True}]
    wanted += [{"name": "b", "database": "app", "schema": "own"}]
    cluster = replace(CLUSTER, options=Options.of({**vars(CLUSTER.options), "extensions": wanted}))
    own = Extension("repmgr", REPMGR_DATABASE)
    assert objects(cluster, "w1", 17).extensions == (own,)
    theirs = (Extension("a", "app", preload=True), Extension("b", "app", "own"))
    assert objects(cluster, "pg1", 17).extensions == (own, *theirs)
