#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module pg_roles."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_roles
short_description: State database roles, their passwords, memberships and privileges
description:
  - States many roles and grants of one PostgreSQL server (15 or later) in one task, and reads from the catalogue what
    is so already. The login role must be a superuser.
  - A password is sent as a SCRAM-SHA-256 verifier only. One that matches the stored verifier is left alone.
  - All changes are committed locally, without waiting for a synchronous standby (C(synchronous_commit=local)). A new
    primary has none yet, and its standbys need these roles before they can come.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.login
  - pgherd.cluster.attributes
notes:
  - In check mode, a server whose socket does not exist counts as an empty one, and an object or role that a grant names
    may be missing, since an earlier task of the run may be the one that makes it.
options:
  roles:
    description: The roles that should be there. An attribute that is not said is taken away.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      login:
        description: Whether it may log in.
        type: bool
        default: true
      replication:
        description: Whether it may stream.
        type: bool
        default: false
      createdb:
        description: Whether it may create databases.
        type: bool
        default: false
      createrole:
        description: Whether it may create roles.
        type: bool
        default: false
      superuser:
        description: Whether it may do everything.
        type: bool
        default: false
      connection_limit:
        description: How many sessions it may have at once. V(-1) is no limit.
        type: int
        default: -1
      memberships:
        description: Exactly the roles that it is a member of. Left out, they are left alone.
        type: list
        elements: str
      settings:
        description: Settings of its sessions (C(ALTER ROLE ... SET)). Others are left alone, V(null) resets one.
        type: dict
        default: {}
      at_least:
        description: Whether attributes and memberships that it has beyond those that are said stay.
        type: bool
        default: false
      endless:
        description: Whether its password does not end (C(VALID UNTIL)). If not, its end is left alone.
        type: bool
        default: false
  grants:
    description:
      - Exactly the privileges that a role itself holds on an object. What it may do as the object's owner, as member of
        another role or as everybody is not counted.
      - Grants that meet in one object, such as a table and all tables of its schema, add up.
    type: list
    elements: dict
    default: []
    suboptions:
      role:
        description: The role, or V(PUBLIC) for everybody.
        type: str
        required: true
      kind:
        description: Kind of the object.
        type: str
        required: true
        choices: [DATABASE, SCHEMA, TABLE, FUNCTION, PARAMETER, ALL TABLES IN SCHEMA, ALL FUNCTIONS IN SCHEMA]
      object:
        description:
          - The object in SQL, as after C(GRANT ... ON). A function with the types of its arguments.
          - With its schema, unless that is C(pg_catalog), since nothing else is in the path of the module's session.
        type: str
        required: true
      privileges:
        description: The privileges, or V(ALL). An empty list takes all away.
        type: list
        elements: str
        required: true
      database:
        description: The database that the object is in.
        type: str
        default: postgres
  passwords:
    description: Passwords by role of O(roles), each in clear or as a SCRAM-SHA-256 verifier. Others are left alone.
    type: dict
    default: {}
  absent:
    description:
      - Roles that should not be there. Their privileges in all databases are revoked first.
      - One that still owns something is an error that says where.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: A role that may do backups, and one for the application
  pgherd.cluster.pg_roles:
    roles:
      - name: backup
        replication: true
      - name: shop
        memberships: [pg_read_all_stats]
        settings:
          statement_timeout: 30s
    passwords:
      shop: "{{ vault_shop_password }}"
    grants:
      - role: backup
        kind: FUNCTION
        object: pg_backup_start(text,boolean)
        privileges: [EXECUTE]
      - role: shop
        kind: ALL TABLES IN SCHEMA
        object: public
        privileges: [SELECT, INSERT]
        database: shop
"""

RETURN = r"""
before:
  description: By role and by grant that differs, what was found. Holds no secret.
  returned: always
  type: dict
  sample: {"role shop": absent, "backup on FUNCTION pg_switch_wal() (database postgres)": []}
after:
  description: The same as it is now, or in check mode would be. A changed password shows as V((another\)).
  returned: always
  type: dict
steps:
  description: One sentence per step.
  returned: always
  type: list
  elements: str
  sample: [create role shop]
"""

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import (
    Discreet,
    conclude,
    login_spec,
    reporting_errors,
    sessions,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.objects.roles import (
    KINDS,
    FoundRoles,
    Grant,
    Role,
    RoleExecutor,
    observe,
    plan,
)

ROLE_SPEC = {
    "name": {"type": "str", "required": True},
    "login": {"type": "bool", "default": True},
    **{key: {"type": "bool", "default": False} for key in ("replication", "createdb", "createrole", "superuser")},
    "connection_limit": {"type": "int", "default": -1},
    "memberships": {"type": "list", "elements": "str"},
    "settings": {"type": "dict", "default": {}},
    "at_least": {"type": "bool", "default": False},
    "endless": {"type": "bool", "default": False},
}
GRANT_SPEC = {
    "role": {"type": "str", "required": True},
    "kind": {"type": "str", "required": True, "choices": list(KINDS)},
    "object": {"type": "str", "required": True},
    "privileges": {"type": "list", "elements": "str", "required": True},
    "database": {"type": "str", "default": "postgres"},
}
SPEC = {
    "roles": {"type": "list", "elements": "dict", "default": [], "options": ROLE_SPEC},
    "grants": {"type": "list", "elements": "dict", "default": [], "options": GRANT_SPEC},
    "passwords": {"type": "dict", "default": {}, "no_log": True},
    "absent": {"type": "list", "elements": "str", "default": []},
}


def main() -> None:
    """Wire the module."""
    module = Discreet(argument_spec={**login_spec(), **SPEC}, supports_check_mode=True)
    params = module.params
    with reporting_errors(module), sessions(module) as server:
        roles = [Role.from_dict(item) for item in params["roles"]]
        grants = [Grant.from_dict(item) for item in params["grants"]]
        found = observe(server, roles, grants, params["absent"]) if server else FoundRoles()
        todo = plan(roles, grants, params["passwords"], found, params["absent"], missing_ok=module.check_mode)
        conclude(module, todo, RoleExecutor(server))


if __name__ == "__main__":
    main()
