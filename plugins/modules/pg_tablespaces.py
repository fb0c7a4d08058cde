#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module pg_tablespaces."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_tablespaces
short_description: State the tablespaces of a PostgreSQL server
description:
  - Makes tablespaces on one PostgreSQL server, many in one task, and gives them to their owners. The login role must be a
    superuser.
  - The directories have to be there, on every node of a cluster, empty and owned by the user that PostgreSQL runs as.
  - A tablespace that is not stated is left alone. One that lies elsewhere is an error that says both places.
  - All changes are committed locally, without waiting for a synchronous standby (C(synchronous_commit=local)).
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.login
  - pgherd.cluster.attributes
notes:
  - In check mode, a server whose socket does not exist counts as an empty one, and an owner or a directory may be missing, since
    an earlier task of the run may be the one that brings them.
seealso:
  - module: community.postgresql.postgresql_tablespace
    description: The module that can drop and rename one too, and in check mode fails where it would make one.
options:
  tablespaces:
    description: The tablespaces that should be there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      location:
        description: The absolute path of its directory.
        type: path
        required: true
      owner:
        description: The role that owns it. Left out, one that is there keeps its owner, and a new one is the login role's.
        type: str
"""

EXAMPLES = r"""
- name: One on quick disks
  pgherd.cluster.pg_tablespaces:
    tablespaces:
      - name: quick
        location: /srv/quick/postgres
        owner: app
"""

RETURN = r"""
before:
  description: By tablespace that was not as stated, V(absent) or its owner.
  returned: always
  type: dict
  sample: {"tablespace quick": absent}
after:
  description: The same as it is now, or in check mode would be.
  returned: always
  type: dict
  sample: {"tablespace quick": "at /srv/quick/postgres, owned by app"}
steps:
  description: One sentence per step.
  returned: always
  type: list
  elements: str
  sample: [create tablespace quick at /srv/quick/postgres]
"""

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import (
    Discreet,
    conclude,
    login_spec,
    reporting_errors,
    sessions,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.objects.tablespaces import (
    FoundTablespaces,
    Tablespace,
    TablespaceExecutor,
    observe,
    plan,
)

TABLESPACE_SPEC = {
    "name": {"type": "str", "required": True},
    "location": {"type": "path", "required": True},
    "owner": {"type": "str"},
}
SPEC = {"tablespaces": {"type": "list", "elements": "dict", "default": [], "options": TABLESPACE_SPEC}}


def main() -> None:
    """Wire the module."""
    module = Discreet(argument_spec={**login_spec(), **SPEC}, supports_check_mode=True)
    with reporting_errors(module), sessions(module) as server:
        tablespaces = [Tablespace(**item) for item in module.params["tablespaces"]]
        found = observe(server) if server else FoundTablespaces()
        conclude(module, plan(tablespaces, found), TablespaceExecutor(server))


if __name__ == "__main__":
    main()
