# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What Kubernetes is given, what it may not be given, and for which of its pods a run waits."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.pgherd.cluster.plugins.lookup.kubernetes import LookupModule
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.build import build
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.variables import Host
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.members.pods import refused
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.objects.begun import begun
from ansible_collections.pgherd.cluster.plugins.plugin_utils import _cluster, _run
from ansible_collections.pgherd.cluster.plugins.plugin_utils._kubernetes import missing, stuck

HOSTS = {
    "pg-0": ("postgres", {"node_id": 1}),
    "pg-1": ("postgres", {"node_id": 2, "upstream": "pg-0"}),
    "pg-2": ("postgres", {"node_id": 3, "upstream": "pg-0"}),
    "pool": ("pgpool", {"replicas": 2}),
    "backup-0": ("barman", {}),
}


def cluster(**values: Any) -> Cluster:
    hosts = [Host(name, (group,), {**given, "place": "pod"}) for name, (group, given) in HOSTS.items()]
    return build(hosts, {"cluster_name": "demo", "cluster_durability": "strict", "cluster_sync_standbys": 1, **values})


MODEL = cluster()
MADE = "2026-11-30T10:00:00Z"
RECORD = {"metadata": {"name": "demo-record"}, "data": {"by": "pg-0", "system_id": "7", "grown": "true"}}


def described(by: Cluster, made: str = MADE, **meta: Any) -> dict[str, Any]:
    """A ConfigMap as Kubernetes shows it."""
    known = {"name": "demo", "uid": "u-1", "resourceVersion": "77", "creationTimestamp": made, **meta}
    return {"metadata": known, "data": {"cluster.json": json.dumps(by.to_dict())}}


def claim(name: str, made: str = MADE, what: str = "postgres", **spec: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": what}
    sized = {"resources": {"requests": {"storage": "10Gi"}}, **spec}
    return {"metadata": {"name": name, "creationTimestamp": made, "labels": labels}, "spec": sized}


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The variables of a task on the control machine, when role cluster has been at all hosts."""
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(_run.constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "run"))
    place, model = str(tmp_path / "secrets"), _cluster.plain(MODEL.to_dict())
    _run.remember("cluster_model", model)
    _run.remember("cluster_secrets_path", place)
    _run.leave(f"authority of {place}", {})
    _cluster.recognised({"cluster_secrets_path": place})
    facts = {"cluster_model": model, "cluster_secrets_path": place, "cluster_name": "demo", "cluster_namespace": "db"}
    groups: dict[str, list[str]] = {}
    for name, (group, _given) in HOSTS.items():
        groups.setdefault(group, []).append(name)
    hostvars = {name: {"place": "pod", "inventory_hostname": name, **facts} for name in HOSTS}
    return {"groups": groups, "hostvars": {**hostvars, "localhost": {}}, "inventory_hostname": "localhost"}


def ask(task: dict[str, Any], what: str, **options: Any) -> Any:
    return LookupModule().run([what], task, **options)[0]


def test_objects_and_secrets_are_of_one_mould(task: dict[str, Any]) -> None:
    secrets, others = ask(task, "secrets"), ask(task, "objects")
    assert {item["kind"] for item in secrets} == {"Secret"}
    assert "Secret" not in {item["kind"] for item in others}
    assert {item["metadata"]["namespace"] for item in [*secrets, *others]} == {"db"}
    keys = {key for item in secrets for key in item["data"]}
    assert {f"{name}.key" for name in HOSTS} <= keys
    # The same again, so that a second run changes nothing.
    assert (ask(task, "secrets"), ask(task, "objects")) == (secrets, others)


def test_the_digest_is_of_what_pods_get(task: dict[str, Any]) -> None:
    config = next(item for item in ask(task, "objects") if item["kind"] == "ConfigMap")
    (text,) = config["data"].values()
    assert ask(task, "digest") == hashlib.sha256(text.encode()).hexdigest()
    assert Cluster.from_dict(json.loads(text)) == MODEL
    assert config["metadata"]["name"] == ask(task, "way")["config"]


def test_a_pod_that_is_out_of_the_run_is_not_asked(task: dict[str, Any]) -> None:
    del task["hostvars"]["pg-0"]["cluster_model"]
    assert ask(task, "way")["namespace"] == "db"


def test_nothing_is_given_out_before_a_cluster_was_looked_for(task: dict[str, Any], tmp_path: Path) -> None:
    for file in (tmp_path / "run").iterdir():
        file.unlink()
    with pytest.raises(AnsibleError, match="is not what was checked on the control machine"):
        ask(task, "secrets")


def test_another_authority_is_refused(task: dict[str, Any], tmp_path: Path) -> None:
    nodes = next(item for item in ask(task, "secrets") if item["metadata"]["name"] == ask(task, "way")["secret"])
    assert ask(task, "refused", secrets=[nodes]) == ask(task, "refused") == []
    for name in ("ca.crt", "ca.key"):
        (tmp_path / "secrets" / name).unlink()
    (sentence,) = ask(task, "refused", secrets=[nodes])
    assert "have another authority" in sentence
    for host in HOSTS:
        task["hostvars"][host]["cluster_new_secrets"] = True
    assert ask(task, "refused", secrets=[nodes]) == []


def test_another_cluster_of_the_same_name_is_refused(task: dict[str, Any], tmp_path: Path) -> None:
    """Below one authority, the user's own, it is known by its passwords."""
    nodes = next(item for item in ask(task, "secrets") if item["metadata"]["name"] == ask(task, "way")["secret"])
    there = json.loads(base64.b64decode(nodes["data"]["passwords.json"]))

    def with_(passwords: dict[str, str]) -> list[dict[str, Any]]:
        text = base64.b64encode(json.dumps(passwords).encode()).decode()
        return [{**nodes, "data": {**nodes["data"], "passwords.json": text}}]

    others = {role: f"{password}?" for role, password in there.items()}
    (sentence,) = ask(task, "refused", secrets=with_(others))
    assert sentence.startswith("The namespace db holds another cluster called demo, or all passwords of this one")
    assert "run with -e cluster_new_secrets=true" in sentence
    # One that was changed is no other cluster.
    assert ask(task, "refused", secrets=with_({**others, "repmgr": there["repmgr"]})) == []
    for host in HOSTS:
        task["hostvars"][host]["cluster_new_secrets"] = True
    assert ask(task, "refused", secrets=with_(others)) == []


def test_more_nodes_make_no_pods_anew(task: dict[str, Any]) -> None:
    """A Secret with another host's certificate beside theirs is the same to those that are there."""

    def marks(**there: Any) -> dict[str, str]:
        found = ask(task, "objects", **there)
        sets = [item for item in found if item["kind"] == "StatefulSet"]
        notes = {item["metadata"]["name"]: item["spec"]["template"]["metadata"]["annotations"] for item in sets}
        return {name: note["pgherd.io/secrets"] for name, note in notes.items()}

    (nodes,) = [item for item in ask(task, "secrets") if item["metadata"]["name"] == "demo-nodes"]
    # The Secret says by itself which pods have read it: of those that a run which was broken off did not make anew, none has.
    assert nodes["metadata"]["annotations"]["pgherd.io/secrets"] == marks()["pg"]
    nodes["metadata"]["annotations"]["pgherd.io/secrets"] = "before"
    fewer = {key: text for key, text in nodes["data"].items() if not key.startswith("pg-2.")}
    more = {**nodes["data"], "pg-3.crt": "eA==", "pg-3.key": "eA=="}
    for data in (fewer, nodes["data"], more):
        there = [{**nodes, "data": data}]
        assert marks(secrets=there) == {**marks(), "pg": "before"}
        (again,) = [item for item in ask(task, "secrets", secrets=there) if item["metadata"]["name"] == "demo-nodes"]
        assert again["metadata"]["annotations"]["pgherd.io/secrets"] == "before"
    for key in ("passwords.json", "pg-1.key", "ca.crt"):
        assert marks(secrets=[{**nodes, "data": {**nodes["data"], key: "eA=="}}]) == marks()
    assert marks(secrets=[]) == marks()


def test_claims_grow(task: dict[str, Any]) -> None:
    sets = [item for item in ask(task, "objects") if item["kind"] == "StatefulSet"]
    claims = [
        {
            "metadata": {"name": name},
            "spec": {"storageClassName": "slow", "resources": {"requests": {"storage": "10Gi"}}},
        }
        for name in ("data-pg-0", "data-pg-1", "data-backup-0")
    ]
    there: dict[str, Any] = {"sets": sets, "claims": claims, "configs": [described(MODEL)]}
    for classes in (None, [{"metadata": {"name": "slow"}, "allowVolumeExpansion": True}]):
        assert ask(task, "refused", **there, classes=classes) == []
    (sentence,) = ask(task, "refused", **there, classes=[{"metadata": {"name": "slow"}}])
    assert sentence.startswith(
        "cluster_barman_storage_size is 20Gi, and the claim data-backup-0 cannot grow: its storage class slow lets none grow"
    )
    nothing: dict[str, Any] = {"claims": {}, "anew": []}
    grown = ask(task, "growth", sets=sets, claims=claims)
    assert grown == {**nothing, "claims": {"data-backup-0": "20Gi"}}
    for name in HOSTS:
        task["hostvars"][name]["cluster_storage_size"] = "5Gi"
    (sentence,) = ask(task, "refused", sets=sets, claims=claims, configs=[described(MODEL)])
    assert sentence == "cluster_storage_size is 5Gi, and the claim data-pg-0 has 10Gi: claims cannot shrink; set 10Gi."
    assert ask(task, "growth") == nothing


STATUS = {
    "kind": "Status",
    "message": 'persistentvolumeclaims "data-pg-0" is forbidden: exceeded quota: storage',
    "reason": "Forbidden",
}
# As kubernetes.core has it: the answer is bytes, and written as Python does.
TOO_LARGE = f"Failed to patch object: {json.dumps(STATUS).encode()!r}"


def test_what_kubernetes_does_not_let_grow_is_told(task: dict[str, Any]) -> None:
    names = ("data-pg-0", "data-pg-1")
    grown: list[dict[str, Any]] = [{"item": {"key": name, "value": "20Gi"}, "result": {}} for name in names]
    assert ask(task, "ungrown", grown=grown) == ask(task, "ungrown", grown=[]) == []
    refused = {"item": grown[0]["item"], "failed": False, "msg": TOO_LARGE}
    (sentence,) = ask(task, "ungrown", grown=[refused, grown[1]])
    assert sentence == (
        'The claim data-pg-0 could not be told to grow to 20Gi: persistentvolumeclaims "data-pg-0" is forbidden: exceeded '
        "quota: storage."
    )


def test_what_pods_go_by_is_read(task: dict[str, Any]) -> None:
    other = replace(MODEL, durability="async").to_dict()
    there = {"configs": [{"data": {"cluster.json": json.dumps(other)}}]}
    (sentence,) = ask(task, "refused", **there, records=[RECORD])
    assert sentence.startswith("cluster_durability is async in this cluster")


def test_who_is_counted_stays_until_a_stage_comes(task: dict[str, Any]) -> None:
    """Whatever else of the description changes: what is there says who is counted, and a stage alone changes that."""

    def text(objects: list[dict[str, Any]]) -> str:
        return str(next(item for item in objects if item["kind"] == "ConfigMap")["data"]["cluster.json"])

    there = [{"data": {"cluster.json": json.dumps(LATE.to_dict())}}]
    found = text(ask(task, "objects", configs=there))
    assert Cluster.from_dict(json.loads(found)).electable_names == ("pg-0", "pg-1")
    assert ask(task, "digest", configs=there) == hashlib.sha256(found.encode()).hexdigest()
    old, new = ({"names": list(item.electable_names), "needed": 1} for item in (LATE, MODEL))
    stages = [{"counted": new, "named": old, "held": False}, {"counted": new, "named": new, "held": False}]
    texts = [text([ask(task, "config", stage=stage)]) for stage in stages]
    assert 'ANY 1 ("pg-0", "pg-1")' in Cluster.from_dict(json.loads(texts[0])).synchronous_standby_names
    assert texts[1] == text(ask(task, "objects"))
    digests = [hashlib.sha256(item.encode()).hexdigest() for item in (found, *texts)]
    # What the run has registered so far: nodes are asked before there is a stage.
    task["hostvars"]["localhost"]["kubernetes_config"] = {"resources": there}
    task["hostvars"]["localhost"]["kubernetes_record"] = {"resources": [RECORD]}
    assert ask(task, "digests") == digests[:1]
    task["hostvars"]["pg-1"]["postgres_way"] = {"stages": stages}
    assert ask(task, "digests") == digests
    assert [ask(task, "digest", stage=stage) for stage in stages] == digests[1:]
    # A stage comes after what this run has written before it, and after nothing else.
    written = [[{"data": {"cluster.json": one}}] for one in (found, *texts)]
    after = [[ask(task, "overtaken", configs=one, stage=stage) == "" for one in written] for stage in stages]
    assert after == [[True, False, False], [False, True, False]]
    assert ask(task, "overtaken", configs=written[2], stage=stages[0], last=digests[2]) == ""
    sentence = ask(task, "overtaken", configs=[], stage=stages[0])
    assert sentence.startswith("Another run, or a person, has changed the ConfigMap demo in the namespace db")
    for host in HOSTS:
        task["hostvars"][host]["ansible_check_mode"] = True
    assert ask({**task, "ansible_check_mode": True}, "overtaken", configs=[], stage=stages[0]) == ""


def test_what_another_run_has_changed_is_refused(task: dict[str, Any]) -> None:
    """Kubernetes compares what is applied with what is there."""
    there = described(MODEL)
    found = ask(task, "config", configs=[there], there=[there])["metadata"]
    assert (found["name"], found["uid"], found["resourceVersion"]) == ("demo", "u-1", "77")
    # Where there is none, one that was made meanwhile has another version.
    found = ask(task, "config")["metadata"]
    assert (found.get("uid"), found["resourceVersion"]) == (None, "1")
    with pytest.raises(AnsibleError, match="as it is"):
        ask(task, "config", there=[{"metadata": {"name": "demo"}}])
    # Files for others have no version, nor has what is a part of all objects.
    (whole,) = [item for item in ask(task, "objects", configs=[there]) if item["kind"] == "ConfigMap"]
    assert "resourceVersion" not in whole["metadata"]
    status = '{"kind":"Status","status":"Failure","reason":"Conflict","code":409}'
    sentence = ask(task, "unwritten", said=f"Failed to apply object: b'{status}'")
    assert sentence.startswith("Another run, or a person, has changed the ConfigMap demo in the namespace db")
    assert sentence.endswith("Run again when nobody else does.")
    said = 'Failed to apply object: b\'{"reason":"Forbidden","code":403}\''
    assert ask(task, "unwritten", said=said) == f"Write the ConfigMap demo in the namespace db: {said}"


ROLE = {"metadata": {"name": "pg-0", "labels": {"pgherd.io/role": "standby"}}}
PLAIN = {"metadata": {"name": "pg-0", "labels": {}}}
NOTED = described(MODEL, annotations={"pgherd.io/initialized": "true"})
EARLIER, AFTER = "2026-11-30T09:59:59Z", "2026-11-30T10:00:01Z"
HELD = {"dataSourceRef": {"kind": "VolumeSnapshot", "name": "of-yesterday"}}
EMPTY: dict[str, Any] = {"metadata": {"name": "demo", "creationTimestamp": MADE}}


@pytest.mark.parametrize(
    ("what", "config", "records", "claims", "pods", "may_have_begun"),
    [
        ("nothing is there", None, [], [], [], False),
        ("the run ended before there were pods", described(MODEL), [], [], [], False),
        ("pods wait", described(MODEL), [], [claim("data-pg-0"), claim("data-pg-1", AFTER)], [PLAIN], False),
        ("Barman's claim is older", described(MODEL), [], [claim("data-backup-0", EARLIER, "barman")], [], False),
        ("there is a record", described(MODEL), [RECORD], [], [], True),
        ("one that says nothing is one", described(MODEL), [{"metadata": {"name": "demo-record"}}], [], [], True),
        ("the record was removed", NOTED, [], [], [], True),
        ("a claim is older", described(MODEL), [], [claim("data-pg-0", EARLIER)], [], True),
        ("a claim has no time", described(MODEL), [], [claim("data-pg-0", "")], [], True),
        ("a claim was made from a snapshot", described(MODEL), [], [claim("data-pg-0", AFTER, **HELD)], [], True),
        ("a pod says what it is", described(MODEL), [], [claim("data-pg-0")], [ROLE], True),
        ("the ConfigMap is gone", None, [RECORD], [claim("data-pg-0")], [], True),
        ("so is the record", None, [], [claim("data-pg-0")], [], True),
        ("both, and the claims have no label", None, [], [{"metadata": {"name": "data-pg-0"}, "spec": {}}], [], True),
        ("the ConfigMap says nothing", EMPTY, [], [claim("data-pg-0", AFTER)], [], True),
        ("of Barman alone", None, [], [claim("data-backup-0", what="barman")], [], False),
    ],
)
def test_a_description_is_replaced_where_nothing_has_begun(
    what: str,
    config: dict[str, Any] | None,
    records: list[dict[str, Any]],
    claims: list[dict[str, Any]],
    pods: list[dict[str, Any]],
    may_have_begun: bool,
) -> None:
    configs = [config] if config else []
    assert begun(configs, records, claims, pods) is may_have_begun, what


def test_a_run_that_ended_early_is_no_obstacle(task: dict[str, Any]) -> None:
    """It left a description of other nodes, and another durability, by which nothing has begun."""
    more = [replace(MODEL.nodes[2], name=f"pg-{number}", id=number + 1, address=f"pg-{number}") for number in (3, 4)]
    left = described(replace(MODEL, nodes=(*MODEL.nodes, *more), durability="async"))
    there: dict[str, Any] = {"configs": [left], "claims": [claim("data-pg-0"), claim("data-pg-4")], "pods": [PLAIN]}
    assert ask(task, "before", **there) == ask(task, "refused", **there) == []
    assert len(ask(task, "refused", **there, records=[RECORD])) == 2
    assert ask(task, "before", **there, records=[RECORD]) == [left]
    # The whole run goes by that, also when the pods have begun meanwhile.
    known = {"config": [left], "record": [], "claims": there["claims"], "found": there["pods"]}
    for name, resources in known.items():
        task["hostvars"]["localhost"][f"kubernetes_{name}"] = {"resources": resources}
    assert ask(task, "digests") == [ask(task, "digest", configs=[])]


@pytest.mark.parametrize("there", [[], [EMPTY]])
def test_a_description_that_is_gone_is_not_made_up(task: dict[str, Any], there: list[dict[str, Any]]) -> None:
    """In a cluster that lives: who is counted would change past all stages."""
    (sentence,) = ask(task, "refused", configs=there, records=[RECORD])
    assert sentence.startswith("The namespace db holds a cluster demo (ConfigMap demo-record), and the ConfigMap demo")
    assert "kubectl -n db exec pg-0 -c node -- cat /etc/pgherd/cluster.json" in sentence
    claims = [claim("data-pg-0"), claim("data-pg-1")]
    (sentence,) = ask(task, "refused", configs=there, claims=claims)
    assert "(claims data-pg-0, data-pg-1)" in sentence
    assert sentence.endswith("If nobody needs what the claims hold, delete them instead.")
    assert ask(task, "refused", configs=[described(MODEL)], records=[RECORD], claims=claims) == []


def test_who_is_removed_is_in_the_description_still(task: dict[str, Any]) -> None:
    """Its agent counts, and is counted, until the pods have been told otherwise."""
    rest = replace(MODEL, nodes=MODEL.nodes[:-1])
    _run.remember("cluster_model", _cluster.plain(rest.to_dict()))
    _run.leave(_run.removal_of("pg-2"), {"cluster": MODEL.to_dict(), "rest": rest.to_dict()})
    for variables in task["hostvars"].values():
        variables["cluster_model"] = _cluster.plain(rest.to_dict())
    old, new = ({"names": list(item.electable_names), "needed": 1} for item in (MODEL, rest))
    stage = {"counted": old, "named": new, "held": False}
    (found,) = ask(task, "config", stage=stage, leaving="pg-2")["data"].values()
    told = Cluster.from_dict(json.loads(found))
    assert told.electable_names == ("pg-0", "pg-1", "pg-2")
    assert told.synchronous_standby_names == 'ANY 1 ("pg-0", "pg-1")'
    assert ask(task, "digest", stage=stage, leaving="pg-2") == hashlib.sha256(found.encode()).hexdigest()
    (found,) = ask(task, "config", stage={"counted": new, "named": new, "held": True})["data"].values()
    assert Cluster.from_dict(json.loads(found)) == rest


GONE = replace(MODEL, nodes=MODEL.nodes[:-1], durability="async")
LATE = replace(MODEL, nodes=tuple(replace(node, priority=0) if node.id == 3 else node for node in MODEL.nodes))


@pytest.mark.parametrize(
    ("before", "wanted", "begins"),
    [
        (MODEL, MODEL, []),
        (MODEL, replace(MODEL, port=5433), []),
        (LATE, MODEL, []),
        (MODEL, LATE, []),
        (MODEL, replace(MODEL, sync_standbys=2), []),
        (MODEL, replace(MODEL, durability="async"), ["cluster_durability is strict"]),
        (replace(MODEL, durability="async"), MODEL, ["cluster_durability is async"]),
        (replace(MODEL, durability="async"), replace(LATE, durability="async"), []),
        (replace(MODEL, durability="async"), GONE, ["pg-2: in this cluster, and not in the inventory"]),
    ],
)
def test_what_pods_cannot_be_told_at_once(before: Cluster, wanted: Cluster, begins: list[str]) -> None:
    found = list(refused(before, wanted))
    assert len(found) == len(begins)
    assert all(sentence.startswith(start) and sentence.endswith(".") for sentence, start in zip(found, begins))


def pod(
    name: str, of: str = "pg", role: str = "", revision: str = "1", ready: str = "True", **state: Any
) -> dict[str, Any]:
    labels = {"pgherd.io/set": of, "controller-revision-hash": revision, **({"pgherd.io/role": role} if role else {})}
    status = {
        "phase": "Running",
        "containerStatuses": [{"name": "node", "state": state or {"running": {}}}],
        "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready}],
    }
    return {"metadata": {"name": name, "labels": labels}, "status": status}


def pods(**instead: Any) -> list[dict[str, Any]]:
    """All that there should be; *instead*: others by name, with _ for -, or None for none."""
    found = {
        "pg_0": pod("pg-0", role="primary"),
        "pg_1": pod("pg-1", role="standby"),
        "pg_2": pod("pg-2", role="standby"),
        "pool_a": pod("pool-77-a", "pool"),
        "pool_b": pod("pool-77-b", "pool"),
        "backup_0": pod("backup-0", "backup"),
        **instead,
    }
    return [one for one in found.values() if one]


PULL = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
GOING = {**pod("pg-1"), "metadata": {**pod("pg-1")["metadata"], "deletionTimestamp": "2027-01-01T00:00:00Z"}}
UNPLACED = {
    "metadata": {"name": "pg-1"},
    "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "no room"}]},
}


@pytest.mark.parametrize(
    ("instead", "run", "ready"),
    [
        ({}, [], []),
        ({"pg_1": None}, ["pg-1: there is no such pod."], ["pg-1: there is no such pod."]),
        ({"pg_1": GOING}, ["pg-1: there is no such pod."], ["pg-1: there is no such pod."]),
        ({"pg_1": UNPLACED}, ["pg-1: it has no machine, no room."], ["pg-1: it has no machine, no room."]),
        (
            {"pg_0": pod("pg-0", role="primary", **PULL)},
            ["pg-0: its container node waits, ImagePullBackOff: no such image."],
            ["pg-0: its container node waits, ImagePullBackOff: no such image."],
        ),
        ({"pg_2": pod("pg-2", ready="False")}, [], ["pg-2: it runs and is not ready; see what its log says."]),
        ({"pool_b": None}, [], ["pool: 1 of 2 pods are ready."]),
        (
            {"pool_b": pod("pool-77-b", "pool", ready="False")},
            [],
            ["pool: 1 of 2 pods are ready (it runs and is not ready; see what its log says)."],
        ),
        (
            {"pg_0": pod("pg-0")},
            [],
            ["demo: no pod says that it is the primary."],
        ),
        ({"pg_0": pod("pg-0", role="standby"), "pg_1": pod("pg-1", role="primary")}, [], []),
        ({"pg_0": {"metadata": {"name": "pg-0"}}}, None, None),
    ],
)
def test_for_what_a_run_waits(instead: dict[str, Any], run: list[str] | None, ready: list[str] | None) -> None:
    there = pods(**instead)
    found, last = list(missing(MODEL, there)), list(missing(MODEL, there, ready=True))
    assert found == (found if run is None else run)
    assert last == (last if ready is None else ready)
    assert bool(last) >= bool(found)


def test_pods_of_before_are_waited_for_and_those_that_never_ran_taken_away() -> None:
    sets = [{"metadata": {"name": "pg"}, "status": {"updateRevision": "2"}}]
    there = pods(pg_0=pod("pg-0", role="primary", revision="2"), pg_1=pod("pg-1", **PULL), pg_2=pod("pg-2"))
    assert [sentence.partition(":")[0] for sentence in missing(MODEL, there, sets)] == ["pg-1", "pg-2"]
    assert stuck(there, sets) == ["pg-1"]
    assert stuck(there, []) == stuck(pods(), sets[:0]) == []


def test_only_a_certificate_makes_an_authority(task: dict[str, Any]) -> None:
    """A Secret that holds none, which somebody made by hand, is another's."""
    (sentence,) = ask(task, "refused", secrets=[{"data": {"ca.crt": base64.b64encode(b"none").decode()}}])
    assert "have another authority" in sentence
