# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""No playbook touches pods in another Kubernetes than the cluster was last given to. Who may not read which one it is goes on.

In the place of kubectl is a program that answers from files, in the words of the real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import test_kubernetes
from ansible.errors import AnsibleActionFail
from ansible_collections.pgherd.cluster.plugins.action import cluster_kubernetes
from ansible_collections.pgherd.cluster.plugins.plugin_utils._whereabouts import FILE, uid
from test_kubernetes import HOSTS

task = test_kubernetes.task
FORBIDDEN = (
    'Error from server (Forbidden): namespaces "kube-system" is forbidden: User "x" cannot get resource "namespaces" in API '
    'group "" in the namespace "kube-system"\n'
)
NOT_FOUND = 'Error from server (NotFound): namespaces "db" not found\n'
SILENT = "Unable to connect to the server: net/http: request canceled while waiting for connection\n"
PROGRAM = """\
#!/bin/sh
echo "$*" >> {place}/asked
case "$*" in
*current-context*) echo here; exit 0 ;;
*/namespaces/kube-system*) cd {place}/kube-system ;;
*/namespaces/db*) cd {place}/db ;;
*) echo "error: unknown command" >&2; exit 1 ;;
esac
cat out; cat err >&2; exit $(cat rc)
"""


class Api:
    """What kubectl answers, and what it was asked."""

    def __init__(self, place: Path) -> None:
        self.place = place
        program = place / "bin/kubectl"
        program.parent.mkdir(parents=True)
        program.write_text(PROGRAM.format(place=place))
        program.chmod(0o755)
        self.says("kube-system", "s-1")
        self.says("db", "n-1")

    def says(self, name: str, uid_: str = "", wrong: str = "") -> None:
        """The namespace *name* has this UID, or asking for it goes wrong."""
        said = (
            {"out": "", "err": wrong, "rc": "1"} if wrong else {"out": self._object(name, uid_), "err": "", "rc": "0"}
        )
        (self.place / name).mkdir(exist_ok=True)
        for file, text in said.items():
            (self.place / name / file).write_text(text)

    @staticmethod
    def _object(name: str, uid_: str) -> str:
        return json.dumps({"kind": "Namespace", "metadata": {"name": name, "uid": uid_}})

    def asked(self) -> list[str]:
        """Each command, and none of them again."""
        file = self.place / "asked"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    found = Api(tmp_path / "api")
    monkeypatch.setenv("PATH", f"{found.place / 'bin'}:/usr/bin:/bin")
    return found


@pytest.fixture
def given(task: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The variables of a task in a play that knows no role's defaults."""
    monkeypatch.setattr(cluster_kubernetes.ActionBase, "run", lambda *_given, **_more: {})
    for name in HOSTS:
        task["hostvars"][name]["inventory_dir"] = str(tmp_path)
    return task


def act(task: dict[str, Any], check: bool = False, **args: Any) -> dict[str, Any]:
    action = cluster_kubernetes.ActionModule.__new__(cluster_kubernetes.ActionModule)
    action._task = type("Task", (), {"args": args, "check_mode": check})()
    return action.run(task_vars=task)


def kept(tmp_path: Path) -> Path:
    return tmp_path / ".pgherd/demo" / FILE


def test_it_is_remembered_once(given: dict[str, Any], api: Api, tmp_path: Path) -> None:
    assert act(given)["changed"] is False
    assert act(given, check=True, remember=True)["changed"] is True
    assert not kept(tmp_path).exists()
    result = act(given, remember=True)
    assert result["changed"] is True
    assert result["diff"] == {"before": {}, "after": result["kept"]}
    told = {"system": "s-1", "namespace": "db", "uid": "n-1", "context": "here"}
    assert json.loads(kept(tmp_path).read_text()) == result["kept"] == told
    assert kept(tmp_path).stat().st_mode & 0o777 == 0o600
    assert act(given, remember=True)["changed"] is False


def test_one_question_tells_it(given: dict[str, Any], api: Api) -> None:
    act(given, remember=True)
    api.asked()
    # A namespace that was made anew is in the same Kubernetes.
    api.says("db", "n-2")
    assert act(given) == {"changed": False}
    assert api.asked() == ["get --raw /api/v1/namespaces/kube-system --request-timeout=10s"]


def test_another_is_refused_in_a_sentence(given: dict[str, Any], api: Api, tmp_path: Path) -> None:
    act(given, remember=True)
    api.says("kube-system", "s-2")
    for name in HOSTS:
        given["hostvars"][name]["cluster_kube_context"] = "there"
    api.asked()
    for check in (False, True):
        with pytest.raises(
            AnsibleActionFail, match=r"The context there leads to another Kubernetes than the one that the"
        ) as no:
            act(given, check=check)
    for part in ("UID s-2", "(the context here) was s-1", f"where this one is, take {kept(tmp_path)} away."):
        assert part in str(no.value)
    assert api.asked() == ["--context=there get --raw /api/v1/namespaces/kube-system --request-timeout=10s"] * 2
    # Where that is meant.
    kept(tmp_path).unlink()
    act(given)
    assert act(given, remember=True)["kept"]["context"] == "there"
    act(given)


def test_with_rights_in_the_namespace_alone(given: dict[str, Any], api: Api, tmp_path: Path) -> None:
    api.says("kube-system", wrong=FORBIDDEN)
    assert act(given, remember=True)["kept"]["system"] is None
    act(given)
    api.says("db", "n-2")
    with pytest.raises(AnsibleActionFail, match=r", or the namespace was made anew: its namespace db has the UID n-2"):
        act(given)
    api.says("db", wrong=NOT_FOUND)
    with pytest.raises(AnsibleActionFail, match=r"it has no namespace db"):
        act(given)
    # Who may read nothing, and where nobody answers, is told so by what comes next.
    for wrong in (FORBIDDEN.replace("kube-system", "db"), SILENT):
        api.says("db", wrong=wrong)
        act(given)
        assert act(given, remember=True)["changed"] is False


def test_without_kubectl(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert act(given) == {"changed": False}
    assert act(given, remember=True)["changed"] is False


def test_the_directory_may_be_nobodys_business(given: dict[str, Any], api: Api, tmp_path: Path) -> None:
    """Of somebody who only asks how the cluster is; of one who changes it, role cluster has looked."""
    act(given, remember=True)
    api.says("kube-system", "s-2")
    kept(tmp_path).parent.chmod(0o777)
    act(given)
    kept(tmp_path).parent.chmod(0o700)
    kept(tmp_path).write_text("[]")
    with pytest.raises(
        AnsibleActionFail, match=r"kubernetes.json does not say which Kubernetes .*; take the file away"
    ):
        act(given)


def test_where_no_host_is_a_pod(given: dict[str, Any], api: Api) -> None:
    for name in HOSTS:
        given["hostvars"][name]["place"] = "host"
    assert act(given) == act(given, remember=True) == {"changed": False}
    assert api.asked() == []


def test_the_directory_is_the_users(given: dict[str, Any], api: Api, tmp_path: Path) -> None:
    for name in HOSTS:
        given["hostvars"][name].update(
            cluster_secrets_directory=str(tmp_path / "mine"), cluster_kubeconfig="/my/config"
        )
    act(given, remember=True)
    assert (tmp_path / "mine" / FILE).exists()
    assert api.asked()[0].startswith("--kubeconfig=/my/config get --raw")


@pytest.mark.parametrize(
    ("rc", "out", "err", "found"),
    [
        (0, '{"metadata": {"uid": "u-1"}}', "", "u-1"),
        (0, "{}", "", None),
        (0, "<html>", "", None),
        (0, "null", "", None),
        (1, "", NOT_FOUND, ""),
        (1, "", FORBIDDEN, None),
        (1, "", SILENT, None),
        (1, "", 'error: context "nowhere" does not exist\n', None),
        (1, "", "error: You must be logged in to the server (Unauthorized)\n", None),
    ],
)
def test_what_kubectl_says(rc: int, out: str, err: str, found: str | None) -> None:
    assert uid(rc, out, err) == found
