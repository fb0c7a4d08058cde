#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module barman_server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: barman_server
short_description: See that a Barman host receives WAL and has a backup
description:
  - States that this host receives the cluster's WAL, that all its checks are good, and that it has at least one
    finished backup.
  - Makes the replication slot, starts what has to run, has a first WAL file archived, takes a first backup, and deletes
    what failed backups left, each only where it is needed. Then it waits until C(barman check) is good.
  - Waits for a primary that has just come up. A slot whose WAL the primary has removed is made anew, and since that
    leaves a gap, another backup is taken.
  - Barman's configuration and units have to be there; role P(pgherd.cluster.barman#role) writes them.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes
  - pgherd.cluster.cluster
requirements:
  - psycopg 3.1 or later on the host that runs the module
options:
  host:
    description: The inventory name of this Barman host.
    type: str
    required: true
  timeout:
    description:
      - How long to wait, in seconds, for a primary, for the first WAL file, and for checks to become good, each.
    type: int
    default: 300
  backup_timeout:
    description: How long to wait, in seconds, for a backup to finish. It goes on when this has passed.
    type: int
    default: 14400
  wait:
    description:
      - Whether to wait for a primary, and for checks that nothing here makes good. To be V(false) where the same run has failed
        on every node, so that neither can come.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Backups are taken
  pgherd.cluster.barman_server:
    cluster: "{{ cluster_model }}"
    host: "{{ inventory_hostname }}"
"""

RETURN = r"""
before:
  description: What was there.
  returned: always
  type: dict
  contains:
    replication_slot:
      description: Whether the slot was on the primary, with its WAL.
      type: bool
      returned: always
    units_running:
      description: Whether all units ran, with the files as they are now.
      type: bool
      returned: always
    wal_archived:
      description: Whether any WAL file has been archived.
      type: bool
      returned: always
    finished_backup:
      description: Whether there was a backup that can be restored.
      type: bool
      returned: always
    failed_checks:
      description: The checks that failed, with what Barman says of them.
      type: list
      elements: str
      returned: always
after:
  description: What is there now, or in check mode would be, like RV(before).
  returned: always
  type: dict
steps:
  description: One sentence per step.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import (
    Discreet,
    cluster_spec,
    conclude,
    reporting_errors,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.backups.backup import observe, opener, plan
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.backups.backup_apply import BackupExecutor
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import CLUSTER_FILE, Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.observe.gather import ask_agent
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.host.files.barman import services_and_files
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.host.systemd import services
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.host.taken_up import LIMIT, Agents, without
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.run import LocalRunner
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.services import AGENT
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.programs.barman import Client
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.render.conf_barman import place


def main() -> None:
    """Wire the module."""
    module = Discreet(
        argument_spec={
            **cluster_spec(),
            "host": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 300},
            "backup_timeout": {"type": "int", "default": 14400},
            "wait": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    with reporting_errors(module):
        given = module.params
        cluster, runner = Cluster.from_dict(given["cluster"]), LocalRunner()
        here, open_, service = place(cluster, given["host"]), opener(cluster), services()
        client = Client(runner, here.server)
        host = next(item for item in cluster.barmans if item.name == given["host"])
        limits = given["timeout"], given["backup_timeout"]
        executor = BackupExecutor(here, client, service, open_, *limits, told=lambda: ask_agent(cluster, host))
        reads, agents = services_and_files(cluster), Agents(service, 0.0 if module.check_mode else LIMIT)
        reads[AGENT] = without(CLUSTER_FILE, reads[AGENT], agents, AGENT)
        state = executor.settled(
            lambda: observe(here, client, service, open_, reads),
            wait=given["wait"] and not module.check_mode,
            forecast=module.check_mode,
        )
        conclude(module, plan(here, state), executor)


if __name__ == "__main__":
    main()
