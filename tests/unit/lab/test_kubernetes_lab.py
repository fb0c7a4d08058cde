# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the lab's Kubernetes knows without running: whose it is, what is built anew, what an archive holds."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab" / "kubernetes"))

import archives
import cluster
import control
import loading
import machine
import network
import node
import pod_image
import programs
import scene
import state
from pgherd.model import Barman, Cluster, Node, Pgpool
from pgherd.places.host.files.base import packages


@pytest.fixture(autouse=True)
def _nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the one that may run on this machine."""
    monkeypatch.setattr(state, "STATE", tmp_path / "state")
    monkeypatch.setattr(state, "LOGS", tmp_path / "state/log")
    monkeypatch.setattr(state, "SETTINGS", tmp_path / "state/settings.json")
    monkeypatch.setattr(state, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(state, "MARK", f"PGHERD_TEST_{os.getpid()}")


@pytest.fixture
def sleeping() -> Iterator[None]:
    """Two parts that run, each a process that has started another."""
    state.LOGS.mkdir(parents=True)
    for part in ("node1", "node10"):
        state.start(part, ["sh", "-c", "sleep 600 & wait"])
    machine.until("all four", lambda: len(state.processes("node1")) == len(state.processes("node10")) == 2)
    yield
    for part in ("node1", "node10"):
        state.stop(part)


def test_one_part_ends_with_all_that_it_started_and_no_other(sleeping: None) -> None:
    state.stop("node1")
    assert state.processes("node1") == []
    assert len(state.processes("node10")) == len(state.processes()) == 2


def started_from(checkout: str) -> None:
    state.save(state.Settings(nodes=2, checkout=checkout, programs={"kubectl": "/there"}))


def test_how_it_was_started_is_read_back() -> None:
    assert state.settings() is None
    started_from("/there")
    assert state.settings() == state.Settings(nodes=2, checkout="/there", programs={"kubectl": "/there"})


def test_another_checkouts_is_left_alone(sleeping: None, tmp_path: Path) -> None:
    started_from(str(tmp_path))
    with pytest.raises(
        machine.LabError, match=re.escape(f"was started from {tmp_path}: take it down there, or say --shared")
    ):
        state.mine(anybodys=False)
    state.mine(anybodys=True)


@pytest.mark.parametrize("whose", ["gone", "mine"])
def test_ones_own_and_that_of_a_checkout_that_is_gone_are_not(sleeping: None, tmp_path: Path, whose: str) -> None:
    started_from(str(tmp_path / "gone") if whose == "gone" else str(machine.CHECKOUT))
    state.mine(anybodys=False)


def test_what_a_crash_of_another_checkouts_has_left_is_nobodys(tmp_path: Path) -> None:
    started_from(str(tmp_path))
    state.mine(anybodys=False)


def test_where_none_runs_the_command_that_starts_one_is_named() -> None:
    with pytest.raises(machine.LabError, match=r"start it with python tests/lab/kubernetes/cluster\.py up"):
        state.running()


def test_two_at_once_are_refused_by_name() -> None:
    with state.lock():
        held = "import sys, fcntl; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        done = subprocess.run(
            [sys.executable, "-c", held, str(state.LOCK)], capture_output=True, text=True, check=False
        )
        assert "BlockingIOError" in done.stderr
        assert state.LOCK.read_text() == f"process {os.getpid()} of {machine.CHECKOUT}\n"


@pytest.mark.parametrize(
    ("named", "others"), [("", ""), (str(state.ADMIN), ""), ("/root/.kube/config", "/root/.kube/config")]
)
def test_a_persons_own_cluster_goes_first(monkeypatch: pytest.MonkeyPatch, named: str, others: str) -> None:
    monkeypatch.setenv("KUBECONFIG", named)
    assert cluster.others() == others


def test_another_version_of_a_program_is_another_file(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module lab/one\n")
    (tmp_path / "go.sum").write_text("a v1.0.0 h1:x=\n")
    first = programs.key(tmp_path)
    assert programs.key(tmp_path) == first
    (tmp_path / "go.sum").write_text("a v1.0.1 h1:x=\n")
    assert programs.key(tmp_path) != first


def test_kubernetes_says_the_version_that_go_mod_requires() -> None:
    text = (programs.SOURCES / "hyperkube" / "go.mod").read_text()
    required = re.search(r"k8s\.io/kubernetes (v1\.(\d+)\.\d+)", text)
    assert required
    words = programs.stamp("k8s.io/kubernetes", text)
    assert f".gitVersion={required[1]} " in words
    assert words.endswith(f".gitMinor={required[2]}")
    assert programs.stamp("k8s.io/kubernetes", (programs.SOURCES / "coredns" / "go.mod").read_text()) == ""


def test_a_program_that_cannot_be_built_is_told_of_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever wanted a Kubernetes has failed then: nothing goes on without one, and nothing is left half-made."""
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho 'dial tcp: lookup proxy: no such host' >&2\nexit 1\n")
    go.chmod(0o755)
    monkeypatch.setattr(programs, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(programs, "_go", lambda: str(go))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(machine.LabError, match=r"^mod download in .*: dial tcp: .*GOPROXY, HTTPS_PROXY$"):
        programs.paths()
    assert not list((tmp_path / "cache").rglob("hyperkube*"))
    monkeypatch.setattr(cluster, "install_packages", lambda _wanted: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["scene.py", "up", "kubernetes"])
    assert scene.main() == 1
    assert "lab: mod download in " in capsys.readouterr().err
    assert state.settings() is None


def test_every_program_has_its_sources() -> None:
    folders = {path.name for path in programs.SOURCES.iterdir() if path.is_dir()}
    assert folders == {one.name for one in programs.PROGRAMS}


def test_an_archive_is_what_engines_read(tmp_path: Path) -> None:
    wanted = tmp_path / "made" / "one.tar"
    archives.write(wanted, b"a layer", "localhost/one:1", {"Entrypoint": ["/one"]})
    with tarfile.open(wanted) as tar:
        parts = {name: tar.extractfile(name).read() for name in tar.getnames()}
    (manifest,) = json.loads(parts["manifest.json"])
    settings = json.loads(parts[manifest["Config"]])
    assert manifest["RepoTags"] == ["localhost/one:1"]
    assert [parts[name] for name in manifest["Layers"]] == [b"a layer"]
    assert manifest["Config"] == hashlib.sha256(parts[manifest["Config"]]).hexdigest() + ".json"
    assert settings["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(b"a layer").hexdigest()]
    assert settings["config"]["Entrypoint"] == ["/one"]


@pytest.mark.parametrize("known", [False, True])
def test_only_layers_that_nodes_lack_are_carried(tmp_path: Path, known: bool) -> None:
    digest = hashlib.sha256(b"a layer").hexdigest()
    archives.write(tmp_path / "one.tar", b"a layer", "localhost/one:1", {})
    loading.without(tmp_path / "one.tar", tmp_path / "thin.tar", {f"sha256:{digest}"} if known else set())
    with tarfile.open(tmp_path / "thin.tar") as tar:
        parts = {name: tar.extractfile(name).read() for name in tar.getnames()}
    (described,) = json.loads(parts["index.json"])["manifests"]
    assert described["annotations"] == {"io.containerd.image.name": "localhost/one:1"}
    manifest = json.loads(parts["blobs/" + described["digest"].replace(":", "/")])
    assert [layer["digest"] for layer in manifest["layers"]] == [f"sha256:{digest}"]
    assert json.loads(parts["blobs/" + manifest["config"]["digest"].replace(":", "/")])["os"] == "linux"
    assert (f"blobs/sha256/{digest}" in parts) is not known
    for name, content in parts.items():
        assert not name.startswith("blobs/") or name == "blobs/sha256/" + hashlib.sha256(content).hexdigest()


def test_what_is_no_image_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "other.tar", "w"):
        pass
    with pytest.raises(machine.LabError, match=r"other\.tar is no archive of podman save .*: it has no manifest\.json"):
        loading.without(tmp_path / "other.tar", tmp_path / "thin.tar", set())


def test_nodes_do_not_share_an_address_or_a_link() -> None:
    numbers = range(1, state.MOST_NODES + 1)
    for what in (state.address, state.pods_of, state.name_of, network.space):
        assert len({what(number) for number in numbers}) == len(numbers)
    assert max(len(network.space(number)) for number in numbers) <= 15, "an interface's name has at most 15 characters"


def test_the_name_server_is_where_kubelets_send_pods() -> None:
    assert f"clusterIP: {state.DNS_SERVICE}\n" in (control.MANIFESTS / "coredns.yaml").read_text()


@pytest.mark.parametrize("path", sorted(control.MANIFESTS.iterdir()), ids=lambda path: path.name)
def test_no_pod_of_the_labs_own_waits_for_a_registry(path: Path) -> None:
    """Each image is one that nodes have from their start."""
    named = set(re.findall(r"image: (\S+)", path.read_text()))
    known = {f"{archives.PREFIX}/{name}:1" for name in ("coredns", "local-path-provisioner", archives.DEBIAN)}
    assert named
    assert named <= known


def test_a_kubelet_renews_its_lease_before_it_counts_as_silent() -> None:
    for grace in (10, 50):
        assert 0 < node.kubelet(1, state.Settings(grace=grace))["nodeLeaseDurationSeconds"] < grace


def every_kind() -> Cluster:
    nodes = (Node("pg-0", 1, "postgres", "pg-0"), Node("arbiter-0", 2, "witness", "arbiter-0"))
    return Cluster("demo", nodes, (Pgpool("pool", "pool"),), (Barman("backup-0", "backup-0"),))


def test_pods_have_the_packages_that_hosts_get() -> None:
    """But sudo: in a pod nobody is root."""
    text = pod_image.CONTAINERFILE.read_text()
    told = re.search(r"install -qq --yes --no-install-recommends \\\n(.*?) \$EXTRA;", text, re.DOTALL)
    assert told
    whole = every_kind()
    wanted = {name for host in whole.hosts for name in packages(whole, host.name, 17)}
    assert set(told[1].replace("\\\n", " ").replace("$postgres", "17").split()) == wanted - {"sudo"}


def test_the_image_is_called_by_the_collections_version() -> None:
    assert pod_image.reference("trixie") == f"localhost/pgherd:{pod_image.version()}-trixie"
    assert pod_image.reference("trixie", "mine") == "localhost/pgherd:mine"
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", pod_image.version())


def test_another_kubernetes_of_the_labs_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of secrets that are kept, all but what says which one it was."""
    monkeypatch.setattr(scene, "LAB", tmp_path / "lab")
    monkeypatch.setattr(scene, "CHECKOUT", tmp_path)
    places = [tmp_path / "lab/pods-demo/secrets", tmp_path / "examples/pods-demo/.pgherd/pods-demo"]
    for place in places:
        place.mkdir(parents=True)
        for name in ("kubernetes.json", "passwords.yml"):
            (place / name).touch()
    for _again in range(2):
        scene.forget_which("pods-demo")
    assert [[file.name for file in place.iterdir()] for place in places] == [["passwords.yml"]] * 2
