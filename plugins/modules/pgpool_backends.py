#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module pgpool_backends."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pgpool_backends
short_description: State which backends a Pgpool-II has and which of them it uses
description:
  - Gives a pgpool the backends of O(backends), and attaches or detaches each.
  - Only the primary, and a standby whose chain of streams ends at the primary, is ever attached. Which these are is asked
    of all servers at once; what pgpool believes decides nothing.
  - Runs on the pgpool's host, beside a pgpool that runs.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes
  - pgherd.cluster.pcp
requirements:
  - psycopg 3.1 or later on the host that runs the module
options:
  backends:
    description:
      - The backends, as text C(number:host:port:weight:data_directory:flag[,...]), or as a list of such texts or of
        dictionaries with these keys.
      - Fields that are empty or left out have the defaults 5432, 1, C(/var/lib/postgresql/data) and C(ALLOW_TO_FAILOVER).
        Numbers may have gaps and come in any order. An IPv6 address stands in brackets.
      - Backends that pgpool has and that are not named here are left alone. Leave the option out to mean all that it has.
    type: raw
  state:
    description:
      - V(observed) attaches what serves and detaches what does not - a server that does not answer twice, a primary that
        has been replaced - and tells pgpool which the primary is.
      - V(attached) fails for a backend that should not be attached now.
      - V(detached) detaches without a question.
    type: str
    choices: [observed, attached, detached]
    default: observed
  config:
    description:
      - The configuration file of pgpool. Its C(backend_*) lines are made as O(backends) says, and pgpool reads it again.
      - Empty leaves the file alone; a backend that pgpool does not have is then an error.
      - Without O(backends) it is read only, and a backend that pgpool still has but the file has not is left alone.
    type: path
  restart:
    description: Allow a restart where another server is to have a number that is in use; pgpool takes that only then.
    type: bool
    default: false
  minimum:
    description: Wait until pgpool uses so many backends, the primary among them.
    type: int
    default: 0
  wait:
    description: Whether to wait for O(minimum), or to fail at once, as where the same run has failed on every node.
    type: bool
    default: true
  timeout:
    description: For how many seconds to wait for each effect.
    type: float
    default: 30
  login_user:
    description: The role to ask the servers as; a member of C(pg_monitor).
    type: str
    default: pgherd_monitor
  login_password:
    description: Its password, in the place of O(login_passfile).
    type: str
  login_passfile:
    description: Its password in libpq's password file.
    type: path
    default: /etc/pgherd/monitor.pgpass
  login_db:
    description: The database to connect to.
    type: str
    default: postgres
  sslmode:
    description: As libpq's parameter of this name.
    type: str
    default: verify-full
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
  sslrootcert:
    description: File with the certificates of the authorities to trust.
    type: path
    default: /etc/pgherd/tls/ca.crt
"""

EXAMPLES = r"""
- name: What serves is attached, what does not is detached, and two backends are in use at the end
  pgherd.cluster.pgpool_backends:
    minimum: 2

- name: A third backend with half of the others' reads
  pgherd.cluster.pgpool_backends:
    backends: "3:pg4::0.5::"
    config: /etc/pgpool2/pgpool.conf

- name: No session uses pg3 while it is being mended
  pgherd.cluster.pgpool_backends:
    backends: [{number: 2, host: pg3}]
    state: detached
"""

RETURN = r"""
backends:
  description: All backends that pgpool has afterwards, as it sees them; delays in bytes or seconds.
  returned: always
  type: list
  elements: dict
has_write_node:
  description: Whether pgpool has a primary and uses it.
  returned: always
  type: bool
before:
  description: By backend that changes, its status in pgpool before.
  returned: always
  type: dict
after:
  description: The same, afterwards.
  returned: always
  type: dict
steps:
  description: One sentence per step, with what was seen that asks for it.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import (
    SSL_MODES,
    Discreet,
    apply_plan,
    finish,
    pcp_client,
    pcp_spec,
    reporting_errors,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.host.systemd import services
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.pools.backends import has_write_node
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.pools.backends_apply import (
    BackendExecutor,
    Request,
    plan_request,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.run import LocalRunner


def main() -> None:
    """Wire the module."""
    module = Discreet(
        argument_spec={
            **pcp_spec(),
            "backends": {"type": "raw"},
            "state": {"type": "str", "choices": ["observed", "attached", "detached"], "default": "observed"},
            "config": {"type": "path"},
            "restart": {"type": "bool", "default": False},
            "minimum": {"type": "int", "default": 0},
            "wait": {"type": "bool", "default": True},
            "timeout": {"type": "float", "default": 30.0},
            "login_user": {"type": "str", "default": "pgherd_monitor"},
            "login_password": {"type": "str", "no_log": True},
            "login_passfile": {"type": "path", "default": "/etc/pgherd/monitor.pgpass"},
            "login_db": {"type": "str", "default": "postgres"},
            "sslmode": {"type": "str", "choices": SSL_MODES, "default": "verify-full"},
            "sslrootcert": {"type": "path", "default": "/etc/pgherd/tls/ca.crt"},
        },
        supports_check_mode=True,
    )
    with reporting_errors(module):
        given, runner = module.params, LocalRunner()
        pcp = pcp_client(module, runner)
        executor = BackendExecutor(pcp, services(), given["timeout"])
        login = {
            "user": given["login_user"],
            "password": given["login_password"],
            "passfile": given["login_passfile"],
            "dbname": given["login_db"],
            "sslmode": given["sslmode"],
            "sslrootcert": given["sslrootcert"],
        }
        request = Request(given["state"], given["backends"], given["config"] or "", given["restart"])
        todo = plan_request(request, pcp, login)
        apply_plan(module, todo, executor)
        table = pcp.nodes() if module.check_mode else executor.wait_for(given["minimum"], given["wait"])
        rows = [vars(node) for _number, node in sorted(table.items())]
        finish(module, todo, backends=rows, has_write_node=has_write_node(table))


if __name__ == "__main__":
    main()
