# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The template of a pod, which all kinds share: a container that takes its own secrets, one that runs everything, beside a data
node one that alone may speak to the API server, and one that takes secrets again where they are the user's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....errors import ConfigError
from ....model import COMMAND, Cluster, Node, Peer, Pgpool
from ....render.conf_barman import PASSFILE
from .existing import authority, renews, sources
from .merge import merged, weaknesses
from .naming import BARMAN, COMPONENT, MAIN, PGPOOL, POSTGRES, SECRETS, WITNESS, component, labels, set_of, texts
from .volumes import mounts, volumes
from .wishes import Wishes

# The user of all that runs, and the one of what speaks to the API server: PostgreSQL has nothing of its.
USER, API_USER = 5432, 5433
# Of the seconds that a pod has to end, those that are left when process 1 has ended all.
LEFT = 5
# How a pod's programs look up names; seconds, and how often.
RESOLVER = {"ndots": "2", "timeout": "1", "attempts": "3"}


def _locked() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def template(cluster: Cluster, wishes: Wishes, hosts: Sequence[Peer], secrets: str = "") -> dict[str, Any]:
    """The template of the pods of *hosts*, which are one set. *secrets*: the digest of their Secret, '' where that is not known.
    Raises ConfigError for what of the user's would weaken it."""
    what, name = component(hosts[0]), set_of(hosts[0])
    notes = {**texts(wishes.pod_annotations), **({SECRETS: secrets} if secrets else {})}
    made = {
        "metadata": {
            "labels": {**texts(wishes.pod_labels), **labels(cluster, what, name)},
            **({"annotations": notes} if notes else {}),
        },
        "spec": _spec(cluster, wishes, hosts),
    }
    found = merged(made, wishes.pod_template)
    wrong = weaknesses(found)
    if wrong:
        raise ConfigError(wrong)
    # By these it is found, whatever else the user sets.
    found["metadata"]["labels"] = {**texts(found["metadata"]["labels"]), **labels(cluster, what, name)}
    return dict(found)


def _spec(cluster: Cluster, wishes: Wishes, hosts: Sequence[Peer]) -> dict[str, Any]:
    host, what = hosts[0], component(hosts[0])
    known = sources(cluster, wishes, hosts), authority(cluster, wishes, hosts)
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": wishes.pod_grace,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            # Else each mount would open data directories to the group, with which PostgreSQL does not start.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_container(wishes, what, "own", ["own", "--host", _named(host)])],
        "containers": [_main(cluster, wishes, host)],
        # Addresses are whole names. With the usual five dots, those with four, a pgpool's, would first be looked for in all
        # domains that a pod searches, its machine's too, and a question that nobody answers there takes seconds.
        # Nor does one wait five seconds for an answer from a machine that is dead: half a cluster's questions may go there.
        "dnsConfig": {"options": [{"name": name, "value": value} for name, value in RESOLVER.items()]},
        "volumes": volumes(what, cluster.name, *known),
        **_spread(cluster, wishes, what),
    }
    if what == POSTGRES:
        spec["serviceAccountName"] = cluster.name
        api = _container(wishes, what, "api", ["api", "--host", _named(host)])
        api["securityContext"].update(runAsUser=API_USER, runAsGroup=API_USER)
        api["env"].append(_env("POD_NAMESPACE", "metadata.namespace"))
        api["resources"] = _little()
        spec["containers"].append(api)
    if renews(wishes):
        renew = _container(wishes, what, "renew", ["own", "--again", "--host", _named(host)])
        spec["containers"].append({**renew, "resources": _little()})
    if wishes.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in wishes.image_pull_secrets]
    return spec


def _little() -> dict[str, Any]:
    """For a container beside the main one."""
    return {"requests": {"cpu": "5m", "memory": "24Mi"}, "limits": {"memory": "96Mi"}}


def _named(host: Peer) -> str:
    """What a pod of a StatefulSet is called is its host's name; a pgpool's pods are all of one host."""
    return host.name if isinstance(host, Pgpool) else "$(POD_NAME)"


def _env(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _container(wishes: Wishes, what: str, name: str, words: Sequence[str]) -> dict[str, Any]:
    return {
        "name": name,
        "image": wishes.image,
        "imagePullPolicy": wishes.image_pull_policy,
        "command": [COMMAND, *words],
        "env": [_env("POD_NAME", "metadata.name")],
        "securityContext": _locked(),
        "volumeMounts": mounts(wishes, what, name),
    }


def _main(cluster: Cluster, wishes: Wishes, host: Peer) -> dict[str, Any]:
    """Process 1, and all that it starts."""
    what = component(host)
    limit = str(max(5, wishes.pod_grace - LEFT))
    made = _container(wishes, what, MAIN, ["pod", "--host", _named(host), "--limit", limit])
    # Whose the locks of its volumes are, see keeper.py.
    made["env"] += [_env("POD_UID", "metadata.uid"), _env("POD_NODE", "spec.nodeName")]
    if what == BARMAN:
        # Its user is another one's name here, and who runs a program by kubectl has to find the same passwords.
        made["env"].append({"name": "PGPASSFILE", "value": PASSFILE})
    options, ports = cluster.options, {"agent": cluster.options.agent_port}
    if isinstance(host, Node):
        ports = {"postgres": cluster.port, "peer": options.peer_port, **ports}
    elif isinstance(host, Pgpool):
        ports = {"postgres": cluster.pgpool_port, **ports}
    made["ports"] = [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()]
    # PostgreSQL's start may take any time, so it is no part of who lives; and who serves is said at once.
    made["startupProbe"] = _probe(cluster, "/live", periodSeconds=2, timeoutSeconds=5, failureThreshold=150)
    made["livenessProbe"] = _probe(cluster, "/live", periodSeconds=10, timeoutSeconds=10, failureThreshold=6)
    made["readinessProbe"] = _probe(cluster, "/ready", periodSeconds=2, timeoutSeconds=3, failureThreshold=2)
    if what == POSTGRES:
        # Variables are not put into the words of a hook, as they are into a command's.
        words = ["/bin/sh", "-c", f'exec {COMMAND} prestop --host "$POD_NAME"']
        made["lifecycle"] = {"preStop": {"exec": {"command": words}}}
    given = {PGPOOL: wishes.pgpool_resources, BARMAN: wishes.barman_resources}.get(what, wishes.resources)
    if given:
        made["resources"] = {kind: {key: str(item) for key, item in amounts.items()} for kind, amounts in given.items()}
    return made


def _probe(cluster: Cluster, path: str, **times: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": cluster.options.agent_port, "scheme": "HTTPS"}, **times}


def _spread(cluster: Cluster, wishes: Wishes, what: str) -> dict[str, Any]:
    """Pods of a kind on different machines; all that vote are one kind."""
    if wishes.pod_spread == "none":
        return {}
    kinds = [POSTGRES, WITNESS] if what in (POSTGRES, WITNESS) else [what]
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {
            "matchLabels": labels(cluster),
            "matchExpressions": [{"key": COMPONENT, "operator": "In", "values": kinds}],
        },
    }
    if wishes.pod_spread == "required":
        rule: dict[str, Any] = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    else:
        rule = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    return {"affinity": {"podAntiAffinity": rule}}
