# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The record of a cluster's initialisation as a pod's containers ask for it; and with Kubernetes' own API server, where there
is one."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pgherd.errors import PgherdError, Unreachable
from pgherd.places.pod.record import AskedRecord, KubernetesRecord, answered, serve
from pgherd.ports.initialization import NOBODY, Initialization
from pgherd.ports.kubernetes_api import STEPS, ApiRefusal, KubernetesApi
from pods import FileRecord

US = "7000000000000000001"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AskedRecord]:
    # What a busy machine needs is no matter here.
    monkeypatch.setattr("pgherd.places.pod.record.QUICK", 60.0)
    listener = serve(FileRecord(tmp_path / "record"), lambda: ["pg-2", "pg-1"], f"{tmp_path}/api")
    yield AskedRecord(f"{tmp_path}/api", 60.0)
    listener.close()


def test_it_is_asked_and_written_through_the_socket(asked: AskedRecord) -> None:
    assert asked.read() == NOBODY
    assert asked.begin("pg-1") == Initialization("pg-1")
    assert asked.begin("pg-2") == Initialization("pg-1")
    assert asked.end("pg-2", US) == Initialization("pg-1")
    assert asked.end("pg-1", US) == Initialization("pg-1", US) == asked.read()
    assert asked.grow() == Initialization("pg-1", US, True) == asked.end("pg-1", "7")
    assert asked.ending() == ("pg-1", "pg-2")


def test_a_primary_completes_it_at_once(asked: AskedRecord) -> None:
    asked.begin("pg-1")
    assert asked.adopt("pg-2", US) == Initialization("pg-2", US, True) == asked.read()
    assert asked.end("pg-1", "7") == Initialization("pg-2", US, True) == asked.adopt("pg-1", "7")


def test_of_many_that_begin_one_does(asked: AskedRecord) -> None:
    found: list[Initialization] = []
    threads = [
        threading.Thread(target=lambda name=f"pg-{number}": found.append(asked.begin(name))) for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 8
    assert len(set(found)) == 1


def test_what_it_cannot_say_is_an_error(asked: AskedRecord, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="the container api of this pod does not answer"):
        AskedRecord(f"{tmp_path}/nobody").read()
    with pytest.raises(PgherdError, match="no such verb"):
        answered(FileRecord(tmp_path / "record"), list, {"verb": "drop"})
    with pytest.raises(Unreachable, match="no such verb"):
        asked._record(verb="drop")


def kubectl(*words: str, given: str = "") -> str:
    done = subprocess.run(["kubectl", *words], input=given, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    """A service account that may do what a pod's may, in a namespace of its own."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no Kubernetes")
    name = f"pods-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    try:
        kubectl("-n", name, "create", "serviceaccount", "node")
        kubectl("-n", name, "create", "role", "node", "--verb=get,patch", "--resource=pods")
        rules = ["--verb=get,create,update", "--resource=configmaps"]
        kubectl("-n", name, "create", "role", "record", *rules)
        for role in ("node", "record"):
            kubectl("-n", name, "create", "rolebinding", role, f"--role={role}", f"--serviceaccount={name}:node")
        account = tmp_path_factory.mktemp("account")
        (account / "token").write_text(kubectl("-n", name, "create", "token", "node"))
        (account / "namespace").write_text(name)
        config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))["clusters"][0]
        import base64

        (account / "ca.crt").write_bytes(base64.b64decode(config["cluster"]["certificate-authority-data"]))
        host, _colon, port = config["cluster"]["server"].removeprefix("https://").rpartition(":")
        yield KubernetesApi(account=str(account), server=(host, int(port)))
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def test_the_record_in_kubernetes(api: KubernetesApi) -> None:
    name = f"r-{uuid.uuid4().hex[:8]}"
    first, second = KubernetesRecord(api, name), KubernetesRecord(api, name)
    assert first.read() == NOBODY
    assert first.begin("pg-1") == Initialization("pg-1") == second.begin("pg-2")
    assert second.end("pg-1", US) == Initialization("pg-1", US) == first.read()
    assert first.grow() == Initialization("pg-1", US, True) == second.read()


def test_a_version_that_was_changed_meanwhile_is_not_replaced(api: KubernetesApi) -> None:
    name = f"r-{uuid.uuid4().hex[:8]}"
    one = KubernetesRecord(api, name)
    one.begin("pg-1")
    there = api.get("configmaps", name)
    assert there is not None
    one.end("pg-1", US)
    with pytest.raises(ApiRefusal) as found:
        api.replace("configmaps", name, {**there, "data": {"by": "pg-2"}})
    assert found.value.status == 409
    assert one.read() == Initialization("pg-1", US)


def test_what_an_account_may_not_do_is_said(api: KubernetesApi) -> None:
    with pytest.raises(ApiRefusal, match="403 Forbidden"):
        api.get("secrets", "any")
    assert api.get("pods", "none") is None
    with pytest.raises(ApiRefusal) as found:
        api.patch("pods", "none", [{"op": "test", "path": "/metadata/name", "value": "x"}], STEPS)
    assert found.value.status == 404


def test_no_api_server_is_said(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")
    (tmp_path / "namespace").write_text("here")
    with pytest.raises(Unreachable, match="the API server does not answer"):
        KubernetesApi(account=str(tmp_path), server=("127.0.0.1", 1)).get("pods", "x")
