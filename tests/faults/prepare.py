# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Makes the hosts that faults are made on, with disks of their own, or what pods need, and runs the site playbook; what is
there stays.

python tests/faults/prepare.py CLUSTER INVENTORY
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from faults import disks, inject
from faults.cluster import Cluster, LabError, hosts_of, in_pods, lab


def ready(name: str, inventory: Path) -> bool:
    """From nothing, or from what an earlier run left, to the cluster of an *inventory* on the lab's hosts of cluster *name*;
    whether that went well. Raises LabError."""
    if in_pods(yaml.safe_load(inventory.read_text(encoding="utf-8"))):
        return _pods_ready(name, inventory)
    fresh = not lab.hosts(name)
    lab.up(name, dict.fromkeys(hosts_of(inventory), "trixie"))
    cluster = Cluster(name, inventory)
    if fresh:
        disks.make(name, cluster.nodes)
    inject.sweep(cluster)
    return _site(cluster)


def _pods_ready(name: str, inventory: Path) -> bool:
    import kubernetes_pods  # it needs a Kubernetes
    import scene

    scene.up(name)
    cluster = Cluster(name, inventory)
    assert isinstance(cluster.place, kubernetes_pods.Pods)
    if cluster.place.there():
        inject.sweep(cluster)
    return _site(cluster)


def _site(cluster: Cluster) -> bool:
    run = cluster.play("site")
    if run.rc:
        print(run, file=sys.stderr)
    return run.rc == 0


if __name__ == "__main__":
    try:
        sys.exit(not ready(sys.argv[1], Path(sys.argv[2])))
    except LabError as error:
        sys.exit(f"faults: {error}")
