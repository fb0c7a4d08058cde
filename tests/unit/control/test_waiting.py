# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Who waits for pods sees what those wait for, while it lasts.

The last tests are real runs at a terminal, where k8s_info answers from files."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.pgherd.cluster.plugins.plugin_utils._waiting import awaited
from test_followed import ROOT, Play
from test_kubernetes import HOSTS, pods

MISSING, OTHER = "pg-0: it has no machine, no room.", "pg-1: there is no such pod."
WHY = "Kubernetes says of data-pg-0, Why: no such class."


class Story:
    """A wait of two seconds a look; *until*: what is missing as long as that many seconds have not passed."""

    def __init__(self, *until: tuple[float, list[str]], why: Sequence[str] = ()) -> None:
        self.now, self.asked, self.shown = 0.0, 0, list[tuple[float, str]]()
        self._until, self._why = until, list(why)

    def run(self, timeout: float = 600) -> list[str]:
        return awaited(
            lambda: next((said for end, said in self._until if self.now < end), []),
            self._explain,
            lambda line: self.shown.append((self.now, line)),
            timeout,
            met="all run",
            clock=lambda: self.now,
            pause=self._pass,
        )

    def _explain(self, waits: Sequence[str]) -> list[str]:
        self.asked += 1
        return self._why if waits else []

    def _pass(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("story", "shown", "asked"),
    [
        (Story(), [], 0),
        # What is over soon is no news.
        (Story((9, [MISSING])), [], 0),
        (Story((11, [MISSING]), why=[WHY]), [(10, MISSING), (10, WHY), (12, "all run, after 12 s")], 1),
        # What is new, and that alone.
        (
            Story((15, [MISSING]), (25, [MISSING, OTHER])),
            [(10, MISSING), (20, OTHER), (26, "all run, after 26 s")],
            2,
        ),
        # In turns, as Kubernetes tells of an image that is not there.
        (
            Story((15, [MISSING]), (25, [OTHER]), (35, [MISSING]), (45, [OTHER])),
            [(10, MISSING), (20, OTHER), (46, "all run, after 46 s")],
            4,
        ),
        # Somebody who looks later sees it too.
        (
            Story((71, [MISSING]), why=[WHY]),
            [
                (10, MISSING),
                (10, WHY),
                (70, f"after 70 s still: {MISSING}"),
                (70, f"after 70 s still: {WHY}"),
                (72, "all run, after 72 s"),
            ],
            7,
        ),
        # Nothing of it is said where it had not been told that something is missing.
        (Story((2, [MISSING]), (4, [OTHER])), [], 0),
    ],
)
def test_what_is_shown(story: Story, shown: list[tuple[float, str]], asked: int) -> None:
    assert story.run() == []
    assert (story.shown, story.asked) == (shown, asked)


def test_it_ends() -> None:
    story = Story((900, [MISSING]), why=[WHY])
    assert story.run(timeout=19) == [MISSING, WHY]
    assert story.now == 20
    # Where there is no time at all, there is one look.
    assert Story((900, [MISSING])).run(timeout=0) == [MISSING]
    assert Story().run(timeout=0) == []


ANSWERS = """\
from ansible.module_utils.basic import AnsibleModule
import json, os
spec = {key: {"type": "str"} for key in ("api_version", "kind", "namespace")}
lists = {key: {"type": "list", "elements": "str"} for key in ("label_selectors", "field_selectors")}
module = AnsibleModule(argument_spec={**spec, **lists}, supports_check_mode=True)
given = module.params
try:
    with open(os.path.join(os.environ["ANSWERS"], given["kind"])) as stream:
        told = json.load(stream)
except FileNotFoundError:
    module.fail_json(msg="No route to host.")
# Of the cluster's own, in its namespace, and no other.
wrong = given["namespace"] != "db" or (given["kind"] == "Pod") == ("instance=demo" not in str(given["label_selectors"]))
module.exit_json(changed=False, resources=[] if wrong else told)
"""
TIMES = "PAUSE, TELL, AGAIN = 2.0, 10.0, 60.0"
PLAYS = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.import_role": {"name": "pgherd.cluster.cluster", "tasks_from": "model"}}],
    },
    {
        "hosts": "localhost",
        "gather_facts": False,
        "connection": "local",
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        "tasks": [
            {"pgherd.cluster.cluster_pods": {"ready": "{{ ready }}"}, "register": "found"},
            {"ansible.builtin.debug": {"msg": "found {{ found.pods | join(' ') }}"}},
        ],
    },
]


class Cluster:
    """A collection that looks more often, an inventory of pods, and what Kubernetes says of them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        ours = place / "ansible_collections/pgherd/cluster"
        for part in ("plugins", "roles", "meta"):
            shutil.copytree(ROOT / part, ours / part, ignore=shutil.ignore_patterns("__pycache__"))
        waiting = ours / "plugins/plugin_utils/_waiting.py"
        assert TIMES in waiting.read_text()
        waiting.write_text(waiting.read_text().replace(TIMES, "PAUSE, TELL, AGAIN = 0.1, 0.2, 3600.0"))
        modules = place / "ansible_collections/kubernetes/core/plugins/modules"
        modules.mkdir(parents=True)
        (modules / "k8s_info.py").write_text(ANSWERS)
        groups: dict[str, Any] = {}
        for name, (group, given) in HOSTS.items():
            groups.setdefault(group, {"hosts": {}})["hosts"][name] = given
        told = {
            "place": "pod",
            "cluster_name": "demo",
            "cluster_namespace": "db",
            "cluster_secrets_directory": f"{place}/s",
        }
        (place / "inventory.yml").write_text(yaml.safe_dump({**groups, "all": {"vars": told}}))
        (place / "play.yml").write_text(yaml.safe_dump(PLAYS))
        (place / "answers").mkdir()

    def says(self, kind: str, told: list[dict[str, Any]]) -> None:
        """From now on."""
        (self.place / "new").write_text(json.dumps(told))
        (self.place / "new").rename(self.place / "answers" / kind)

    def play(self, ready: bool, timeout: int) -> Play:
        told = {"ready": ready, "cluster_pod_timeout": timeout}
        return Play(
            self.place,
            "-e",
            json.dumps(told),
            ANSWERS=str(self.place / "answers"),
            ANSIBLE_LOCALHOST_WARNING="False",
            PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin",
        )


NO_ROOM = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: unbound claims."}
PENDING = {"metadata": {"name": "pg-1", "labels": {}}, "status": {"phase": "Pending", "conditions": [NO_ROOM]}}
EVENT = {
    "type": "Warning",
    "reason": "ProvisioningFailed",
    "message": "no such \x1b[31mclass",
    "involvedObject": {"kind": "PersistentVolumeClaim", "name": "data-pg-1"},
}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def test_a_person_sees_what_pods_wait_for(cluster: Cluster) -> None:
    cluster.says("Pod", pods(pg_1=PENDING))
    cluster.says("Event", [EVENT])
    told = [
        "pg-1: it has no machine, 0/3 nodes are available: unbound claims.",
        "Kubernetes says of data-pg-1, ProvisioningFailed: no such ?[31mclass.",
    ]
    with cluster.play(ready=False, timeout=300) as run:
        run.until(lambda said: told[1] in said)
        cluster.says("Pod", pods())
        rc, lines = run.end()
    assert rc == 0, run.said
    assert [lines.count(line) for line in told] == [1, 1], run.said
    (met,) = [line for line in lines if line.startswith("all pods run, after ")]
    assert lines.index(told[0]) < lines.index(told[1]) < lines.index(met) < lines.index("ok: [localhost]")
    assert "found pg-0 pg-1 pg-2 pool-77-a pool-77-b backup-0" in run.said


def test_what_is_left_at_the_end_is_told(cluster: Cluster) -> None:
    """Also by who may not see Events, and where Kubernetes answers no more."""
    cluster.says("Pod", pods(pool_b=None))
    with cluster.play(ready=True, timeout=10) as run:
        run.until(lambda said: "pool: 1 of 2 pods are ready." in said)
        (cluster.place / "answers/Pod").unlink()
        rc, _lines = run.end()
    assert rc != 0, run.said
    said = " ".join(run.said.split())
    assert (
        "After 10 s in the namespace db: Kubernetes does not say which Pods there are: No route to host. Mend that, or, where "
        "it only takes longer, run again with -e cluster_pod_timeout=SECONDS."
    ) in said


def test_where_nothing_is_missing_nothing_is_said(cluster: Cluster) -> None:
    cluster.says("Pod", pods())
    with cluster.play(ready=True, timeout=10) as run:
        rc, lines = run.end()
    assert rc == 0, run.said
    assert not [line for line in lines if "after" in line], run.said
