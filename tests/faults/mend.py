# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Makes a cluster whole again that did not become whole by itself, so that one fault's failure is not the next one's.

It does what a person would do, and says so: that it was needed at all is the failure of the test before.
"""

from __future__ import annotations

import sys
from pathlib import Path

from faults import endstate, inject
from faults.cluster import Cluster


def mend(cluster: Cluster, seconds: float = 60.0) -> None:
    """Wait for the end state; failing that start units, then run the site playbook, naming the nodes that must be cloned
    again. AssertionError when nothing helps."""
    try:
        endstate.gate(cluster, seconds)
        return
    except AssertionError as error:
        print(f"mending {cluster.name}: {error}", file=sys.stderr)
    inject.sweep(cluster)
    _start(cluster)
    for node in [node for node in cluster.nodes if _streams(cluster, node)]:
        # Once the primary is known to repmgr, a standby can be registered again below it.
        configuration = f"/etc/repmgr/{cluster.version}/repmgr.conf"
        words = ("repmgr", "-f", configuration, "standby", "register", "--force")
        cluster.place.run_as(node, "postgres", *words, check=False)
        cluster.place.service(node, "restart", "repmgrd", check=False)
    try:
        endstate.gate(cluster, 30)
        return
    except AssertionError as error:
        print(f"mending {cluster.name}, units are started: {error}", file=sys.stderr)
    primary = _best(cluster)
    for node in cluster.primaries():
        if node != primary:
            cluster.place.service(node, "stop", "repmgrd")
            cluster.place.service(node, "stop", "postgres")
    bad = [node for node in cluster.nodes if node != primary and not _streams(cluster, node)]
    run = cluster.play("site", {"cluster_wipe": bad} if bad else None)
    if run.rc:
        print(run, file=sys.stderr)
    endstate.gate(cluster, 90)


def _start(cluster: Cluster) -> None:
    for host in cluster.everyone:
        services = ["agent", *(["postgres", "repmgrd"] if host in cluster.nodes else [])]
        cluster.place.service(host, "forget", *services, check=False)
        for service in services:
            cluster.place.service(host, "start", service, check=False)


def _best(cluster: Cluster) -> str:
    """The primary on the newest timeline."""
    found = [(cluster.timeline(node), node) for node in cluster.primaries()]
    return max(found)[1] if found else ""


def _streams(cluster: Cluster, node: str) -> bool:
    query = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
    found = cluster.each(lambda name: bool(cluster.value(name, query)), [node])
    return found[node] is True


def main() -> int:
    """``python -m faults.mend CLUSTER INVENTORY``."""
    mend(Cluster(sys.argv[1], Path(sys.argv[2])), 5)
    return 0


if __name__ == "__main__":
    sys.exit(main())
