# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What only shapes a cluster's objects, and what no pod is told: the user's variables for Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

# Of this release. A test holds it equal to the collection's version.
IMAGE = "localhost/pgherd:0.1.0-trixie"


@dataclass(frozen=True)
class Wishes:
    """See the module; each field is the variable ``cluster_`` with its name, as docs/variables.md explains."""

    namespace: str = ""
    domain: str = "cluster.local"
    image: str = ""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    pod_grace: int = 120
    pod_labels: Mapping[str, Any] = field(default_factory=dict)
    pod_annotations: Mapping[str, Any] = field(default_factory=dict)
    pod_spread: str = "preferred"
    pod_template: Mapping[str, Any] = field(default_factory=dict)
    network_policy: bool = True
    resources: Mapping[str, Any] = field(default_factory=dict)
    pgpool_resources: Mapping[str, Any] = field(default_factory=dict)
    barman_resources: Mapping[str, Any] = field(default_factory=dict)
    services: Mapping[str, Any] = field(default_factory=dict)
    service_monitor: bool = False
    service_monitor_labels: Mapping[str, Any] = field(default_factory=dict)
    password_secrets: Mapping[str, Any] = field(default_factory=dict)
    certificate_secrets: Mapping[str, Any] = field(default_factory=dict)
    authority_secret: str = ""
    storage_size: str = "10Gi"
    storage_class: str = ""
    storage_access_mode: str = "ReadWriteOnce"
    wal_storage_size: str = ""
    barman_storage_size: str = "20Gi"

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Wishes:
        """From the *values* of all variables ``cluster_*``, by name; what is missing or open is as by default."""
        given: dict[str, Any] = {}
        for item in fields(cls):
            value = values.get(f"cluster_{item.name}")
            if value is not None:
                given[item.name] = tuple(value) if isinstance(value, list) else value
        given["namespace"] = given.get("namespace") or str(values.get("cluster_name") or "")
        given["image"] = given.get("image") or IMAGE
        return cls(**given)
