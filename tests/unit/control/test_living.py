# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""No secret is made, and none given out, before the hosts were asked for the cluster that they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.pgherd.cluster.plugins.action import cluster_secrets
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.build import build
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.variables import Host
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import PCP_USER, SYSTEM_ROLES, Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.found import Described, HeldServer, Holdings
from ansible_collections.pgherd.cluster.plugins.plugin_utils import _cluster, _heard, _living, _run
from ansible_collections.pgherd.cluster.plugins.plugin_utils._secrets import SecretStore

DEFAULTS = {
    "cluster_name": "demo",
    "cluster_durability": "async",
    "cluster_postgres_version": 17,
    "cluster_ssh_keys": True,
}
HOSTS = [
    Host("pg1", ("postgres",), {"node_id": 1}),
    Host("pg2", ("postgres",), {"node_id": 2, "upstream": "pg1"}),
    Host("pool1", ("pgpool",)),
]
MODEL: dict[str, Any] = _cluster.plain(build(HOSTS, DEFAULTS).to_dict())
NODES = tuple(
    {**{key: node[key] for key in ("name", "kind", "id", "address")}, "ip": node["origins"]["known"]}
    for node in MODEL["nodes"]
)
HEARD = _heard.Heard({"pg1": ["10.0.0.1"]}, {"pg1": 17})
SERVER = HeldServer(("/var/lib/postgresql/17/main",), 17, "17/main", 5432, True, "7")


def authority(place: Path) -> str:
    """The certificate of an authority that is made in *place*."""
    return SecretStore(str(place)).authority("", "")[0]


def living(certificate: str, passwords: str = "same") -> dict[str, Holdings]:
    one = Holdings("", Described("demo", nodes=NODES, others=("pool1",)), authority=certificate, passwords=passwords)
    return {
        **{name: replace(one, name=name, servers=(SERVER,)) for name in ("pg1", "pg2")},
        "pool1": replace(one, name="pool1"),
    }


def wrong(
    said: Mapping[str, Holdings], certificate: str, passwords: Any = SYSTEM_ROLES, own: bool = False
) -> list[str]:
    return _living.secret_problems("/s", "demo", said, authority=certificate, own=own, passwords=passwords)


def test_the_secrets_of_this_cluster(tmp_path: Path) -> None:
    mine, other = authority(tmp_path / "a"), authority(tmp_path / "b")
    said = living(mine)
    assert wrong(said, mine) == []
    # Both in one file, on either side: a change of the authority, in steps.
    assert wrong(said, other + mine, own=True) == []
    assert wrong(living(mine + other), other, own=True) == []
    # A host that was off while it was changed has the old one.
    late = {**said, "pg2": replace(said["pg2"], authority=other, passwords="other")}
    assert wrong(late, mine) == []
    # Hosts of a release before, without a certificate or a password that could be compared.
    assert wrong({name: replace(one, authority="", passwords="") for name, one in said.items()}, mine) == []
    # One password's line was taken out to have it changed.
    assert wrong(said, mine, [PCP_USER]) == []
    # Nothing lives yet.
    assert wrong({}, "", []) == []


@pytest.mark.parametrize(
    ("here", "passwords", "kept", "parts"),
    [
        (
            "",
            (),
            "",
            ["its secrets are not here: /s has no authority (ca.key, ca.crt) and no passwords (passwords.yml)."],
        ),
        ("", SYSTEM_ROLES, "same", ["/s has no authority (ca.key, ca.crt)."]),
        ("mine", (), "", ["/s has no passwords (passwords.yml)."]),
        ("mine", ("app",), "", ["/s has no passwords (passwords.yml)."]),
        ("other", SYSTEM_ROLES, "", ["trusts another authority (/etc/pgherd/tls/ca.crt there) than that of /s"]),
        ("other", SYSTEM_ROLES, "other", ["trusts another authority"]),
        ("mine", SYSTEM_ROLES, "other", ["with another password of pgherd_monitor than passwords.yml of /s has"]),
    ],
)
def test_other_secrets(tmp_path: Path, here: str, passwords: Any, kept: str, parts: list[str]) -> None:
    made = {"": "", "mine": authority(tmp_path / "a"), "other": authority(tmp_path / "b")}
    (said,) = wrong(living(made["mine"], kept), made[here], passwords)
    assert said.startswith("pg1, pg2, pool1: cluster demo lives there, ")
    for part in (*parts, "-e cluster_new_secrets=true", "cluster_secrets_directory"):
        assert part in said


def test_an_own_authority_is_changed_in_steps(tmp_path: Path) -> None:
    (said,) = wrong(living(authority(tmp_path / "a")), authority(tmp_path / "b"), own=True)
    assert "trusts none of the certificates in cluster_ca_certificate" in said
    assert "in the steps of docs/security.md" in said


def test_what_a_host_says_is_shown_as_text() -> None:
    one = Holdings("pg1", Described("\x1b[2J"), authority="a\nb\n").to_dict()
    (found,) = _living.believed({"pg1": one, "pg2": None}).values()
    assert found.described
    assert (found.described.name, found.authority) == ("?[2J", "a\nb\n")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the secrets are to be, in a run that has checked the inventory."""
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(_run.constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "run"))
    place = tmp_path / "secrets"
    _run.remember("cluster_model", MODEL)
    _run.remember("cluster_secrets_path", str(place))
    _run.leave(f"authority of {place}", {"cluster_ca_certificate": "", "cluster_ca_key": ""})
    _heard.hear(str(place), HEARD)
    return place


def act(monkeypatch: pytest.MonkeyPatch, place: Path, said: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    monkeypatch.setattr(cluster_secrets.ActionBase, "run", lambda *_given, **_more: {})
    action = cluster_secrets.ActionModule.__new__(cluster_secrets.ActionModule)
    action._task = SimpleNamespace(args={"found": said}, check_mode=False)
    one = {
        "cluster_model": MODEL,
        "cluster_secrets_path": str(place),
        "cluster_passwords": {},
        "cluster_users": [],
        **more,
    }
    hostvars = {name: {**one, "inventory_hostname": name} for name in ("pg1", "pg2", "pool1")}
    return action.run(task_vars={"inventory_hostname": "pg1", "hostvars": hostvars})


def test_what_all_hosts_share_is_made_before_their_files_are_rendered(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lookups run for many hosts at once. What one of them had to make each of them would make, and two hosts have two keys."""
    assert "SSH key of the nodes" in act(monkeypatch, place, {})["made"]
    later = SecretStore(str(place))
    later.passwords([*SYSTEM_ROLES, PCP_USER], {})
    later.ssh_pair()
    ca = later.authority("", "")
    cluster = Cluster.from_dict(MODEL)
    for host in cluster.hosts:
        later.host(host.name, _cluster.certificate_names(cluster, host.name), ca)
    assert later.made == []


def plain(said: Mapping[str, Holdings]) -> dict[str, Any]:
    return {name: one.to_dict() for name, one in said.items()}


def test_made_for_a_cluster_that_is_not_there_yet(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"cluster_secrets_path": str(place)}
    with pytest.raises(ConfigError, match=r"let role pgherd\.cluster\.cluster come first"):
        _cluster.store(variables, forecast=True)
    made = act(monkeypatch, place, plain({name: Holdings(name) for name in ("pg1", "pg2", "pool1")}))
    assert made["changed"]
    assert "certificate of pool1" in made["made"]
    assert _cluster.store(variables, forecast=True).kept(["repmgr"])
    assert _heard.kept(str(place)) == HEARD
    again = act(monkeypatch, place, plain(living((place / "ca.crt").read_text())))
    assert (again["changed"], again["made"]) == (False, [])


def test_nothing_is_made_beside_a_living_cluster(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = plain(living(authority(tmp_path / "away")))
    with pytest.raises(AnsibleActionFail, match="its secrets are not here"):
        act(monkeypatch, place, said)
    assert not place.exists()
    with pytest.raises(ConfigError):
        _cluster.store({"cluster_secrets_path": str(place)}, forecast=True)
    # One of the hosts is enough, as when the others do not answer.
    with pytest.raises(AnsibleActionFail, match="pool1: cluster demo lives there"):
        act(monkeypatch, place, {"pool1": said["pool1"], "pg1": Holdings("pg1").to_dict(), "pg2": None})
    # By word, as a vault would say it in text.
    made = act(monkeypatch, place, said, cluster_new_secrets="true")
    assert "the certificate authority" in made["made"]


def test_all_that_counts_is_given(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An own authority and all passwords in variables: the directory may be a new one at every run."""
    certificate = authority(tmp_path / "own")
    own = {name: str(tmp_path / f"own/ca.{end}") for name, end in zip(_cluster.AUTHORITY, ("crt", "key"))}
    _run.leave(f"authority of {place}", own)
    words = dict.fromkeys([*SYSTEM_ROLES, PCP_USER], "word")
    assert act(monkeypatch, place, plain(living(certificate, "")), cluster_passwords=words)["made"] == [
        *("public SSH key of the nodes", "SSH key of the nodes"),
        *(part for name in ("pg1", "pg2", "pool1") for part in (f"key of {name}", f"certificate of {name}")),
    ]


def test_half_a_directory_makes_no_other_half(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    act(monkeypatch, place, {})
    said = plain(living((place / "ca.crt").read_text()))
    (place / "ca.key").unlink()
    with pytest.raises(AnsibleActionFail, match="has no authority"):
        act(monkeypatch, place, said)
    assert not (place / "ca.key").exists()


def test_a_single_password_can_be_changed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    act(monkeypatch, place, {})
    said = plain(living((place / "ca.crt").read_text()))
    kept = yaml.safe_load((place / "passwords.yml").read_text())
    del kept["pgherd_monitor"]
    (place / "passwords.yml").write_text(yaml.safe_dump(kept))
    assert act(monkeypatch, place, said)["made"] == ["passwords of pgherd_monitor"]


def test_what_contradicts_comes_before_secrets(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = _cluster.plain(
        build(HOSTS, {**DEFAULTS, "cluster_postgres_version": 18, "cluster_postgres_untried": True}).to_dict()
    )
    _run.remember("cluster_model", later)
    with pytest.raises(AnsibleActionFail) as caught:
        act(monkeypatch, place, plain(living("")), cluster_model=later)
    assert "set cluster_postgres_version: 17" in str(caught.value)
    assert not place.exists()


@pytest.mark.parametrize(
    "answer", [5, "text", {"servers": 5}, {"described": {"name": "demo"}}, {"servers": [{"names": 5}]}]
)
def test_what_a_host_answers_is_not_obeyed(place: Path, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    with pytest.raises(AnsibleActionFail, match="Read what the hosts hold"):
        act(monkeypatch, place, {"pg1": answer})
    assert not place.exists()
