# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lookup kubernetes."""

from __future__ import annotations

DOCUMENTATION = r"""
name: kubernetes
short_description: What Kubernetes is to have of a cluster of pods, and what is still to come there
description:
  - For the role P(pgherd.cluster.kubernetes#role). Works on the control machine, where the secrets are, once the role
    P(pgherd.cluster.cluster#role) has checked the cluster in the same run.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
options:
  _terms:
    description:
      - V(way) is how Kubernetes is reached and what is looked at there, as a dictionary with C(namespace), C(kubeconfig),
        C(context), C(timeout), C(selectors), C(config), C(secret), and C(monitored), whether there are ServiceMonitors.
      - V(namespace) is the Namespace, V(secrets) the Secrets, V(objects) all others in the order in which they are applied.
      - V(config) is the ConfigMap with the description in a O(stage).
      - V(digest) is the SHA-256 of the description in that O(stage), or of the one that V(objects) have. V(digests) are those
        of all that pods may have been given in this run so far.
      - V(refused) are sentences that say why O(configs), O(secrets), O(sets) and O(claims) may not become what is wanted.
      - V(unapplied) says why O(leaving) may not be taken out of pods that go by O(configs), empty where it may.
      - V(growth) says which of O(claims) are to have which size, by name in C(claims), and which of O(sets) are to be made anew
        for that, as a list C(anew).
      - V(waits) are sentences that say what of O(pods) does not run, is not yet as its set is, or is not O(ready).
      - V(stuck) are the names of O(pods) that never ran, and are not as their set is by now.
    required: true
  configs:
    description:
      - The cluster's ConfigMap as it is, or was before this run, in a list; an empty one where there is none. Who is counted
        and who is named stays as it has them.
    type: list
    elements: dict
    default: []
  stage:
    description: One of RV(pgherd.cluster.cluster_counting#module:stages).
    type: dict
  leaving:
    description: A node that this run removes, and that is in the description still.
    type: str
    default: ""
  secrets:
    description: The nodes' Secret as it is, in a list; an empty one where there is none.
    type: list
    elements: dict
    default: []
  pods:
    description: The cluster's pods as they are.
    type: list
    elements: dict
    default: []
  sets:
    description: The cluster's StatefulSets as they are.
    type: list
    elements: dict
    default: []
  claims:
    description: The cluster's claims as they are.
    type: list
    elements: dict
    default: []
  ready:
    description: Whether pods are to be ready, and not only to run.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Objects
  kubernetes.core.k8s:
    definition: "{{ item }}"
    apply: true
  loop: "{{ lookup('pgherd.cluster.kubernetes', 'objects') }}"
"""

RETURN = r"""
_raw:
  description: What the term asks for.
  type: raw
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import PgherdError
from ansible_collections.pgherd.cluster.plugins.plugin_utils._kubernetes import Wanted, digest, missing, stuck
from ansible_collections.pgherd.cluster.plugins.plugin_utils._rollout import told as told_to_pods
from ansible_collections.pgherd.cluster.plugins.plugin_utils._specification import plain


class LookupModule(LookupBase):
    """Front of _kubernetes.Wanted."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[Any]:
        """Return what the first term names as one term."""
        said = plain(kwargs)
        try:
            wanted = Wanted(variables)
            configs = said.get("configs") or ()
            if terms[0] in ("objects", "secrets"):
                return [wanted.objects(terms[0] == "secrets", configs, said.get("secrets") or ())]
            if terms[0] in ("config", "digest"):
                told = wanted.told(configs, said.get("stage"), str(said.get("leaving") or ""))
                return [wanted.config(told) if terms[0] == "config" else digest(told)]
            if terms[0] == "digests":
                return [wanted.digests(*told_to_pods(variables, [node.name for node in wanted.cluster.data_nodes]))]
            if terms[0] in ("refused", "unapplied"):
                return [_against(wanted, terms[0], configs, said)]
            if terms[0] == "growth":
                grown = wanted.growth(said.get("sets") or (), said.get("claims") or ())
                return [{"claims": dict(grown.claims), "anew": list(grown.anew)}]
            if terms[0] in ("waits", "stuck"):
                pods, sets = said.get("pods") or (), said.get("sets") or ()
                if terms[0] == "stuck":
                    return [stuck(pods, sets)]
                return [list(missing(wanted.cluster, pods, sets, bool(said.get("ready"))))]
            return [{"way": wanted.way, "namespace": wanted.namespace}[terms[0]]]
        except PgherdError as error:
            raise AnsibleError(str(error)) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AnsibleError(
                f"Read what Kubernetes says, for {terms[0]!r}: {type(error).__name__}: {error}. Give this lookup what "
                "kubernetes.core.k8s_info returned as it is."
            ) from error


def _against(wanted: Wanted, term: str, configs: Any, said: Any) -> Any:
    """What speaks against giving pods that go by *configs* what is wanted, or against taking a node out of them."""
    if term == "unapplied":
        return wanted.unapplied(configs, str(said.get("leaving") or ""))
    return wanted.refused(configs, said.get("secrets") or (), said.get("sets") or (), said.get("claims") or ())
