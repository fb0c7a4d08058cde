# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which cluster a module is about, which node is on its host, and who follows its steps: the twins of cluster_spec(),
node_spec(), described_spec() and steps_spec() in _ansible."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragments pgherd.cluster.cluster and, beside it, cluster.node; cluster.described for what goes by the host's own file;
    cluster.steps for what may take long."""

    DOCUMENTATION = r"""
options:
  cluster:
    description: The cluster's model, the fact C(cluster_model) of M(pgherd.cluster.cluster_model).
    type: dict
    required: true
"""

    NODE = r"""
options:
  node:
    description: The node on this host, by its name in the model.
    type: str
    required: true
  postgres_version:
    description: PostgreSQL's major version here, where the model does not have it. Another one than the model's is refused.
    type: int
    default: 0
"""

    DESCRIBED = r"""
options:
  cluster_file:
    description: The description of the cluster that the site playbook wrote on every host.
    type: path
    default: /etc/pgherd/cluster.json
"""

    STEPS = r"""
options:
  steps_file:
    description:
      - A file on the host to which each step is appended when it is done, as a line that is the JSON list of its number and its
        sentence. Without it a task shows the steps itself while they are done, unless it has C(async) or C(no_log).
    type: path
"""
