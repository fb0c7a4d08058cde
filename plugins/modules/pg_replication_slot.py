#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module pg_replication_slot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_replication_slot
short_description: State a replication slot of a primary or a standby
description:
  - Makes or drops a physical or logical replication slot on one server, PostgreSQL 15 to 17. The login role needs
    REPLICATION or must be a superuser.
  - A slot in use is never dropped; the error names its user. A slot of the same name that is another one (type, plugin,
    database, two-phase) is an error that says both, never a warning.
  - A physical slot whose WAL is gone (C(wal_status=lost)) is replaced, since nobody can use it again. A lost logical
    slot is an error, since its reader missed changes and must be built anew.
  - Temporary slots are not offered. They end with the session that made them, and the module's session ends with it.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.login
  - pgherd.cluster.attributes
notes:
  - A standby can have physical slots in all versions, logical ones from PostgreSQL 16 on, where both it and its primary
    run with C(wal_level=logical). Slots are not replicated, so state one on each server that should have it.
  - In check mode, a server whose socket does not exist counts as an empty one, since an earlier task of the run may be
    the one that makes it.
options:
  name:
    description: Its name, of lower case letters, digits and underscores.
    type: str
    required: true
  state:
    description: Whether it should be there.
    type: str
    choices: [present, absent]
    default: present
  type:
    description: What it streams. Left out, a new slot is V(physical), and a slot of either type may be dropped.
    type: str
    choices: [physical, logical]
  reserve:
    description:
      - Whether a physical slot keeps WAL from its creation on, instead of from its first use
        (C(immediately_reserve)). One that keeps nothing yet is replaced for it. A logical slot always does.
    type: bool
    default: false
  plugin:
    description: Output plugin of a logical slot.
    type: str
    default: pgoutput
  two_phase:
    description: Whether a logical slot decodes prepared transactions. Cannot be changed.
    type: bool
    default: false
  failover:
    description:
      - Whether a logical slot is copied to the standbys that synchronise slots. Needs PostgreSQL 17 and is stated on
        the primary.
      - Can be changed while nobody uses the slot. Where a subscription made it, set it with C(ALTER SUBSCRIPTION)
        instead.
    type: bool
    default: false
  timeout:
    description:
      - Seconds that making a logical slot may take. A primary waits for its open transactions to end, a standby for
        news of them, which an idle primary does not send until somebody calls C(pg_log_standby_snapshot(\)) on it.
    type: int
    default: 60
  login_db:
    description: The database to connect to. A logical slot belongs to it.
    type: str
    default: postgres
"""

EXAMPLES = r"""
- name: A slot for the backup host, keeping WAL from now on
  pgherd.cluster.pg_replication_slot:
    name: barman
    reserve: true

- name: A logical slot that survives a failover
  pgherd.cluster.pg_replication_slot:
    name: warehouse
    type: logical
    login_db: shop
    failover: true

- name: No slot of a standby that is gone
  pgherd.cluster.pg_replication_slot:
    name: repmgr_slot_4
    state: absent
"""

RETURN = r"""
before:
  description:
    - The slot as found; empty without one. What the server's version has of the columns of C(pg_replication_slots).
  returned: always
  type: dict
  sample: {}
after:
  description: The slot as it is now. In check mode, what is known of how it would be.
  returned: always
  type: dict
  sample:
    name: barman
    type: physical
    active: false
    active_pid: null
    restart_lsn: 0/3000060
    wal_status: reserved
steps:
  description: One sentence per step.
  returned: always
  type: list
  elements: str
  sample: [create physical slot barman]
"""

from functools import partial

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import (
    Discreet,
    apply_plan,
    finish,
    login_spec,
    reporting_errors,
    sessions,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.objects import slots

SPEC = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "type": {"type": "str", "choices": ["physical", "logical"]},
    "reserve": {"type": "bool", "default": False},
    "plugin": {"type": "str", "default": "pgoutput"},
    "two_phase": {"type": "bool", "default": False},
    "failover": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 60},
}


def main() -> None:
    """Wire the module."""
    module = Discreet(argument_spec={**login_spec(), **SPEC}, supports_check_mode=True)
    params = module.params
    with reporting_errors(module), sessions(module) as session:
        options = {key: params[key] for key in ("name", "reserve", "plugin", "two_phase", "failover")}
        wanted = slots.WantedSlot(type=params["type"] or "physical", database=params["login_db"], **options)
        server = session(params["login_db"]) if session else None
        found = slots.observe(server, wanted.name) if server else slots.FoundSlots()
        is_absent = params["state"] == "absent"
        todo = slots.absent(wanted.name, found, params["type"]) if is_absent else slots.present(wanted, found)
        if not todo.changed or module.check_mode:
            finish(module, todo)
        walsender = partial(session, params["login_db"], replication="database")
        apply_plan(module, todo, slots.SlotExecutor(server, walsender, params["timeout"]))
        finish(module, todo, after=dict(slots.observe(server, wanted.name).slot or {}))


if __name__ == "__main__":
    main()
