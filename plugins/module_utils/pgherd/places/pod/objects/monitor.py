# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""ServiceMonitors, by which the Prometheus Operator finds the agents' metrics: one for the service of each set of pods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....errors import ConfigError
from ....model import Cluster, Peer, Pgpool
from .existing import authority
from .naming import SET, built, component, labels, set_of, texts
from .secret import AUTHORITY
from .wishes import Wishes

API, KIND = "monitoring.coreos.com/v1", "ServiceMonitor"


def monitor(cluster: Cluster, wishes: Wishes, hosts: Sequence[Peer]) -> dict[str, Any]:
    """For the *hosts* of one set. Each agent shows its own host's certificate, so a pod that has a name is asked by it. Raises
    ConfigError where it has none that follows from its set."""
    host, what, name = hosts[0], component(hosts[0]), set_of(hosts[0])
    tls: dict[str, Any] = {"ca": {"secret": {"name": authority(cluster, wishes, hosts), "key": AUTHORITY}}}
    endpoint: dict[str, Any] = {"port": "agent", "path": "/metrics", "scheme": "https", "tlsConfig": tls}
    if isinstance(host, Pgpool):
        tls["serverName"] = host.address
    else:
        behind = {one.address.removeprefix(one.name) for one in hosts}
        if len(behind) > 1 or not min(behind).startswith("."):
            raise ConfigError(
                [
                    f"{name}-*: an address of yours stands there, and a ServiceMonitor finds pods by the names that Kubernetes "
                    "gives them; take out address, or cluster_service_monitor."
                ]
            )
        endpoint["relabelings"] = [
            {
                "sourceLabels": ["__meta_kubernetes_pod_name"],
                "targetLabel": "__address__",
                "replacement": f"$1{min(behind)}:{cluster.options.agent_port}",
            }
        ]
    made = built(
        KIND,
        cluster,
        wishes,
        f"{cluster.name}-{name}",
        api=API,
        what=what,
        spec={"selector": {"matchLabels": labels(cluster, what, name)}, "endpoints": [endpoint]},
    )
    made["metadata"]["labels"] = {**texts(wishes.service_monitor_labels), **made["metadata"]["labels"], SET: name}
    return made
