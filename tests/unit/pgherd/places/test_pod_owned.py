# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What is a pod's own of its Secrets is taken again when they have changed, as a kubelet changes them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pgherd.model import MONITOR_ROLE, Cluster
from pgherd.places.pod import files, owned
from pgherd.places.pod.files import PodFile
from pgherd.places.pod.owned import Renewal
from pgherd.render.conf_cluster import text
from test_pod_files import EVERY, KEYS
from world import CLUSTER


def mount(directory: Path, number: int, **instead: bytes | None) -> None:
    """As a kubelet does: each version is a directory, a link leads to it, and each key is a link below that. *instead*: other
    contents of keys, with _ for the dot, or None for none."""
    given = {**KEYS, files.ALL: json.dumps(EVERY).encode()}
    given.update({key.replace("_", "."): content for key, content in instead.items()})  # type: ignore[misc]
    version = directory / f"..{number}"
    version.mkdir(parents=True)
    for key, content in given.items():
        if content is not None:
            (version / key).write_bytes(content)
            if not (directory / key).is_symlink():
                (directory / key).symlink_to(f"..data/{key}")
    new = directory / "..data_tmp"
    new.symlink_to(version.name)
    new.rename(directory / "..data")


@pytest.fixture
def taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What was written, by the file's name."""
    found: dict[str, str] = {}

    def write(wanted: list[PodFile]) -> dict[str, None]:
        changed = [item for item in wanted if found.get(os.path.basename(item.path)) != item.text]
        found.update({os.path.basename(item.path): item.text for item in changed})
        return {item.path: None for item in changed}

    monkeypatch.setattr(owned.files, "write", write)
    (tmp_path / "cluster.json").write_text(text(CLUSTER))
    return found


def test_it_is_taken_when_it_has_changed(tmp_path: Path, taken: dict[str, str]) -> None:
    said: list[str] = []
    renewal = Renewal(str(tmp_path / "cluster.json"), "pg1", str(tmp_path / "secrets"), said.append)
    mount(tmp_path / "secrets", 1)
    renewal.look()
    assert (taken["server.crt"], taken["server.key"], taken["ca.crt"]) == ("pg1 crt", "pg1 key", "ca")
    taken.clear()
    renewal.look()
    assert taken == {}
    mount(tmp_path / "secrets", 2, pg1_crt=b"renewed", pg1_key=b"another")
    renewal.look()
    assert (taken["server.crt"], taken["server.key"]) == ("renewed", "another")
    assert said == []


def test_what_is_missing_is_said_once_and_changes_nothing(tmp_path: Path, taken: dict[str, str]) -> None:
    said: list[str] = []
    renewal = Renewal(str(tmp_path / "cluster.json"), "pg1", str(tmp_path / "secrets"), said.append)
    mount(tmp_path / "secrets", 1)
    renewal.look()
    before = dict(taken)
    (tmp_path / "secrets/pg1.key").unlink()
    mount(tmp_path / "secrets", 2, pg1_key=None, pg1_crt=b"renewed")
    for _turn in range(3):
        renewal.look()
    assert len(said) == 1
    assert "there is no pg1.key" in said[0]
    assert taken == before
    mount(tmp_path / "secrets", 3, pg1_crt=b"renewed")
    renewal.look()
    assert taken["server.crt"] == "renewed"


def test_another_description_is_looked_at_too(tmp_path: Path, taken: dict[str, str]) -> None:
    """Who needs which password follows from it."""
    config = tmp_path / "cluster.json"
    renewal = Renewal(str(config), "pg1", str(tmp_path / "secrets"))
    mount(tmp_path / "secrets", 1)
    renewal.look()
    taken.clear()
    config.write_text(text(Cluster.from_dict({**CLUSTER.to_dict(), "port": 5433})))
    renewal.look()
    assert MONITOR_ROLE in json.loads(taken["passwords.json"])


def test_it_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    """As process 1 of its container nothing would end it that it does not wait for."""
    code = "import sys; from pgherd.places.pod.owned import renew; sys.exit(renew(*sys.argv[1:]))"
    given = (str(tmp_path / "cluster.json"), "pg1", str(tmp_path / "none"))
    with subprocess.Popen(
        [sys.executable, "-c", code, *given],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("own: ")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        assert time.monotonic() - began < owned.PAUSE
