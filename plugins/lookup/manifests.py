# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lookup manifests."""

from __future__ import annotations

DOCUMENTATION = r"""
name: manifests
short_description: What Kubernetes is to have of a cluster of pods, as files
description:
  - For the playbook C(manifests), which writes them into C(cluster_manifests_directory). Works on the control machine, once
    role P(pgherd.cluster.cluster#role) has checked the cluster in the same run.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
options:
  _terms:
    description:
      - V(directory) is where they are written, V(files) is by name what each has in it, V(stale) are those that were written
        there before and are no more. Secrets are among them with C(cluster_manifests_secrets) alone.
    required: true
"""

EXAMPLES = r"""
- name: Write them
  ansible.builtin.copy:
    content: "{{ item.value }}"
    dest: "{{ lookup('pgherd.cluster.manifests', 'directory') }}/{{ item.key }}"
    mode: "0600"
  loop: "{{ lookup('pgherd.cluster.manifests', 'files') | dict2items }}"
"""

RETURN = r"""
_raw:
  description: A path, a dictionary, or a list of names.
  type: raw
"""

import os
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError, PgherdError
from ansible_collections.pgherd.cluster.plugins.plugin_utils._kubernetes import Wanted
from ansible_collections.pgherd.cluster.plugins.plugin_utils._manifests import manifests, stale
from ansible_collections.pgherd.cluster.plugins.plugin_utils._pods import values


class LookupModule(LookupBase):
    """Front of _manifests.py."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[Any]:
        """Return what the first term names as one term."""
        try:
            wanted = Wanted(variables)
            said = values(variables, "cluster_manifests_directory", "cluster_manifests_secrets")
            if not said["cluster_manifests_directory"]:
                raise ConfigError(["Name the directory to write into, with -e cluster_manifests_directory=DIRECTORY."])
            directory = os.path.abspath(os.path.expanduser(said["cluster_manifests_directory"]))
            if terms[0] == "directory":
                return [directory]
            objects = [wanted.namespace, *wanted.objects(secret=False)]
            if said["cluster_manifests_secrets"]:
                objects += wanted.objects(secret=True)
            files = manifests(wanted.cluster.name, objects)
            return [files if terms[0] == "files" else stale(directory, wanted.cluster.name, files)]
        except PgherdError as error:
            raise AnsibleError(str(error)) from error
        except OSError as error:
            raise AnsibleError(f"Look at {error.filename}: {error.strerror}.") from error
