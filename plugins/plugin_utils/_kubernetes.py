# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What Kubernetes is to have of a cluster, and what it says of it, as the role kubernetes needs both. **PRIVATE**."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.members.pods import refused as refused_changes
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.members.pods import told, unapplied
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import SYSTEM_ROLES, Cluster, Pgpool
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.objects.all import objects
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.objects.begun import (
    begun,
    gone,
    versioned,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.objects.claims import Growth, growth
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.objects.config import (
    config_map,
    namespace,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.objects.naming import (
    COMPONENT,
    MAIN,
    POSTGRES,
    ROLE,
    SECRETS,
    SET,
    common,
    record_name,
    secret_name,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.objects.secret import PASSWORDS
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.objects.wishes import Wishes
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.texts import DESCRIPTION
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.render import conf_cluster
from ansible_collections.pgherd.cluster.plugins.plugin_utils._certificates import authority_keys
from ansible_collections.pgherd.cluster.plugins.plugin_utils._cluster import (
    certificate_names,
    kept_passwords,
    known_authority,
    model,
    store,
)
from ansible_collections.pgherd.cluster.plugins.plugin_utils._existing import why
from ansible_collections.pgherd.cluster.plugins.plugin_utils._living import FLAG
from ansible_collections.pgherd.cluster.plugins.plugin_utils._pods import names
from ansible_collections.pgherd.cluster.plugins.plugin_utils._run import recall, removal_of
from ansible_collections.pgherd.cluster.plugins.plugin_utils._specification import given, plain, specification

Objects = Sequence[Mapping[str, Any]]
# In what kubernetes.core says when the API server refuses a version that was changed since: a status, whose code is HTTP's.
CONFLICT = re.compile(r'"code":\s*409\b')


class Wanted:
    """The cluster of the inventory as Kubernetes is to have it. *variables*: a task's. Raises ConfigError where role cluster has
    not checked it in this run, or no host is a pod."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        found = names(variables)
        if not found:
            raise ConfigError(["No host of the inventory is a pod; set place: pod for those that are."])
        # Raw in variables, with their templates resolved in hostvars. Of a pod that is out of this run nothing is known.
        every = [variables["hostvars"][name] for name in found]
        self.mine = next((one for one in every if "cluster_model" in one), every[0])
        self._forecast = bool(variables.get("ansible_check_mode"))
        self.cluster = model(self.mine)
        self._values = {
            name: given(self.mine, name) for name in specification() if "{{" not in str(self._default(name))
        }
        self.wishes = Wishes.of(self._values)

    @staticmethod
    def _default(name: str) -> Any:
        return specification()[name].get("default")

    @property
    def way(self) -> dict[str, Any]:
        """By what Kubernetes is reached, '' where kubectl's own way is meant, and what is found there by what; see the lookup."""
        return {
            "namespace": self.wishes.namespace,
            "kubeconfig": str(self._values["cluster_kubeconfig"] or ""),
            "context": str(self._values["cluster_kube_context"] or ""),
            "timeout": int(self._values["cluster_pod_timeout"]),
            "selectors": [f"{key}={value}" for key, value in common(self.cluster).items()],
            "config": self.cluster.name,
            "record": record_name(self.cluster),
            "secret": secret_name(self.cluster, POSTGRES),
            "monitored": self.wishes.service_monitor,
        }

    @property
    def namespace(self) -> dict[str, Any]:
        """The namespace, for where there is none."""
        return namespace(self.cluster, self.wishes)

    def told(
        self, configs: Sequence[Mapping[str, Any]] = (), stage: Mapping[str, Any] | None = None, leaving: str = ""
    ) -> Cluster:
        """The description that pods are given: in a *stage* of counting, else what those that go by *configs*, the ConfigMap as
        it is, or none, may be told at once. *leaving*: a node that this run removes, and that is in it still. Raises
        PgherdError."""
        wanted = Cluster.from_dict(recall(removal_of(leaving))["cluster"]) if leaving else self.cluster
        return told(wanted, described(configs), plain(stage))

    def unapplied(self, configs: Objects, leaving: str) -> str:
        """See members.pods.unapplied. Raises PgherdError."""
        return unapplied(described(configs), Cluster.from_dict(recall(removal_of(leaving))["cluster"]), leaving)

    def digests(self, configs: Sequence[Mapping[str, Any]], stages: Sequence[Mapping[str, Any]]) -> list[str]:
        """The SHA-256 of each description that pods were given in this run, or may have been."""
        given_out = [self.told(configs), *(self.told(stage=stage) for stage in stages)]
        return [digest(cluster) for cluster in given_out]

    def config(self, told_: Cluster, there: Objects) -> dict[str, Any]:
        """The ConfigMap with the description *told_*, for where it is as it was seen *there*, in a list of one or none."""
        return versioned(config_map(told_, self.wishes), there)

    def overtaken(self, configs: Objects, last: str) -> str:
        """Why the ConfigMap *configs* is not the one with the digest *last*, which this run has written; '' where it is, and in
        check mode, which writes none."""
        texts = [str((config.get("data") or {}).get(DESCRIPTION) or "") for config in configs]
        if self._forecast or [hashlib.sha256(text.encode()).hexdigest() for text in texts] == [last]:
            return ""
        return self._overtaken()

    def unwritten(self, said: str) -> str:
        """One sentence for a ConfigMap that could not be written, by what kubernetes.core has *said*."""
        if CONFLICT.search(said):
            return self._overtaken()
        return f"Write the ConfigMap {self.cluster.name} in the namespace {self.wishes.namespace}: {said}"

    def _overtaken(self) -> str:
        return (
            f"Another run, or a person, has changed the ConfigMap {self.cluster.name} in the namespace {self.wishes.namespace} "
            "since this run looked at it. It says who is counted, so this run has left it as it is. Run again when nobody else "
            "does."
        )

    def objects(self, secret: bool, configs: Objects = (), secrets: Objects = ()) -> list[dict[str, Any]]:
        """The Secrets, with *secret*, else all others, in the order in which they are applied. *configs*: see told(); *secrets*:
        what there is, see kept(). Raises PgherdError."""
        secret_store = store(self.mine, self._forecast)
        hosts = [item.name for item in self.cluster.hosts]
        known: dict[str, Any] = {"passwords": kept_passwords(secret_store, self.mine)}
        if self.wishes.certificate_secrets:
            known.update(authority="", hosts={}, salt=secret_store.salt())
        else:
            ca = known_authority(secret_store, self.mine)
            made = {name: secret_store.host(name, certificate_names(self.cluster, name), ca) for name in hosts}
            known.update(authority=ca[0], hosts=made)
        found = objects(self.cluster, self.wishes, known, self.told(configs))
        same = kept([item for item in found if item["kind"] == "Secret"], secrets)
        if same:
            found = objects(self.cluster, self.wishes, known, self.told(configs), same)
        return [item for item in found if (item["kind"] == "Secret") == secret]

    def growth(self, sets: Objects, claims: Objects, classes: Objects | None = None) -> Growth:
        """What of the *claims* and StatefulSets *sets* that are there is to change, by *classes*. Raises ConfigError."""
        wanted = [item for item in objects(self.cluster, self.wishes) if item["kind"] == "StatefulSet"]
        return growth(wanted, sets, claims, classes)

    def refused(
        self,
        configs: Objects,
        secrets: Objects,
        sets: Objects = (),
        claims: Objects = (),
        records: Objects = (),
        pods: Objects = (),
        classes: Objects | None = None,
    ) -> list[str]:
        """Why what is there may not become what is wanted, in sentences: by the ConfigMap, the Secret and the record that the
        namespace has, as lists of one or none, the StatefulSets, claims and pods, and the StorageClasses, None where unknown."""
        found: list[str] = []
        before = described(configs)
        if begun(configs, records, claims, pods):
            found += (
                refused_changes(before, self.cluster) if before else [gone(self.cluster, self.wishes, records, claims)]
            )
        for secret in secrets:
            there = base64.b64decode((secret.get("data") or {}).get("ca.crt") or "").decode()
            here = known_authority(store(self.mine, self._forecast), self.mine)[0]
            elsewhere = bool(self.wishes.certificate_secrets)
            place = "your Secrets" if elsewhere else self.mine["cluster_secrets_path"]
            if there and not given(self.mine, FLAG) and not authority_keys(there) & authority_keys(here):
                found.append(
                    f"The pods of cluster {self.cluster.name} in the namespace {self.wishes.namespace} have another authority "
                    f"than the one in {place}: put the right secrets there, or, to give the cluster "
                    f"new ones, run with -e {FLAG}=true."
                )
            elif (there or elsewhere) and not given(self.mine, FLAG) and not self._knows(secret):
                found.append(
                    f"The namespace {self.wishes.namespace} holds another cluster called {self.cluster.name}, or all "
                    "passwords of this one are to change: none that is there is one of "
                    f"{self.mine['cluster_secrets_path']}. If it is another, choose another cluster_name or "
                    "cluster_namespace. If it is this one, put its secrets there; if they are lost, or are all to change, run "
                    f"with -e {FLAG}=true (docs/kubernetes.md says what happens)."
                )
        return [*found, *self.growth(sets, claims, classes).refused]

    def _knows(self, secret: Mapping[str, Any]) -> bool:
        """Whether a password in the *secret* of the namespace is one that is kept here, or none is there to be compared."""
        text = base64.b64decode((secret.get("data") or {}).get(PASSWORDS) or "").decode()
        theirs = json.loads(text) if text else {}
        ours = kept_passwords(store(self.mine, self._forecast), self.mine)
        both = [role for role in SYSTEM_ROLES if role in theirs and role in ours]
        return not both or any(theirs[role] == ours[role] for role in both)


def kept(wanted: Objects, secrets: Objects) -> dict[str, str]:
    """By component the mark that pods are to have of its Secret, by that Secret among *secrets*, where that says the same as the
    one *wanted* of all that it knows: more hosts, or fewer, would have pods made anew that have nothing of it. It is the Secret's
    own and not that of the pods, which a run that was broken off has not told of what is in it. Pure."""
    there = {str(one["metadata"]["name"]): one for one in secrets}
    found: dict[str, str] = {}
    for item in wanted:
        known = there.get(item["metadata"]["name"])
        old, new = (known or {}).get("data") or {}, item["data"]
        shared = {"ca.crt", PASSWORDS} & set(new)
        if not shared <= set(old) or any(old[key] != new[key] for key in old if key in new):
            continue
        mark = ((known or {})["metadata"].get("annotations") or {}).get(SECRETS)
        if mark:
            found[str(_labels(item).get(COMPONENT))] = str(mark)
    return found


def ungrown(grown: Objects) -> list[str]:
    """One sentence for each claim that Kubernetes did not let grow, by what kubernetes.core said of it: *grown*. Pure."""
    return [
        f"The claim {one['item']['key']} could not be told to grow to {one['item']['value']}: {why(str(one.get('msg') or ''))}."
        for one in grown
        if "result" not in one
    ]


def described(configs: Sequence[Mapping[str, Any]]) -> Cluster | None:
    """The cluster by which pods go, by the ConfigMap *configs*, a list of one or none; None where it says nothing. Raises
    PgherdError."""
    said = [(config.get("data") or {}).get(DESCRIPTION) for config in configs]
    return Cluster.from_dict(json.loads(said[0])) if said and said[0] else None


def digest(cluster: Cluster) -> str:
    """The SHA-256 of the description of *cluster*, as pods have it."""
    return hashlib.sha256(conf_cluster.text(cluster).encode()).hexdigest()


def missing(cluster: Cluster, pods: Objects, sets: Objects = (), ready: bool = False) -> Iterator[str]:
    """In sentences, what of the *cluster* does not run by the *pods* that there are, is not what its StatefulSet among *sets* is
    by now, or with *ready* is not ready. Those of pgpools serve nobody before the nodes do, so they only count when all are to be
    ready. Pure."""
    newest = _newest(sets)
    known = {str(pod["metadata"]["name"]): pod for pod in pods if not pod["metadata"].get("deletionTimestamp")}
    for host in cluster.hosts:
        if isinstance(host, Pgpool):
            there = [pod for pod in known.values() if _labels(pod).get(SET) == host.name]
            good = sum(_wrong(pod, ready=True) == "" for pod in there)
            if ready and good < host.replicas:
                why = next((f" ({wrong})" for pod in there if (wrong := _wrong(pod, ready=True))), "")
                yield f"{host.name}: {good} of {host.replicas} pods are ready{why}."
        elif host.name not in known:
            yield f"{host.name}: there is no such pod."
        elif wrong := _wrong(known[host.name], ready):
            yield f"{host.name}: {wrong}."
        elif _is_old(known[host.name], newest):
            yield f"{host.name}: it is to be replaced, which it is when those with higher numbers are ready."
    # On the first day nobody can say so before the playbook has made the agents' roles.
    if ready and not any(
        _labels(known[node.name]).get(ROLE) == "primary" for node in cluster.data_nodes if node.name in known
    ):
        yield f"{cluster.name}: no pod says that it is the primary."


def stuck(pods: Objects, sets: Objects) -> list[str]:
    """The *pods* of *sets* in which nothing runs, and that are to be others by now. Kubernetes replaces them one by one, each
    when the one before is ready, which none gets to be alone. Pure."""
    newest = _newest(sets)
    return [str(pod["metadata"]["name"]) for pod in pods if _is_old(pod, newest) and _wrong(pod, ready=False)]


def _newest(sets: Objects) -> dict[str, str]:
    """By StatefulSet, the label of what its pods are by now."""
    return {str(one["metadata"]["name"]): str((one.get("status") or {}).get("updateRevision") or "") for one in sets}


def _is_old(pod: Mapping[str, Any], newest: Mapping[str, str]) -> bool:
    wanted = newest.get(str(_labels(pod).get(SET)))
    return bool(wanted) and _labels(pod).get("controller-revision-hash") != wanted


def _labels(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    return pod["metadata"].get("labels") or {}


def _wrong(pod: Mapping[str, Any], ready: bool) -> str:
    """Why a *pod* does not run, or is not *ready*; '' where it is."""
    status = pod.get("status") or {}
    states = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    for state in states:
        waiting = (state.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            why = ": ".join(str(part) for part in (waiting["reason"], waiting.get("message")) if part)
            return f"its container {state['name']} waits, {why}".rstrip(".")
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    placed = conditions.get("PodScheduled") or {}
    if placed.get("status") == "False":
        return f"it has no machine, {placed.get('message') or placed.get('reason')}".rstrip(".")
    if not any(state["name"] == MAIN and "running" in (state.get("state") or {}) for state in states):
        return f"it is {status.get('phase') or 'new'}, and its container {MAIN} does not run"
    if ready and (conditions.get("Ready") or {}).get("status") != "True":
        return "it runs and is not ready; see what its log says"
    return ""
