# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a whole cluster in pods is, as Kubernetes and whoever uses it see it."""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from faults.cluster import CHECKOUT, Cluster, until
from faults.suite.test_pods import named, place, played
from faults.suite.test_pods_serving import kubectl, roles

sys.path.append(str(CHECKOUT / "tests/lab/kubernetes"))

import state

pytestmark = pytest.mark.pods
SAYS = re.compile(r"(process 1|prestop|[a-z]+(-[a-z]+)*): ")  # whoever speaks in a pod's log
WRITABLE = "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'"


def led_to(cluster: Cluster, service: str) -> set[str]:
    """The pods that a service leads to now."""
    chosen = ("-l", f"kubernetes.io/service-name={service}", "-o", "json")
    slices = json.loads(kubectl(cluster, "get", "endpointslices", *chosen))["items"]
    return {
        end["targetRef"]["name"]
        for one in slices
        for end in one.get("endpoints") or ()
        if end.get("conditions", {}).get("ready")
    }


def test_labels_and_services_say_who_is_who(cluster: Cluster) -> None:
    first = cluster.primary()
    standbys = set(cluster.nodes) - {first}
    assert roles(cluster) == {first: "primary", **dict.fromkeys(standbys, "standby")}
    assert led_to(cluster, f"{place(cluster).cluster}-write") == {first}
    assert led_to(cluster, f"{place(cluster).cluster}-read") == standbys
    (pool,) = cluster.group("pgpool")
    assert len(led_to(cluster, pool)) == len(cluster.pools)


@pytest.mark.parametrize("way", ["nodes", "pgpool"])
def test_clients_outside_get_in_by_each_machines_port(cluster: Cluster, way: str) -> None:
    front = place(cluster).front(way)
    assert front
    said = kubectl(cluster, "get", "service", front[0], "-o", "jsonpath={.spec.ports[?(@.name=='postgres')].nodePort}")
    for machine in range(1, state.running().nodes + 1):
        line = f"{cluster.dsn(way)} hostaddr={state.address(machine)} port={said} connect_timeout=5"
        with psycopg.connect(line) as session:
            assert session.execute(WRITABLE).fetchone() == (True,)


def statuses(cluster: Cluster, host: str) -> list[dict[str, str]]:
    """What the kernel says of each process of a pod."""
    found = []
    for process in cluster.place.processes(host):
        # It may have just ended.
        with suppress(OSError):
            lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
            found.append({key: words.strip() for key, _colon, words in (line.partition(":") for line in lines)})
    return found


def test_nothing_runs_as_root_or_is_left_over(cluster: Cluster) -> None:
    for host in cluster.everyone:
        found = statuses(cluster, host)
        assert found
        assert {name for one in found for name in one["Uid"].split()} == {"5432"}, host
        assert {one["CapEff"].strip("0") for one in found} == {""}, host

        def reaped(host: str = host) -> bool:
            return not [one for one in statuses(cluster, host) if one["State"].startswith("Z")]

        until(f"{host} to have reaped what ended", reaped, 10)


def test_the_root_file_system_cannot_be_written(cluster: Cluster) -> None:
    for host in cluster.everyone:
        said = cluster.sh(host, "touch /probe 2>&1 || true")
        assert "Read-only file system" in said, host


def test_each_line_of_a_log_says_who_speaks(cluster: Cluster) -> None:
    for host in cluster.everyone:
        name = named(cluster, host).rpartition("/")[2]
        lines = kubectl(cluster, "logs", name, "-c", "node", "--tail=500").splitlines()
        assert lines, host
        assert not [line for line in lines if not SAYS.match(line)], host


def test_status_by_the_playbook_and_by_kubectl(cluster: Cluster) -> None:
    run = played(cluster, "status")
    said = kubectl(cluster, "exec", cluster.nodes[-1], "-c", "node", "--", "pgherd", "status")
    for node in cluster.nodes:
        assert node in said
        assert node in str(run.said) + str(run.events)


def test_backups_are_listed_by_kubectl(cluster: Cluster) -> None:
    name = place(cluster).cluster
    words = ("exec", cluster.barman, "-c", "node", "--", "barman")
    assert re.search(rf"^{name} \S+", kubectl(cluster, *words, "list-backups", name), re.MULTILINE)
    assert "FAILED" not in kubectl(cluster, *words, "check", name)


def test_check_mode_sees_nothing_to_change_and_changes_nothing(cluster: Cluster) -> None:
    def versions() -> dict[str, str]:
        kinds = "statefulsets,deployments,services,secrets,serviceaccounts,roles,networkpolicies"
        items = json.loads(kubectl(cluster, "get", kinds, "-o", "json"))["items"]
        marks = {f"{item['kind']} {item['metadata']['name']}": item["metadata"] for item in items}
        return {name: str(mark.get("generation") or mark["resourceVersion"]) for name, mark in marks.items()}

    before = versions()
    run = cluster.play("site", None, "--check", "--diff")
    assert (run.rc, run.changed) == (0, {}), run
    assert versions() == before
