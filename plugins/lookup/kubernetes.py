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
        C(context), C(timeout), C(selectors), C(config), C(record), C(secret), and C(monitored), whether there are
        ServiceMonitors.
      - V(namespace) is the Namespace, V(secrets) the Secrets, V(objects) all others in the order in which they are applied.
      - V(before) is O(configs), or an empty list where nothing has begun by it, and it may be replaced; by O(records),
        O(claims) and O(pods).
      - V(config) is the ConfigMap with the description in a O(stage), or with the one that V(objects) have. Kubernetes refuses
        it where the one that is there is not O(there) any more.
      - V(overtaken) says that O(configs) is not what this run has written before O(stage), empty where it is. V(unwritten) is a
        sentence for what was O(said) when V(config) could not be applied.
      - V(digest) is the SHA-256 of the description in that O(stage), or of the one that V(objects) have. V(digests) are those
        of all that pods may have been given in this run so far.
      - V(refused) are sentences that say why O(configs), O(secrets), O(records), O(sets), O(claims) and O(pods) may not become
        what is wanted, by O(classes).
      - V(unapplied) says why O(leaving) may not be taken out of pods that go by O(configs), empty where it may.
      - V(growth) says which of O(claims) are to have which size, by name in C(claims), and which of O(sets) are to be made anew
        for that, as a list C(anew). V(ungrown) is a sentence for each of O(grown) that was refused.
      - V(stuck) are the names of O(pods) that never ran, and are not as their set is by now.
    required: true
  configs:
    description:
      - The cluster's ConfigMap as it is, or was before this run, in a list; an empty one where there is none. Who is counted
        and who is named stays as it has them.
    type: list
    elements: dict
    default: []
  there:
    description: The cluster's ConfigMap as it was last seen, in a list; an empty one where there is none.
    type: list
    elements: dict
    default: []
  records:
    description: The ConfigMap in which pods note that the cluster was initialised, in a list; an empty one where there is none.
    type: list
    elements: dict
    default: []
  last:
    description: The digest of what this run has written before O(stage); empty where that is one of V(digests).
    type: str
    default: ""
  said:
    description: What a task has said that failed.
    type: str
    default: ""
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
  classes:
    description: All StorageClasses that there are; not given where they may not be read.
    type: list
    elements: dict
  grown:
    description: What a task has said of each claim that V(growth) names.
    type: list
    elements: dict
    default: []
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

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import PgherdError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.objects.begun import begun
from ansible_collections.pgherd.cluster.plugins.plugin_utils._kubernetes import (
    Wanted,
    digest,
    stuck,
    ungrown,
)
from ansible_collections.pgherd.cluster.plugins.plugin_utils._rollout import told as told_to_pods
from ansible_collections.pgherd.cluster.plugins.plugin_utils._specification import plain


class LookupModule(LookupBase):
    """Front of _kubernetes.Wanted."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[Any]:
        """Return what the first term names as one term."""
        try:
            return [ANSWERS[terms[0]](Wanted(variables), variables, _Said(plain(kwargs)))]
        except PgherdError as error:
            raise AnsibleError(str(error)) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AnsibleError(
                f"Read what Kubernetes says, for {terms[0]!r}: {type(error).__name__}: {error}. Give this lookup what "
                "kubernetes.core.k8s_info returned as it is."
            ) from error


class _Said:
    """The options that were given."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self.stage, self.classes = given.get("stage"), given.get("classes")
        self.leaving, self.said = str(given.get("leaving") or ""), str(given.get("said") or "")

    def __getitem__(self, name: str) -> Any:
        return self._given.get(name) or ()

    def these(self, *names: str) -> list[Any]:
        """The lists of those names."""
        return [self[name] for name in names]


def _growth(wanted: Wanted, _variables: Any, said: _Said) -> dict[str, Any]:
    grown = wanted.growth(*said.these("sets", "claims"))
    return {"claims": dict(grown.claims), "anew": list(grown.anew)}


def _told(wanted: Wanted, said: _Said) -> Cluster:
    return wanted.told(said["configs"], said.stage, said.leaving)


def _digests(wanted: Wanted, variables: Any, _said: _Said) -> list[str]:
    return wanted.digests(*_of_this_run(wanted, variables))


def _overtaken(wanted: Wanted, variables: Any, said: _Said) -> str:
    if said["last"]:
        return wanted.overtaken(said["configs"], str(said["last"]))
    before, stages = _of_this_run(wanted, variables)
    return wanted.overtaken(said["configs"], wanted.digests(before, stages)[stages.index(said["stage"])])


def _of_this_run(wanted: Wanted, variables: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return told_to_pods(variables, [node.name for node in wanted.cluster.data_nodes])


BEGUN = ("configs", "records", "claims", "pods")
ANSWERS: dict[str, Callable[[Wanted, Any, _Said], Any]] = {
    "way": lambda wanted, _variables, _said: wanted.way,
    "namespace": lambda wanted, _variables, _said: wanted.namespace,
    "objects": lambda wanted, _variables, said: wanted.objects(False, *said.these("configs", "secrets")),
    "secrets": lambda wanted, _variables, said: wanted.objects(True, *said.these("configs", "secrets")),
    "before": lambda _wanted, _variables, said: list(said["configs"]) if begun(*said.these(*BEGUN)) else [],
    "config": lambda wanted, _variables, said: wanted.config(_told(wanted, said), said["there"]),
    "digest": lambda wanted, _variables, said: digest(_told(wanted, said)),
    "digests": _digests,
    "overtaken": _overtaken,
    "unwritten": lambda wanted, _variables, said: wanted.unwritten(said.said),
    "refused": lambda wanted, _variables, said: wanted.refused(
        *said.these("configs", "secrets", "sets", "claims", "records", "pods"), said.classes
    ),
    "unapplied": lambda wanted, _variables, said: wanted.unapplied(said["configs"], said.leaving),
    "growth": _growth,
    "ungrown": lambda _wanted, _variables, said: ungrown(said["grown"]),
    "stuck": lambda _wanted, _variables, said: stuck(*said.these("pods", "sets")),
}
