# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a module reaches Pgpool-II's PCP, the twin of _ansible.pcp_spec()."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragment pgherd.cluster.pcp."""

    DOCUMENTATION = r"""
options:
  pcp_host:
    description: Host name, address, or directory of the socket of PCP.
    type: str
    default: /var/run/postgresql
  pcp_port:
    description: The port of PCP.
    type: int
    default: 9898
  pcp_user:
    description: The PCP user.
    type: str
    default: pgherd
  pcp_passfile:
    description: PCP's password file, of mode 0600, with lines C(host:port:user:password).
    type: path
    default: /etc/pgherd/pcp.pass
  pcp_password:
    description: The PCP user's password, in the place of O(pcp_passfile). It is never on a command line.
    type: str
"""
