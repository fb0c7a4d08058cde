# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""How long the site playbook takes on the eight hosts of the demo: on empty hosts, and again on the finished cluster.

    site.py --runs 3 [--base 11fcda9]

Every run begins with fresh hosts, whose apt cache already holds the packages. The playbook runs as a user runs it, over
ssh. With a base, an older commit's collection does the same on hosts of its own, in turn in one run. Nothing is asserted; medians
are printed, and what this checkout takes of the base's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "tests"))

from upgrade import release  # noqa: E402

CLUSTER = "bench"
DEMO = "examples/demo/inventory.yml"
HERE = CHECKOUT / ".cache/lab" / CLUSTER
LAB = (sys.executable, "tests/lab/lab.py")
BASE = CHECKOUT / ".cache/base"


@dataclass(frozen=True)
class Run:
    """One run of the playbook: seconds of wall time, and what its recap says over all hosts."""

    seconds: float
    changed: int
    tasks_per_host: int  # of the host with the most
    skipped_share: float  # of all tasks of all hosts
    slowest: tuple[tuple[float, str], ...]  # seconds, task


@dataclass
class Side:
    """This checkout, or an older one beside it: its *name*, its *demo*, since variables had other names, where Ansible finds its
    collection ('' where it does already), and its runs on empty hosts and on finished clusters."""

    name: str
    demo: str = DEMO
    collections: str = ""
    first: list[Run] = field(default_factory=list)
    second: list[Run] = field(default_factory=list)


def sides(base: str) -> list[Side]:
    """What is measured, in turn; *base*: the commit of an older one, or ''. SystemExit where this clone has it not."""
    ours = Side("this checkout")
    if not base:
        return [ours]
    where = release.export(base, BASE)
    return [ours, Side(base, str(where / DEMO), str(BASE))]


def play(side: Side) -> Run:
    """Run the site playbook once; ends the program with the playbook's own words when it fails."""
    env = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    if side.collections:
        env["ANSIBLE_COLLECTIONS_PATH"] = side.collections
    playbook = (
        *("ansible-playbook", "-i", side.demo, "-i", str(HERE / "hosts.yml")),
        *("-e", f"cluster_secrets_directory={HERE / 'secrets'}", "pgherd.cluster.site"),
    )
    started = time.monotonic()
    done = subprocess.run(playbook, cwd=CHECKOUT, env=env, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        sys.exit(f"{done.stdout}\nbench: the playbook failed")
    return measured(seconds, json.loads(done.stdout[done.stdout.index("{") :]))


def _seconds(task: dict[str, Any]) -> float:
    """How long a task of the callback's report took, over all hosts together."""
    start, end = (datetime.fromisoformat(task["duration"][key].rstrip("Z")) for key in ("start", "end"))
    return (end - start).total_seconds()


def measured(seconds: float, report: dict[str, Any]) -> Run:
    """A Run from the JSON callback's report."""
    stats = list(report["stats"].values())
    tasks = [host["ok"] + host["skipped"] + host["failures"] for host in stats]
    durations = [(_seconds(task["task"]), task["task"]["name"]) for play in report["plays"] for task in play["tasks"]]
    return Run(
        seconds=seconds,
        changed=sum(host["changed"] for host in stats),
        tasks_per_host=max(tasks),
        skipped_share=sum(host["skipped"] for host in stats) / sum(tasks),
        slowest=tuple(sorted(durations, reverse=True)[:8]),
    )


def show(title: str, runs: list[Run]) -> None:
    """Print the medians of runs of one kind, and where the last one spent its time."""
    middle = statistics.median
    print(
        f"{title:11} {middle(run.seconds for run in runs):6.0f} s  changed={middle(run.changed for run in runs):.0f}"
        f"  tasks per host <= {max(run.tasks_per_host for run in runs)}"
        f"  skipped {middle(run.skipped_share for run in runs):.0%}"
    )
    for seconds, name in runs[-1].slowest:
        print(f"            {seconds:6.1f} s  {name}")


def compare(title: str, ours: list[Run], base: list[Run]) -> None:
    """Print what runs of ours take of those of the base."""
    mine, theirs = (statistics.median(run.seconds for run in runs) for runs in (ours, base))
    print(f"{title:11} {mine:.0f} s beside {theirs:.0f} s, ratio {mine / theirs:.2f}")


def main() -> int:
    """Measure and print; the hosts are removed at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--base", default="", help="a commit whose collection is measured beside this one")
    given = parser.parse_args()
    measuring = sides(given.base)
    try:
        for number in range(given.runs):
            for side in measuring:
                print(f"bench: run {number + 1} of {side.name} on fresh hosts", file=sys.stderr, flush=True)
                subprocess.run([*LAB, "down", CLUSTER], cwd=CHECKOUT, check=True)
                subprocess.run([*LAB, "up", CLUSTER, "--inventory", DEMO], cwd=CHECKOUT, check=True)
                side.first.append(play(side))
                side.second.append(play(side))
    finally:
        subprocess.run([*LAB, "down", CLUSTER], cwd=CHECKOUT, check=False)
    print(f"\nSite playbook, 8 hosts, {os.cpu_count()} cores, over ssh; median of {given.runs}")
    for side in measuring:
        print(f"{side.name}:")
        show("first run", side.first)
        show("second run", side.second)
    if given.base:
        print(f"this checkout beside {given.base}:")
        compare("first run", measuring[0].first, measuring[1].first)
        compare("second run", measuring[0].second, measuring[1].second)
    return 0


if __name__ == "__main__":
    sys.exit(main())
