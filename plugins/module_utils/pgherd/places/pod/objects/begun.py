# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether a namespace holds a cluster that has begun, and so a description that may not be replaced at will: it says who is
counted, and who is counted may have confirmed commits that nobody else has. By what Kubernetes itself says. Pure.

What proves that nothing has begun: initdb runs under the record alone, and a copy needs a primary. So there must be no record, no
word that there was one, no claim that may have come with data, and no pod that says what it is in the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....model import Cluster
from .naming import COMPONENT, POSTGRES, ROLE, record_name
from .wishes import Wishes

Objects = Sequence[Mapping[str, Any]]
# On the ConfigMap, when a run has seen the cluster's primary: the record alone may be removed by mistake.
INITIALIZED = "pgherd.io/initialized"
# No object has this version, so what is applied with it is made where there is none, and replaces nothing.
NONE = "1"


def begun(configs: Objects, records: Objects, claims: Objects, pods: Objects) -> bool:
    """Whether the cluster may have begun that the ConfigMap *configs*, of one or none, describes. *records*: its record, of one
    or none; *claims*, *pods*: those of its label. Without a ConfigMap that says something, any claim of a data node's counts."""
    if records or _noted(configs) or any(ROLE in _of(pod, "labels") for pod in pods):
        return True
    made = _made(configs[0]) if configs and configs[0].get("data") else ""
    return any(_may_hold(claim, made) for claim in _nodes(claims))


def gone(cluster: Cluster, wishes: Wishes, records: Objects, claims: Objects) -> str:
    """One sentence for a *cluster* that has begun, and whose ConfigMap is not there, or says nothing."""
    name, where, pod = cluster.name, wishes.namespace, cluster.data_nodes[0].name
    held = ", ".join(sorted(str(claim["metadata"]["name"]) for claim in _nodes(claims)))
    known = f"ConfigMap {record_name(cluster)}" if records else f"claims {held}" if held else "its pods"
    empty = "" if records or not held else " If nobody needs what the claims hold, delete them instead."
    return (
        f"The namespace {where} holds a cluster {name} ({known}), and the ConfigMap {name} that says who is counted in it "
        "is not there, or says nothing: the inventory may count others than those that have confirmed commits, so nothing "
        f"was changed. Make it again from any pod of it: kubectl -n {where} exec {pod} -c node -- "
        f"cat /etc/pgherd/cluster.json > cluster.json, and kubectl -n {where} create configmap {name} "
        f"--from-file=cluster.json; docs/kubernetes.md says what to do where no pod runs.{empty}"
    )


def versioned(config: Mapping[str, Any], there: Objects) -> dict[str, Any]:
    """The ConfigMap *config* as it is to be applied where it was seen *there*, of one or none: Kubernetes refuses it where
    another has changed, removed or made it since."""
    marks = (
        {key: str(there[0]["metadata"][key]) for key in ("uid", "resourceVersion")}
        if there
        else {"resourceVersion": NONE}
    )
    return {**config, "metadata": {**config["metadata"], **marks}}


def _noted(configs: Objects) -> bool:
    return any(INITIALIZED in _of(config, "annotations") for config in configs)


def _nodes(claims: Objects) -> list[Mapping[str, Any]]:
    """Those of data nodes. One without the label counts as such; a witness has nothing that anybody confirmed."""
    return [claim for claim in claims if _of(claim, "labels").get(COMPONENT, POSTGRES) == POSTGRES]


def _may_hold(claim: Mapping[str, Any], made: str) -> bool:
    """Whether a *claim* may have data: it is older than the description, *made* then ('': there is none), or was made from
    something. Kubernetes writes times so that they sort as texts."""
    spec = claim.get("spec") or {}
    if not made or spec.get("dataSource") or spec.get("dataSourceRef"):
        return True
    return _made(claim) < made


def _made(one: Mapping[str, Any]) -> str:
    return str((one.get("metadata") or {}).get("creationTimestamp") or "")


def _of(one: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    return (one.get("metadata") or {}).get(what) or {}
