# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a module reaches PostgreSQL, the twin of _ansible.login_spec()."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragment pgherd.cluster.login."""

    DOCUMENTATION = r"""
options:
  login_host:
    description: Host name, address or directory of the Unix socket.
    type: str
    default: /var/run/postgresql
  login_port:
    description: The server's port.
    type: int
    default: 5432
  login_user:
    description: The role to connect as. On the hosts of a cluster root may be V(postgres) through the socket.
    type: str
    default: postgres
  login_password:
    description: The role's password. Leave it out where the socket or a passfile serves.
    type: str
  login_db:
    description: The database to connect to.
    type: str
    default: postgres
  sslmode:
    description: As libpq's parameter of this name.
    type: str
    default: prefer
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
  sslrootcert:
    description: File with the certificates of the authorities to trust.
    type: path
requirements:
  - psycopg 3.1 or later on the host that runs the module
"""
