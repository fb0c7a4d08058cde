# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Secrets of the user's own: what is read of them, what is wrong with them in sentences, and who has what they hold then."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import test_kubernetes
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible_collections.pgherd.cluster.plugins.action import cluster_existing
from ansible_collections.pgherd.cluster.plugins.lookup.objects import LookupModule as ObjectsLookup
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.objects.wishes import Wishes
from ansible_collections.pgherd.cluster.plugins.plugin_utils import _cluster
from ansible_collections.pgherd.cluster.plugins.plugin_utils._existing import decoded, judged, names
from ansible_collections.pgherd.cluster.plugins.plugin_utils._secrets import SecretStore
from test_judged import OTHER, ROOT, Pair, made
from test_kubernetes import HOSTS, MODEL, ask

task = test_kubernetes.task
ADDRESSES = {host.name: host.address for host in MODEL.hosts}
LOGINS = {"repmgr": "logins", "app": {"name": "app-login", "key": "password"}}
TLS = {name: f"{name}-tls" for name in HOSTS}
VALUES = {
    "cluster_name": "demo",
    "cluster_namespace": "db",
    "cluster_users": [{"name": "app"}],
    "cluster_password_secrets": LOGINS,
    "cluster_certificate_secrets": TLS,
}
PAIRS = {name: made(name, ROOT, names=[address]) for name, address in ADDRESSES.items()}


def holding(pair: Pair, authority: Pair = ROOT) -> dict[str, bytes]:
    """As cert-manager has it."""
    return {"tls.crt": pair.crt.encode(), "tls.key": pair.secret().encode(), "ca.crt": authority.crt.encode()}


FOUND: dict[str, Any] = {
    "logins": {"repmgr": b"of repmgr"},
    "app-login": {"username": b"app", "password": b"of app\n"},
    **{TLS[name]: holding(pair) for name, pair in PAIRS.items()},
}


def look(scratch: Path, found: dict[str, Any], **values: Any) -> Any:
    return judged(MODEL, Wishes.of({**VALUES, **values}), found, str(scratch))


def test_which_are_read() -> None:
    assert names(MODEL, Wishes.of(VALUES)) == ["logins", "app-login", *(TLS[host.name] for host in MODEL.hosts)]
    assert names(MODEL, Wishes.of({**VALUES, "cluster_authority_secret": "root"}))[-1] == "root"
    assert names(MODEL, Wishes.of({**VALUES, "cluster_certificate_secrets": {**TLS, "pg-3": "to-come"}})) == names(
        MODEL, Wishes.of(VALUES)
    )
    assert names(MODEL, Wishes.of({})) == []


def test_what_they_hold(tmp_path: Path) -> None:
    held = look(tmp_path, FOUND)
    assert held.passwords == {"repmgr": "of repmgr", "app": "of app"}
    assert held.authority == ROOT.crt
    assert held.soon == ()
    assert "of app" not in repr(held)
    assert list(tmp_path.iterdir()) == []


def without(secret: str, key: str) -> dict[str, Any]:
    return {**FOUND, secret: {one: text for one, text in FOUND[secret].items() if one != key}}


@pytest.mark.parametrize(
    ("found", "begins"),
    [
        (
            {**FOUND, "logins": None},
            "cluster_password_secrets: the password of repmgr is to be in the Secret logins, which is not in the namespace db",
        ),
        (
            without("app-login", "password"),
            "cluster_password_secrets: the password of app is to be in the Secret app-login in the namespace db, and that has "
            "no password",
        ),
        (
            {**FOUND, "logins": {"repmgr": b"two\nlines"}},
            "cluster_password_secrets: the password of repmgr in the Secret logins, key repmgr, is not one line of text",
        ),
        (
            {**FOUND, "logins": {"repmgr": b"\xff"}},
            "cluster_password_secrets: the password of repmgr in the Secret logins, key repmgr, is not one line of text",
        ),
        (
            {**FOUND, "logins": {"repmgr": b"\n"}},
            "cluster_password_secrets: the password of repmgr in the Secret logins, key repmgr, is not one line of text",
        ),
        (
            {**FOUND, "pg-1-tls": None},
            "cluster_certificate_secrets: the certificate of pg-1 is to be in the Secret pg-1-tls, which is not in the",
        ),
        (
            without("pg-1-tls", "tls.key"),
            "cluster_certificate_secrets: the certificate of pg-1 is to be in the Secret pg-1-tls in the namespace db, and "
            "that has no tls.key",
        ),
        (
            without("pg-0-tls", "ca.crt"),
            "cluster_certificate_secrets: the authority is to be in the Secret pg-0-tls in the namespace db, and that has no "
            "ca.crt",
        ),
        (
            {**FOUND, "pg-1-tls": holding(made("pg-1", ROOT, names=["pg-1"]))},
            "pg-1: tls.crt of the Secret pg-1-tls will not be accepted: ",
        ),
        (
            {**FOUND, "pg-1-tls": {**holding(PAIRS["pg-1"]), "tls.key": PAIRS["pg-2"].secret().encode()}},
            "pg-1: tls.crt of the Secret pg-1-tls and the key beside it are not of one pair",
        ),
        (
            {**FOUND, "pg-2-tls": holding(made("pg-2", OTHER, names=[ADDRESSES["pg-2"]]), OTHER)},
            "pg-2: tls.crt of the Secret pg-2-tls does not come from the authority in ca.crt of the Secret pg-0-tls",
        ),
    ],
)
def test_what_is_missing_or_of_no_use_is_told(found: dict[str, Any], begins: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        look(tmp_path, found)
    assert raised.value.problems[0].startswith(begins), raised.value.problems
    assert all(sentence.endswith(".") for sentence in raised.value.problems)
    assert not any("two" in sentence or str(tmp_path) in sentence for sentence in raised.value.problems)
    assert list(tmp_path.iterdir()) == []


def test_two_authorities_while_one_is_replaced(tmp_path: Path) -> None:
    """All believe both, by a Secret of its own, and each host may have either's certificate."""
    found = {
        **FOUND,
        "pg-1-tls": holding(made("pg-1", OTHER, names=[ADDRESSES["pg-1"]]), OTHER),
        "roots": {"ca.crt": (ROOT.crt + OTHER.crt).encode()},
    }
    assert look(tmp_path, found, cluster_authority_secret="roots").authority == ROOT.crt + OTHER.crt
    with pytest.raises(ConfigError, match=r"pg-1: tls.crt of the Secret pg-1-tls does not come from the authority"):
        look(tmp_path, found)


def test_cert_managers_certificates_end_soon_always(tmp_path: Path) -> None:
    """They are made anew in time, so that is no news; an authority's end is."""
    short = made("pg-1", ROOT, names=[ADDRESSES["pg-1"]], days=(-1, 20))
    assert look(tmp_path, {**FOUND, "pg-1-tls": holding(short)}).soon == ()
    ending = made("ending", ca=True, days=(-1, 20))
    pairs = {TLS[name]: holding(made(name, ending, names=[address]), ending) for name, address in ADDRESSES.items()}
    soon = look(tmp_path, {**FOUND, **pairs}).soon
    assert soon
    assert all(sentence.startswith("The authority CN=ending in ca.crt of the Secret ") for sentence in soon)


def test_what_the_api_server_gives_is_decoded() -> None:
    assert decoded([]) is None
    assert decoded([{"data": {"a": base64.b64encode(b"\x00b").decode()}}]) == {"a": b"\x00b"}
    assert decoded([{"metadata": {}}]) == {}


def act(task: dict[str, Any], monkeypatch: pytest.MonkeyPatch, found: dict[str, Any]) -> dict[str, Any]:
    """Run the action where the API server has *found*, or says of a Secret what is wrong."""
    asked: list[dict[str, Any]] = []

    def module(module_name: str, module_args: dict[str, Any], **_more: Any) -> dict[str, Any]:
        assert module_name == "kubernetes.core.k8s_info"
        asked.append(module_args)
        held = found[module_args["name"]]
        if isinstance(held, str):
            return {"failed": True, "msg": held}
        data = {key: base64.b64encode(text).decode() for key, text in (held or {}).items()}
        return {"resources": [] if held is None else [{"data": data}]}

    monkeypatch.setattr(cluster_existing.ActionBase, "run", lambda *_given, **_more: {})
    action = cluster_existing.ActionModule.__new__(cluster_existing.ActionModule)
    monkeypatch.setattr(action, "_execute_module", module, raising=False)
    result = action.run(task_vars=task)
    assert {(one["namespace"], one["kind"]) for one in asked} == {("db", "Secret")}
    return result


@pytest.fixture
def given(task: dict[str, Any]) -> dict[str, Any]:
    """The same task with Secrets of the user's."""
    for name in HOSTS:
        task["hostvars"][name].update(VALUES)
    _cluster_authority(task)
    return task


def _cluster_authority(task: dict[str, Any]) -> None:
    place = task["hostvars"]["pg-0"]["cluster_secrets_path"]
    test_kubernetes._run.leave(f"authority of {place}", {"cluster_certificate_secrets": TLS})


def roles_passwords(task: dict[str, Any]) -> Any:
    return ObjectsLookup().run(["passwords"], {**task, "inventory_hostname": "pg-0"})[0]


def test_they_are_read_once_and_shown_nowhere(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    result = act(given, monkeypatch, FOUND)
    assert result["read"] == sorted(FOUND)
    assert result["changed"] is False
    assert "of repmgr" not in json.dumps(result)
    assert roles_passwords(given)["repmgr"] == "of repmgr"


def test_what_is_in_them_is_neither_made_nor_written(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    act(given, monkeypatch, FOUND)
    secrets, others = ask(given, "secrets"), ask(given, "objects")
    assert {key for item in secrets for key in item["data"]} == {"passwords.json"}
    kept = (tmp_path / "secrets/passwords.yml").read_text()
    assert "repmgr" not in kept
    assert "pgherd_agent" in kept
    assert sorted(entry.name for entry in (tmp_path / "secrets").iterdir()) == [".gitignore", "passwords.yml", "salt"]
    assert (tmp_path / "secrets/salt").stat().st_mode & 0o777 == 0o600
    # The same again, whatever another run reads: that pods take by themselves.
    act(given, monkeypatch, {**FOUND, "logins": {"repmgr": b"another"}})
    assert (ask(given, "secrets"), ask(given, "objects")) == (secrets, others)
    assert roles_passwords(given)["repmgr"] == "another"


def test_no_certificate_is_made_for_hosts_that_have_one(given: dict[str, Any], tmp_path: Path) -> None:
    store = SecretStore(str(tmp_path / "secrets"))
    assert _cluster.certificates(store, MODEL, {"cluster_certificate_secrets": TLS}) == []
    assert _cluster.kept_passwords(store, given["hostvars"]["pg-0"]).keys() & set(LOGINS) == set()
    assert not (tmp_path / "secrets/ca.key").exists()


def test_nothing_is_given_out_that_was_not_read(given: dict[str, Any]) -> None:
    with pytest.raises(AnsibleError, match="is not known in this run"):
        roles_passwords(given)
    # Objects hold none of it: so they are written without Kubernetes.
    assert ask(given, "secrets")


# As kubernetes.core 6 has it, of Kubernetes 1.31.
FORBIDDEN = (
    "Exception '403\nReason: Forbidden\nHTTP response headers: HTTPHeaderDict({'Content-Length': '129'})\n"
    'HTTP response body: {"kind": "Status", "message": "secrets \\"logins\\" is forbidden: User \\"x\\"", "code": 403}\n'
    "Original traceback: ..."
)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            FORBIDDEN,
            r'^read the Secret logins in the namespace db: secrets "logins" is forbidden: User "x".\s+Let whoever runs',
        ),
        (
            "No route to host.\nTraceback",
            r"^read the Secret logins in the namespace db: No route to host.\s+Let whoever runs",
        ),
        ("", r"^read the Secret logins in the namespace db: no answer.\s+Let whoever runs this"),
        (None, "the password of repmgr is to be in the Secret logins, which is not in the namespace db; make it there"),
    ],
)
def test_one_sentence_before_anything_is_applied(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, said: Any, why: str
) -> None:
    with pytest.raises(AnsibleActionFail, match=why):
        act(given, monkeypatch, {**FOUND, "logins": said})


def test_another_authority_in_them_is_refused(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    act(given, monkeypatch, FOUND)
    (nodes,) = [item for item in ask(given, "secrets") if item["metadata"]["name"] == "demo-nodes"]
    assert ask(given, "refused", secrets=[nodes]) == []
    before = {**nodes, "data": {**nodes["data"], "ca.crt": base64.b64encode(OTHER.crt.encode()).decode()}}
    (sentence,) = ask(given, "refused", secrets=[before])
    assert "have another authority than the one in your Secrets" in sentence
    other = {**nodes, "data": {"passwords.json": base64.b64encode(b'{"pgherd_agent": "x"}').decode()}}
    (sentence,) = ask(given, "refused", secrets=[other])
    assert "holds another cluster called demo" in sentence
