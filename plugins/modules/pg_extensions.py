#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module pg_extensions."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_extensions
short_description: State the extensions of databases
description:
  - Makes extensions in the databases of one PostgreSQL server (15 or later), many in one task. The login role must be a
    superuser, and owns what it makes.
  - An extension's script runs as superuser, and calls what it names without a schema wherever it finds it, in its own
    schema or in those of extensions that it requires. Where other roles, which are not superusers, have functions,
    operators, casts, types, views, triggers or rules there, nothing is made; the error names them.
  - Nobody can put anything there between that look and the end of the script. For as long as that takes, others in the
    database wait when they create something, and the module waits up to ten seconds for open transactions that have
    written. One that does not end by then is an error that names it.
  - An extension that is there is left alone, whatever its version.
  - All changes are committed locally, without waiting for a synchronous standby (C(synchronous_commit=local)).
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.login
  - pgherd.cluster.attributes
notes:
  - In check mode, a server whose socket does not exist counts as an empty one, and a database or an extension's files may
    be missing, since an earlier task of the run may be the one that brings them.
options:
  extensions:
    description: The extensions that should be there, made in this order. One that another requires stands before it.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      database:
        description: The database to have it in.
        type: str
        required: true
      schema:
        description:
          - Schema to put it in. Left out, the one that its control file names, or else V(public).
          - One that does not exist is made, owned by the login role, with C(USAGE) for everybody.
          - An extension that is in another schema is an error that says both, since moving it changes its users' statements.
        type: str
      preload:
        description:
          - Whether its library has to be in C(shared_preload_libraries), by the extension's name, before it is made. Where the
            running server has not loaded it yet, the extension is left for later, and so are those that require it;
            RV(waiting) names them.
        type: bool
        default: false
"""

EXAMPLES = r"""
- name: One in public, and one where the database's owner has functions in public
  pgherd.cluster.pg_extensions:
    extensions:
      - name: pg_stat_statements
        database: postgres
      - name: hstore
        database: shop
        schema: extensions
"""

RETURN = r"""
before:
  description: By extension, and by schema, that was not there, V(absent).
  returned: always
  type: dict
  sample: {"extension hstore in database shop": absent}
after:
  description: The same as it is now, or in check mode would be.
  returned: always
  type: dict
  sample: {"extension hstore in database shop": in schema extensions}
steps:
  description: One sentence per step.
  returned: always
  type: list
  elements: str
  sample: [create schema extensions in database shop, create extension hstore in database shop]
waiting:
  description: Extensions that are made only when the server has been restarted.
  returned: always
  type: list
  elements: str
  sample: [extension pgaudit in database shop]
"""

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import (
    Discreet,
    conclude,
    login_spec,
    reporting_errors,
    sessions,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.objects.extensions import (
    Extension,
    ExtensionExecutor,
    FoundExtensions,
    observe,
    plan,
    waiting,
)

EXTENSION_SPEC = {
    "name": {"type": "str", "required": True},
    "database": {"type": "str", "required": True},
    "schema": {"type": "str"},
    "preload": {"type": "bool", "default": False},
}
SPEC = {"extensions": {"type": "list", "elements": "dict", "default": [], "options": EXTENSION_SPEC}}


def main() -> None:
    """Wire the module."""
    module = Discreet(argument_spec={**login_spec(), **SPEC}, supports_check_mode=True)
    with reporting_errors(module), sessions(module) as server:
        extensions = [Extension(**item) for item in module.params["extensions"]]
        found = observe(server, extensions) if server else FoundExtensions()
        todo = plan(extensions, found, missing_ok=module.check_mode)
        conclude(
            module,
            todo,
            ExtensionExecutor(server),
            waiting=[str(extension) for extension in waiting(extensions, found)],
        )


if __name__ == "__main__":
    main()
