# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The same of values that are about pods: quantities, labels, services, a part of a template. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .fitting import fits, keys
from .hosts import safe
from .pod_secrets import FILE, source

# The grammar of a quantity, without exponents; of an image's name; of a label's key and value.
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|[KMGTPE]i?)?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_LABEL_KEY = re.compile(r"([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def _choice(*choices: str) -> Callable[[str, Any], Iterator[str]]:
    def check(variable: str, value: Any) -> Iterator[str]:
        if value not in choices:
            yield f"{variable} is {' or '.join(choices)}, not {safe(str(value))}; mend it."

    return check


def _services(variable: str, value: Mapping[str, Any]) -> Iterator[str]:
    for name, wanted in value.items():
        if name not in ("write", "read", "pgpool"):
            yield f"{variable}: there is no service {safe(str(name))}; there are write, read and pgpool."
        elif not isinstance(wanted, Mapping) or set(wanted) - {"type", "node_port", "annotations"}:
            yield f"{variable}: {name} is a dictionary of type, node_port and annotations; write it as one."
        elif wanted.get("type", "ClusterIP") not in ("ClusterIP", "NodePort", "LoadBalancer"):
            yield f"{variable}: the type of {name} is ClusterIP, NodePort or LoadBalancer; mend it."
        elif not isinstance(wanted.get("annotations") or {}, Mapping):
            yield f"{variable}: the annotations of {name} are a dictionary; write them as one."
        else:
            port = wanted.get("node_port")
            if port is not None and (isinstance(port, bool) or not re.fullmatch(r"[0-9]{1,5}", str(port))):
                yield f"{variable}: the node_port of {name} is a number, not {safe(str(port))}; mend it."


def _labels(variable: str, value: Mapping[str, Any]) -> Iterator[str]:
    yield from keys(_LABEL_KEY, "a label's name")(variable, value)
    for key in value:
        if str(key).startswith(("app.kubernetes.io/", "pgherd.io/")):
            yield f"{variable}: {key} is a label that pgherd sets itself; choose another."


def _resources(variable: str, value: Mapping[str, Any]) -> Iterator[str]:
    for kind, amounts in value.items():
        if kind not in ("requests", "limits") or not isinstance(amounts, Mapping):
            yield f"{variable} has requests and limits, each a dictionary such as {{cpu: 500m, memory: 1Gi}}; mend it."
        else:
            yield from fits(_QUANTITY, "a quantity such as 500m or 1Gi")(variable, list(amounts.values()))


def _template(variable: str, value: Mapping[str, Any]) -> Iterator[str]:
    if set(value) - {"metadata", "spec"}:
        yield f"{variable} is a pod's template, with metadata and spec at its top; mend it."


def _seconds(variable: str, value: Any) -> Iterator[str]:
    if not 10 <= int(value) <= 86400:
        yield f"{variable} is 10 to 86400 seconds, not {safe(str(value))}; mend it."


def _password_secrets(variable: str, value: Mapping[str, Any]) -> Iterator[str]:
    for role, wanted in value.items():
        name, key = source(str(role), wanted)
        if isinstance(wanted, Mapping) and set(wanted) - {"name", "key"}:
            yield f"{variable}: {safe(str(role))} has the name of a Secret and a key in it, name and key; mend it."
        elif not FILE.fullmatch(str(role)):
            yield f"{variable}: {safe(str(role))} is not letters, digits, _ and - alone; use cluster_passwords for it."
        elif not _DOMAIN.fullmatch(name):
            yield f"{variable}: {safe(name) or 'nothing'} is not a Secret's name; mend it."
        elif not _KEY.fullmatch(key):
            yield f"{variable}: {safe(key)} is not a key of a Secret; mend it."


def _secret_of_each(variable: str, value: Mapping[str, Any]) -> Iterator[str]:
    for name, wanted in value.items():
        if not _DOMAIN.fullmatch(str(wanted)):
            yield f"{variable}: {safe(str(wanted))}, of {safe(str(name))}, is not a Secret's name; mend it."


CHECKS: dict[str, Callable[[str, Any], Iterable[str]]] = {
    **dict.fromkeys(("cluster_domain", "cluster_storage_class"), fits(_DOMAIN, "a name of Kubernetes")),
    "cluster_image": fits(_IMAGE, "an image's name"),
    "cluster_image_pull_policy": _choice("IfNotPresent", "Always", "Never"),
    "cluster_password_secrets": _password_secrets,
    "cluster_certificate_secrets": _secret_of_each,
    **dict.fromkeys(("cluster_image_pull_secrets", "cluster_authority_secret"), fits(_DOMAIN, "a Secret's name")),
    "cluster_storage_access_mode": _choice("ReadWriteOnce", "ReadWriteOncePod"),
    "cluster_pod_spread": _choice("preferred", "required", "none"),
    **dict.fromkeys(
        ("cluster_storage_size", "cluster_wal_storage_size", "cluster_barman_storage_size"),
        fits(_QUANTITY, "a quantity such as 10Gi"),
    ),
    **dict.fromkeys(
        ("cluster_resources", "cluster_pgpool_resources", "cluster_barman_resources"),
        _resources,
    ),
    **dict.fromkeys(("cluster_pod_grace", "cluster_pod_timeout"), _seconds),
    **dict.fromkeys(("cluster_pod_labels", "cluster_service_monitor_labels"), _labels),
    "cluster_pod_annotations": keys(_LABEL_KEY, "an annotation's name"),
    "cluster_pod_template": _template,
    "cluster_services": _services,
}
