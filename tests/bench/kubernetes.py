# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""How long nobody can write when the primary's pod fails, and what a cluster in pods takes to start and to run.

    kubernetes.py --runs 5 [--only killed,deleted] [--keep]

Writers go through the write service and through pgpool, from this machine and from a pod, which is on another machine of
Kubernetes than the primary. Every run begins and ends on a whole cluster, and its rows are judged. Printed: median and worst
write gap by each way in, rows lost, seconds from applying to all ready (not with --keep, which takes the cluster that is there),
and memory and processors of idle pods. Nothing is asserted but that no row is lost and nobody was misled.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "tests"))

from faults import endstate, inject  # noqa: E402
from faults.cluster import LAB, Cluster, LabError, until  # noqa: E402
from faults.mend import mend  # noqa: E402
from faults.records import collect  # noqa: E402
from faults.trial import Trial  # noqa: E402

sys.path.append(str(CHECKOUT / "tests/lab/kubernetes"))

import faults_of_pods as harm  # noqa: E402
import scene  # noqa: E402
import state  # noqa: E402
from control import kubectl  # noqa: E402
from kubernetes_pods import Pods  # noqa: E402

import containers  # noqa: E402

NAME, INVENTORY = "kubernetes", CHECKOUT / "molecule/kubernetes/inventory.yml"
WAYS = ("nodes", "pgpool", "pod nodes", "pod pgpool")
SAID = {"nodes": "the write service", "pgpool": "pgpool"}
GIVE_UP = 3.0  # seconds after which a writer gives up an answer, as an application with a time limit does
TO_REACH = {"killed": 2.0, "deleted": 2.0, "forced": 7.0, "switchover": 1.5, "off": 8.0}  # seconds, median
CLIENT = """\
apiVersion: v1
kind: Pod
metadata: {{name: client-{node}, namespace: {space}}}
spec:
  nodeName: node{node}
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  tolerations: [{{operator: Exists}}]
  securityContext: {{runAsNonRoot: true, runAsUser: 5432, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: client
      image: {image}
      imagePullPolicy: Never
      command: [sleep, infinity]
      securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
"""


def killed(trial: Trial, _place: Pods) -> None:
    """The primary's postmaster is killed."""
    inject.kill(trial.cluster, trial.first_primary, "postmaster")
    # Its backends live on for a moment, so the first answer proves nothing.
    until("a new postmaster", lambda: trial.cluster.primary() and time.monotonic() - trial.broken > 1, 60)
    trial.until_written(60)


def deleted(trial: Trial, place: Pods) -> None:
    """The primary's pod is deleted with its grace."""
    harm.delete(place.pod(trial.first_primary))
    trial.until_written(90, timeline=trial.first_timeline + 1)


def forced(trial: Trial, place: Pods) -> None:
    """The primary's pod is deleted with grace 0, by force."""
    harm.delete(place.pod(trial.first_primary), 0)
    # It may be back before anybody was elected.
    until("another pod", lambda: time.monotonic() - trial.broken > 1, 60)
    trial.until_written(90)


def switchover(trial: Trial, _place: Pods) -> None:
    """Another node takes over on purpose."""
    run = trial.cluster.play("switchover", {"cluster_switchover_to": trial.cluster.standbys(trial.first_primary)[0]})
    if run.rc:
        raise AssertionError(str(run))
    trial.until_written(60, timeline=trial.first_timeline + 1)


def off(trial: Trial, place: Pods) -> None:
    """The primary's machine loses power."""
    place.power_off(trial.first_primary)
    trial.until_written(90, timeline=trial.first_timeline + 1)


FAULTS: dict[str, Callable[[Trial, Pods], None]] = {
    "killed": killed,
    "deleted": deleted,
    "forced": forced,
    "switchover": switchover,
    "off": off,
}


def clients(place: Pods) -> None:
    """A pod for writers on each machine of Kubernetes."""
    image = next(iter(json.loads(kubectl("-n", place.space, "get", "pods", "-o", "json"))["items"]))
    named = image["spec"]["containers"][0]["image"]
    for node in range(1, state.running().nodes + 1):
        kubectl("apply", "-f", "-", stdin=CLIENT.format(node=node, space=place.space, image=named))

    def run() -> bool:
        return len([one for one in containers.of(place.space, "client") if one.processes()]) >= state.running().nodes

    until("pods for clients", run, 60)


def beside(place: Pods, primary: str) -> list[str]:
    """What a command begins with to be in a client's pod on another machine than the primary's."""
    there = place.container(primary).node
    others = [one for one in containers.of(place.space, "client") if one.node != there and one.processes()]
    if not others:
        raise LabError("no client's pod runs beside the primary's machine")
    return ["nsenter", "--target", str(containers.any_process(others[0])), "--net"]


def once(cluster: Cluster, place: Pods, name: str, directory: Path) -> dict[str, Any]:
    """One run of a fault."""
    mend(cluster, 180)
    enter = {"pod": beside(place, cluster.primary())}
    trial = Trial(cluster, directory, WAYS, writers=2, period=0.02, give_up=GIVE_UP, enter=enter)
    with trial:
        trial.now()
        try:
            FAULTS[name](trial, place)
        finally:
            inject.sweep(cluster)
        endstate.gate(cluster, 300)
        trial.until_written(30)
    found = trial.judge()
    collect(cluster, directory, trial.began)
    return {
        "gaps": {way: verdict.gaps.overall for way, verdict in trial.verdicts.items()},
        "lost": len(found.lost),
        "failovers": cluster.timeline(cluster.primary()) - trial.first_timeline,
        "problems": [*found.problems, *trial.misled()],
    }


def show(name: str, runs: list[dict[str, Any]]) -> None:
    """Print what runs of one fault came to."""
    print(f"\n{name}: {(FAULTS[name].__doc__ or '').strip()} {len(runs)} runs, to reach {TO_REACH[name]:.1f} s")
    for way in WAYS:
        where, _space, through = way.rpartition(" ")
        gaps = [run["gaps"][way] for run in runs]
        each = " ".join(f"{gap:.2f}" for gap in gaps)
        words = f"{SAID[through]}, from {'a pod' if where else 'outside'}"
        print(f"  through {words:34} median {statistics.median(gaps):6.2f} s  worst {max(gaps):6.2f} s   ({each})")
    print(f"  lost {sum(run['lost'] for run in runs)}, failovers {' '.join(str(run['failovers']) for run in runs)}")
    for run in runs:
        for problem in run["problems"]:
            print(f"  PROBLEM {problem}")


def from_nothing(cluster: Cluster, place: Pods) -> float:
    """Make the namespace anew; seconds from its StatefulSets until data nodes' pods are ready, by the API server's clock."""
    scene.forget(place.cluster, place.space)
    run = cluster.play("site")
    if run.rc:
        raise LabError(f"the site playbook failed: {run}")
    return seconds_to_ready(place)


def seconds_to_ready(place: Pods) -> float:
    """The same of pods that have not been made anew since."""
    items = json.loads(kubectl("-n", place.space, "get", "statefulsets,pods", "-o", "json"))["items"]
    made = min(_time(item["metadata"]["creationTimestamp"]) for item in items if item["kind"] == "StatefulSet")
    ready = [
        _time(condition["lastTransitionTime"])
        for item in items
        if item["kind"] == "Pod" and item["metadata"]["labels"].get("app.kubernetes.io/component") == "postgres"
        for condition in item["status"]["conditions"]
        if condition["type"] == "Ready" and condition["status"] == "True"
    ]
    return max(ready) - made


def _time(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").timestamp()


def cost(place: Pods, nodes: list[str], seconds: float) -> dict[str, tuple[float, float, float, float]]:
    """By pod: MiB (proportional set size) of PostgreSQL with repmgrd and of the rest, and their shares of one processor."""
    tick = os.sysconf("SC_CLK_TCK")
    members = {node: containers.every_process(place.container(node)) for node in nodes}

    def theirs(process: int) -> bool:
        return Path(os.readlink(f"/proc/{process}/exe")).name in ("postgres", "repmgrd")

    def used(process: int) -> float:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / tick

    def size(process: int) -> float:
        return int(re.findall(r"^Pss:\s+(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text(), re.M)[0]) / 1024

    kinds = {process: theirs(process) for found in members.values() for process in found}
    before, began = {process: used(process) for process in kinds}, time.monotonic()
    time.sleep(seconds)  # the measurement's own length
    passed = time.monotonic() - began
    alive = {process for process in kinds if Path(f"/proc/{process}").exists()}

    def of(node: str, kind: bool, measure: Callable[[int], float]) -> float:
        return sum(measure(process) for process in members[node] if process in alive and kinds[process] is kind)

    def share(process: int) -> float:
        return (used(process) - before[process]) / passed

    return {
        node: (of(node, True, size), of(node, False, size), of(node, True, share), of(node, False, share))
        for node in nodes
    }


def main() -> int:
    """Measure and print; exit code 1 when a row was lost or anything else was wrong with a history."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", default=NAME)
    parser.add_argument("--inventory", type=Path, default=INVENTORY)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default=",".join(FAULTS))
    parser.add_argument("--keep", action="store_true", help="the cluster that is there, not a new one")
    parser.add_argument("--cost", type=float, default=60.0, help="seconds for measuring idle pods; 0: not at all")
    given = parser.parse_args()
    cluster = Cluster(given.cluster, given.inventory)
    place = cluster.place
    assert isinstance(place, Pods)
    if not given.keep:
        print(f"from applying to all ready: {from_nothing(cluster, place):.0f} s, to reach 45 s", flush=True)
    clients(place)
    inject.sweep(cluster)
    mend(cluster, 180)
    if given.cost:
        for node, (own, rest, own_share, rest_share) in cost(place, cluster.nodes, given.cost).items():
            print(
                f"{node} idle: PostgreSQL and repmgrd {own:.0f} MiB, {100 * own_share:.1f} % of a processor;"
                f" beside them {rest:.0f} MiB (to reach 60), {100 * rest_share:.1f} %",
                flush=True,
            )
    failed = False
    for name in given.only.split(","):
        runs = []
        for number in range(given.runs):
            directory = LAB / cluster.name / "bench" / f"{name}-{number}"
            runs.append(once(cluster, place, name, directory))
            print(f"{name} {number}: {runs[-1]}", file=sys.stderr, flush=True)
        show(name, runs)
        failed = failed or any(run["lost"] or run["problems"] for run in runs)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"bench: {error}")
