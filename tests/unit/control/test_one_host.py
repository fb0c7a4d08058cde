# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""One host's answer is not taken for what the control machine has checked, nor for what all the others are told."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.pgherd.cluster.plugins.action import (
    cluster_addresses,
    cluster_counting,
    cluster_primary,
    cluster_removal,
    host_addresses,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.build import build
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.variables import Host
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.members import removal
from ansible_collections.pgherd.cluster.plugins.plugin_utils import _cluster, _heard, _run

ROOT = Path(__file__).resolve().parents[3]
DEFAULTS = {"cluster_name": "demo", "cluster_durability": "strict", "cluster_sync_standbys": 1}
MODEL: dict[str, Any] = _cluster.plain(
    build(
        [
            Host(f"pg{at}", ("postgres",), {"node_id": at, **({"upstream": "pg1"} if at > 1 else {})})
            for at in range(1, 6)
        ],
        DEFAULTS,
    ).to_dict()
)


FORGED = {**MODEL, "options": {**MODEL["options"], "data_directory": "/etc", "wal_directory": "/etc"}}


@pytest.fixture(autouse=True)
def _own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_run.constants, "DEFAULT_LOCAL_TMP", str(tmp_path))


def act(
    plugin: Any,
    monkeypatch: pytest.MonkeyPatch,
    args: dict[str, Any],
    said: dict[str, Any] | None = None,
    asked: list[Any] | None = None,
    check_mode: bool = False,
) -> Any:
    """What the action makes of what its module *said*; None: no host may be asked. *asked* gets what the module was
    asked."""
    monkeypatch.setattr(plugin.ActionBase, "run", lambda *_given, **_more: {})

    def execute(*_given: Any, **more: Any) -> dict[str, Any]:
        assert said is not None, "a host was asked"
        if asked is not None:
            asked.append(more["module_args"])
        return dict(said)

    monkeypatch.setattr(plugin.ActionModule, "_execute_module", execute)
    action = plugin.ActionModule.__new__(plugin.ActionModule)
    action._task = SimpleNamespace(args=args, check_mode=check_mode, async_val=0)
    action._connection = SimpleNamespace(has_native_async=False)
    facts = {"cluster_secrets_path": f"{_run.constants.DEFAULT_LOCAL_TMP}/store"}
    groups = {"postgres": ["pg1", "pg2"]}
    return action.run(task_vars={"groups": groups, "hostvars": {}, "inventory_hostname": "pg1", **facts})


def test_only_what_this_run_has_checked_is_believed() -> None:
    with pytest.raises(ConfigError, match="cluster_model is not what was checked on the control machine in this run"):
        _cluster.model({"cluster_model": MODEL})
    _run.remember("cluster_model", MODEL)
    assert _cluster.model({"cluster_model": MODEL}).to_dict()["name"] == "demo"
    for other in (FORGED, {**MODEL, "nodes": [{**MODEL["nodes"][0], "address": "pg2"}, *MODEL["nodes"][1:]]}):
        with pytest.raises(ConfigError):
            _cluster.model({"cluster_model": other})
    with pytest.raises(ConfigError):
        _cluster.store({"cluster_secrets_path": "/etc"}, forecast=True)


def test_files_of_the_control_machine_are_not_named_by_a_host(tmp_path: Path) -> None:
    place = str(tmp_path / "store")
    _run.remember("cluster_secrets_path", place)
    _run.leave(f"authority of {place}", {"cluster_ca_certificate": "", "cluster_ca_key": None})
    variables = {"cluster_secrets_path": place, "cluster_ca_certificate": "/etc/ssl/private/other.pem"}
    _cluster.recognised(variables)
    certificate, _key = _cluster.known_authority(_cluster.store(variables, forecast=False), variables)
    assert certificate == (tmp_path / "store/ca.crt").read_text()
    with pytest.raises(ConfigError, match=r"let role pgherd.cluster.cluster come first"):
        _cluster.known_authority(_cluster.store(variables, forecast=True), {"cluster_secrets_path": "/other"})


def test_counting_asks_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    args = {
        "cluster": MODEL,
        "found": {"pg1": {"name": "pg1", "data": "cluster", "names": 'ANY 1 ("pg1", "pg2", "pg3")'}},
    }
    with pytest.raises(AnsibleActionFail, match="cluster_model is not what was checked"):
        act(cluster_counting, monkeypatch, args)
    _run.remember("cluster_model", MODEL)
    answer = act(cluster_counting, monkeypatch, args)
    assert answer["start"]["named"] == {"names": ["pg1", "pg2", "pg3"], "needed": 1}
    assert {**answer["cluster"], "counted": None} == MODEL
    assert answer["stages"]
    # What a host says of itself is not obeyed.
    for instance in ({"data": "cluster", "names": 5}, "text", {"data": "cluster", "timeline": []}):
        with pytest.raises(AnsibleActionFail, match="Read what the hosts said of their instances"):
            act(
                cluster_counting,
                monkeypatch,
                {"cluster": MODEL, "found": {"pg1": instance, "pg2": {"data": "cluster"}}},
            )


def test_a_host_says_where_it_comes_from_and_no_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def said(at: int, **more: Any) -> dict[str, Any]:
        mine = f"10.0.0.{at}"
        ways = {f"pg{to}": {"sources": {f"10.0.0.{to}": mine}, "why": ""} for to in range(1, 6)}
        return {"own": [mine], "ways": ways, "changed": True, "distribution": "Debian", "release": "13", **more}

    # Who is root on pg5 would have another address let in as pg1, and another model believed.
    forged = {**said(5)["ways"], "pg1": {"sources": {"198.51.100.7": "10.0.0.5", "10.0.0.1": "10.0.0.5"}, "why": ""}}
    answers = {f"pg{at}": said(at) for at in range(1, 5)}
    answers["pg5"] = said(5, ways=forged, cluster=FORGED, ansible_facts={"cluster_model": FORGED})
    args = {"cluster": MODEL, "said": answers}
    with pytest.raises(AnsibleActionFail, match="cluster_model is not what was checked"):
        act(cluster_addresses, monkeypatch, args)
    _run.remember("cluster_model", MODEL)
    with pytest.raises(AnsibleActionFail, match="cluster_secrets_path is not what was checked"):
        act(cluster_addresses, monkeypatch, args)
    _run.remember("cluster_secrets_path", f"{tmp_path}/store")
    found = act(cluster_addresses, monkeypatch, args)["ansible_facts"]["cluster_model"]
    kept = tmp_path / "store/addresses.json"
    assert not kept.exists(), "written before it is known whose hosts these are"
    _heard.keep(f"{tmp_path}/store", forecast=True)
    assert not kept.exists()
    _heard.keep(f"{tmp_path}/store", forecast=False)
    # pg5 is switched off: it comes back from where it came, whatever others say of it.
    there = {host: answer for host, answer in answers.items() if host != "pg5"}
    for host in there:
        there[host]["ways"]["pg5"]["sources"] = {"198.51.100.7": there[host]["own"][0]}
    assert act(cluster_addresses, monkeypatch, {**args, "said": there})["ansible_facts"]["cluster_model"] == found
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_text('{"pg5": ["0.0.0.0/0"]}')
    with pytest.raises(
        AnsibleActionFail, match=r"addresses.json does not hold addresses by host; take the file away\."
    ):
        act(cluster_addresses, monkeypatch, args)
    kept.unlink()
    assert [node["origins"]["networks"] for node in found["nodes"]] == [[f"10.0.0.{at}/32"] for at in range(1, 6)]
    assert [node["version"] for node in found["nodes"]] == [17] * 5
    told = [{**node, "origins": {**node["origins"], "networks": []}, "version": 0} for node in found["nodes"]]
    assert {**found, "nodes": told} == MODEL
    for answer in ("text", {"ways": 5, "own": []}, {"ways": {"pg1": {"why": ""}}, "own": []}, {"ways": {}}):
        with pytest.raises(AnsibleActionFail, match="Read what the hosts said of their addresses"):
            act(cluster_addresses, monkeypatch, {"cluster": MODEL, "said": {"pg1": answer}})


def ways(at: int) -> dict[str, Any]:
    return {
        "own": [f"10.0.0.{at}"],
        "ways": {f"pg{to}": {"sources": {f"10.0.0.{to}": f"10.0.0.{at}"}, "why": ""} for to in range(1, 6)},
    }


def debian(release: str, *names: str, distribution: str = "Debian") -> dict[str, Any]:
    """What hosts say of themselves that have this distribution."""
    return {name: {**SAID[name], "distribution": distribution, "release": release} for name in names}


SAID = {f"pg{at}": ways(at) for at in range(1, 6)}


def test_a_hosts_release_says_which_postgresql_it_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is decided of a host that was there once stays when it is not: no agent is restarted for that."""
    place = f"{tmp_path}/store"
    _run.remember("cluster_model", MODEL)
    _run.remember("cluster_secrets_path", place)

    def versions(said: dict[str, Any]) -> dict[str, int]:
        found = act(cluster_addresses, monkeypatch, {"cluster": MODEL, "said": said})
        made = found["ansible_facts"]["cluster_model"]
        assert _cluster.model({"cluster_model": made})
        return {node["name"]: node["version"] for node in made["nodes"]}

    every = dict.fromkeys(SAID, 15)
    assert versions(debian("12", *SAID)) == every
    _heard.keep(place, forecast=False)
    assert (tmp_path / "store/versions.json").stat().st_mode & 0o777 == 0o600
    there = debian("12", *(name for name in SAID if name != "pg2"))
    assert versions(there) == every
    assert versions(debian("12", "pg1")) == every
    with pytest.raises(AnsibleActionFail, match="PostgreSQL would be 15 on pg1, pg3, pg4, pg5, 17 on pg2, as"):
        versions({**debian("12", "pg1"), **debian("13", "pg2"), **there})
    wrong = {**debian("24\x1b[2J", "pg2", distribution="Ubuntu"), **debian("12", "pg1", "pg3"), **debian("11", "pg4")}
    with pytest.raises(AnsibleActionFail) as caught:
        versions(wrong)
    assert str(caught.value).splitlines() == [
        f"{name}: it runs {what}; pgherd knows Debian 12 and 13 (for another Debian, set cluster_postgres_version and "
        "cluster_apt_repository)."
        for name, what in (("pg2", "Ubuntu 24?[2J"), ("pg4", "Debian 11"))
    ]
    for text in ('{"pg2": "17"}', '{"pg2": true}', '{"pg2": 0}', "[17]", "no"):
        (tmp_path / "store/versions.json").write_text(text)
        with pytest.raises(
            AnsibleActionFail, match=r"versions.json does not hold versions by host; take the file away\."
        ):
            versions(debian("12", *SAID))


def test_where_the_user_asks_for_a_version_no_release_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = versions_asked(17)
    _run.remember("cluster_model", asked)
    _run.remember("cluster_secrets_path", f"{tmp_path}/store")
    args = {"cluster": asked, "said": debian("11", *SAID)}
    made = act(cluster_addresses, monkeypatch, args)["ansible_facts"]["cluster_model"]
    assert {node["version"] for node in made["nodes"]} == {17}


@pytest.mark.parametrize(
    ("seconds", "said"), [(-1700, ""), (-7200, "s behind this machine's"), (7200, "s ahead of this")]
)
def test_a_clock_that_is_far_off_is_told(monkeypatch: pytest.MonkeyPatch, seconds: int, said: str) -> None:
    answer = {**SAID["pg1"], "clock": int(time.time()) + seconds, "ansible_facts": {"cluster_model": FORGED}}
    if not said:
        assert "ansible_facts" not in act(host_addresses, monkeypatch, {}, answer)
        return
    with pytest.raises(AnsibleActionFail, match=f"pg1: its clock is .*{said}"):
        act(host_addresses, monkeypatch, {}, answer)


def test_a_host_that_tells_no_time_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in ({}, {"clock": "noon"}):
        with pytest.raises(AnsibleActionFail, match="Read what the host said of its clock"):
            act(host_addresses, monkeypatch, {}, answer)
    assert act(host_addresses, monkeypatch, {}, {"failed": True, "msg": "no"}) == {"failed": True, "msg": "no"}


def versions_asked(version: int) -> dict[str, Any]:
    return {**MODEL, "nodes": [{**node, "version": version} for node in MODEL["nodes"]]}


def test_a_stage_is_seen_on_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"steps": [], "ansible_facts": {"cluster_model": FORGED}}
    assert act(cluster_counting, monkeypatch, {"cluster": MODEL, "stage": {"held": True}}, said) == {"steps": []}
    nothing = act(cluster_counting, monkeypatch, {"cluster": MODEL, "stage": {"held": False}})
    assert (nothing["changed"], nothing["steps"]) == (False, [])


def test_removal_takes_from_the_host_who_is_primary_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        **dict.fromkeys(("cluster", "rest", "way"), FORGED),
        "advice": "run rm -rf",
        "ansible_facts": {"cluster_model": FORGED, "cluster_ca_key": "/x"},
        "primary": "pg2",
        "steps": ["unregister pg1"],
    }
    args = {"cluster": MODEL, "node": "pg1", "via": "pg2"}
    with pytest.raises(AnsibleActionFail, match="cluster_model is not what was checked"):
        act(cluster_removal, monkeypatch, args, said)
    _run.remember("cluster_model", MODEL)
    answer = act(cluster_removal, monkeypatch, args, said)
    assert answer["steps"] == ["unregister pg1"]
    assert answer["ansible_facts"] == {"cluster_model": answer["rest"]}
    assert _cluster.plain(answer["cluster"]) == MODEL
    assert [node["name"] for node in answer["rest"]["nodes"]] == ["pg2", "pg3", "pg4", "pg5"]
    assert "/etc" not in str(answer)
    assert "rm" not in answer["advice"].split()
    assert answer["way"]["stages"][0]["named"] == {"names": ["pg2", "pg3", "pg4", "pg5"], "needed": 1}
    # It is configured later in this run.
    assert _cluster.model({"cluster_model": answer["rest"]})
    for primary in ("pg1", "pg9", None):
        with pytest.raises(AnsibleActionFail, match="wanted a primary among pg2, pg3, pg4, pg5"):
            act(cluster_removal, monkeypatch, args, {**said, "primary": primary})
    assert act(cluster_removal, monkeypatch, args, {"failed": True, "msg": "x"}) == {"failed": True, "msg": "x"}


def test_who_leaves_is_stopped_by_the_model_that_still_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first look on, the fact is the cluster without it."""
    cluster = versions_asked(17)
    _run.remember("cluster_model", cluster)
    args = {"cluster": cluster, "node": "pg1", "via": "pg2"}
    looked = act(cluster_removal, monkeypatch, args, {"primary": "pg2", "steps": []})
    loader = DataLoader()
    facts = {**looked["ansible_facts"], "cluster_removal": looked, "inventory_hostname": "pg1"}
    facts["hostvars"] = {"pg1": dict(facts)}
    leave = loader.load_from_file(str(ROOT / "roles/repmgr/tasks/leave.yml"), trusted_as_template=True)
    made = str(Templar(loader, facts).template([task for task in leave if "loop" not in task]))
    assert "/etc/postgresql/17/main/start.conf" in made
    assert "postgresql@17-main.service" in made
    with pytest.raises(
        AnsibleError, match="pg1 is no host of cluster demo, so it is not known which PostgreSQL it has"
    ):
        Templar(loader, facts).template(trust_as_template("{{ lookup('pgherd.cluster.postgres_version') }}"))


def test_the_next_looks_are_at_the_cluster_that_still_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the fact, which is the cluster without it from the first look on."""
    _run.remember("cluster_model", MODEL)
    args = {"cluster": MODEL, "node": "pg5", "via": "pg2"}
    first = act(cluster_removal, monkeypatch, args, {"primary": "pg1", "steps": []})
    asked: list[Any] = []

    def looks(cluster: Any, node: str) -> Any:
        given = {**args, "cluster": cluster, "node": node}
        act(cluster_removal, monkeypatch, given, {"primary": "pg1", "steps": []}, asked=asked)
        return asked[-1]["cluster"]

    assert looks(first["ansible_facts"]["cluster_model"], "pg5") == MODEL
    assert looks(MODEL, "pg5") == MODEL
    # Another node's removal is another thing.
    assert looks(first["rest"], "pg4") == _cluster.plain(first["rest"])


def test_what_is_on_the_way_and_after_follows_from_the_primary() -> None:
    from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster

    cluster = Cluster.from_dict(MODEL)
    found = removal.models(cluster, "pg5", "pg1")
    assert found["rest"] == removal.rest(cluster, "pg5", "pg1").to_dict()
    assert found["way"] == removal.way(cluster, removal.rest(cluster, "pg5", "pg1")).to_dict()


def test_nobody_is_delegated_to_who_is_not_in_the_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"target": "pg2", "ansible_facts": {"cluster_model": FORGED}}
    assert act(cluster_primary, monkeypatch, {"node": "pg1"}, said, check_mode=True) == {"target": "pg2"}
    for target in ("elsewhere.example.org", ["pg2"]):
        with pytest.raises(AnsibleActionFail, match="which is no host of the group postgres"):
            act(cluster_primary, monkeypatch, {"node": "pg1"}, {"target": target}, check_mode=True)
    assert act(cluster_primary, monkeypatch, {"node": "pg1"}, {"failed": True}, check_mode=True) == {"failed": True}
