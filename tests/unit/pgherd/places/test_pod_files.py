# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A pod writes the files that a host gets, to where a host has them, and takes no more of a Secret than is its own."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from pgherd.description import read
from pgherd.errors import PgherdError
from pgherd.model import AGENT_ROLE, CLUSTER_FILE, MONITOR_ROLE, PCP_USER, PGPOOL_ROLE, REPMGR_ROLE, Cluster
from pgherd.places.host.files import barman, base, cluster, pgpool, postgres, repmgr
from pgherd.places.host.files.facts import HostFacts
from pgherd.places.pod import files
from pgherd.places.pod.files import PodFile, effects, own, roles_of, signature, write
from pgherd.places.pod.files_part import FilesPart
from pgherd.ports.services import POSTGRES, REPMGRD, RUNNING, STARTING, STOPPED
from pgherd.render.conf_cluster import text
from test_pod_texts import without_commands
from world import CLUSTER

SECRETS: Mapping[str, str] = defaultdict(lambda: "secret")
RENDERED = {
    "pg1": (base, cluster, postgres, repmgr),
    "w1": (base, cluster, postgres, repmgr),
    "pool1": (base, pgpool),
    "backup1": (base, barman),
}
CONF = "/etc/postgresql/17/main"
RELOAD, RESTART = ("reload", POSTGRES), ("restart", REPMGRD)


@pytest.mark.parametrize("name", list(RENDERED))
def test_files_lie_where_a_host_has_them(name: str) -> None:
    there = {
        file.path: file
        for module in RENDERED[name]
        for file in module.files(CLUSTER, name, HostFacts(17), SECRETS)
        if file.kind == "file"
    }
    found = files.files(CLUSTER, text(CLUSTER), name, SECRETS)
    assert len({item.path for item in found}) == len(found) >= 5
    for item in found:
        host = there["/etc/barman.conf" if item.path == files.BARMAN_MAIN else item.path]
        assert without_commands(item.text) == without_commands(host.content or host.secret_content), item.path
        assert item.secret == host.secret, item.path


def test_the_description_is_kept_to_the_letter() -> None:
    given = f"{json.dumps(CLUSTER.to_dict())}   \n"
    found = {item.path: item.text for item in files.files(CLUSTER, given, "pg1", SECRETS)}
    assert found[CLUSTER_FILE] == given


NEEDED = {
    "pg1": {MONITOR_ROLE, REPMGR_ROLE, AGENT_ROLE},
    "w1": {MONITOR_ROLE, REPMGR_ROLE},
    "pool1": {MONITOR_ROLE, PGPOOL_ROLE, PCP_USER},
    "backup1": {MONITOR_ROLE, "barman", "streaming_barman"},
}
KEYS = {"ca.crt": b"ca", **{f"{name}.{kind}": f"{name} {kind}".encode() for name in NEEDED for kind in ("crt", "key")}}
EVERY = {role: f"of {role}" for roles in NEEDED.values() for role in roles}


@pytest.mark.parametrize("name", list(NEEDED))
@pytest.mark.parametrize("form", ["one key", "a key for each"])
def test_a_pod_takes_what_is_its_own(name: str, form: str) -> None:
    given = {files.ALL: json.dumps(EVERY).encode()}
    if form == "a key for each":
        given = {role: password.encode() for role, password in EVERY.items()}
    found = {item.path: item for item in own(CLUSTER, name, {**KEYS, **given})}
    assert set(roles_of(CLUSTER, name)) == NEEDED[name]
    assert json.loads(found[files.PASSWORDS].text) == {role: f"of {role}" for role in NEEDED[name]}
    assert {path: item.text for path, item in found.items() if path != files.PASSWORDS} == {
        "/etc/pgherd/tls/ca.crt": "ca",
        "/etc/pgherd/tls/server.crt": f"{name} crt",
        "/etc/pgherd/tls/server.key": f"{name} key",
    }
    assert [path for path, item in found.items() if item.secret] == ["/etc/pgherd/tls/server.key", files.PASSWORDS]


def test_a_users_password_ends_before_the_lines_end() -> None:
    given = {**KEYS, files.ALL: json.dumps(EVERY).encode(), REPMGR_ROLE: b" theirs \n"}
    found = {item.path: item.text for item in own(CLUSTER, "pg1", given)}
    assert json.loads(found[files.PASSWORDS])[REPMGR_ROLE] == " theirs "


@pytest.mark.parametrize(
    ("without", "why"),
    [
        ("pg1.key", "there is no pg1.key"),
        ("ca.crt", "there is no ca.crt"),
        (files.ALL, "no a password of pgherd_agent, no a password of pgherd_monitor, no a password of repmgr"),
    ],
)
def test_what_is_missing_is_named(without: str, why: str) -> None:
    given = {**KEYS, files.ALL: json.dumps(EVERY).encode()}
    del given[without]
    with pytest.raises(PgherdError, match=why.removeprefix("no ")):
        own(CLUSTER, "pg1", given)


@pytest.mark.parametrize(
    ("name", "changed", "known"),
    [
        ("pg1", {CLUSTER_FILE: "old"}, []),
        ("pg1", {f"{CONF}/pg_hba.conf": "old"}, [("reload", "postgres")]),
        (
            "pg1",
            {f"{CONF}/postgresql.conf": "old", "/etc/repmgr/17/repmgr.conf": "old"},
            [("reload", "postgres"), ("restart", "repmgrd")],
        ),
        ("pool1", {"/etc/pgpool2/pool_hba.conf": "old"}, [("reload", "pgpool")]),
        ("pool1", {"/etc/pgpool2/pgpool.conf": "port = 1\n"}, [("restart", "pgpool")]),
        ("pool1", {CLUSTER_FILE: "old"}, []),
        # pgpool's own password is known to a process that never reads it again.
        ("pool1", {"/etc/pgpool2/pool_passwd": "pgpool_check:old\n"}, [("restart", "pgpool")]),
        ("backup1", {"/etc/barman.d/demo.conf": "old"}, [("restart", "barman-receiver")]),
        ("backup1", {CLUSTER_FILE: "old"}, []),
    ],
)
def test_who_has_to_know(name: str, changed: dict[str, str | None], known: list[tuple[str, str]]) -> None:
    assert effects(CLUSTER, name, files.files(CLUSTER, text(CLUSTER), name, SECRETS), changed) == known


def test_a_pod_that_is_too_many_says_so() -> None:
    with pytest.raises(PgherdError, match=r"run pg9: the cluster demo has no host called so, but pg1, .*More pods"):
        files.files(CLUSTER, text(CLUSTER), "pg9", SECRETS)


def test_files_are_written_whole_and_once(tmp_path: Path) -> None:
    open_, closed = PodFile(f"{tmp_path}/new/a", "1"), PodFile(f"{tmp_path}/b", "2", secret=True)
    assert write([open_, closed]) == {open_.path: None, closed.path: None}
    assert write([open_, closed]) == {}
    assert [Path(item.path).stat().st_mode & 0o777 for item in (open_, closed)] == [0o644, 0o600]
    Path(closed.path).chmod(0o644)
    assert write([open_, replace(closed, text="3")]) == {closed.path: "2"}
    assert Path(closed.path).stat().st_mode & 0o777 == 0o600
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["b", "new"]


class Told:
    """Services in *states*, the others stopped; *begun*: what of them has a process of its own."""

    def __init__(self, states: dict[str, str], begun: tuple[str, ...] = ()) -> None:
        self.states, self.begun = states, begun
        self.told: list[tuple[str, str]] = []

    def state(self, name: str) -> str:
        return self.states.get(name, STOPPED)

    def process(self, name: str) -> int:
        return int(name in self.begun)

    def reload(self, name: str) -> None:
        self.told.append(("reload", name))

    def restart(self, name: str, wait: bool = True) -> None:
        assert not wait, "it may wait for what this part writes next"
        self.told.append(("restart", name))


@pytest.mark.parametrize(
    ("states", "begun", "told", "later"),
    [
        ({POSTGRES: RUNNING, REPMGRD: RUNNING}, (POSTGRES, REPMGRD), [RELOAD, RESTART], []),
        ({POSTGRES: RUNNING}, (POSTGRES,), [RELOAD], []),
        # What waits to be started reads what is there then.
        ({POSTGRES: RUNNING, REPMGRD: STARTING}, (POSTGRES,), [RELOAD], []),
        # What has read, and is not up, is told when it is; the others do not wait for that.
        ({POSTGRES: STARTING, REPMGRD: RUNNING}, (POSTGRES, REPMGRD), [RESTART], [RELOAD]),
        ({POSTGRES: STARTING}, (), [], []),
        ({}, (), [], []),
    ],
)
def test_who_is_told_that_files_have_changed(
    states: dict[str, str],
    begun: tuple[str, ...],
    told: list[tuple[str, str]],
    later: list[tuple[str, str]],
    tmp_path: Path,
) -> None:
    config = tmp_path / "cluster.json"
    config.write_text(text(CLUSTER))
    services = Told(states, begun)
    part = FilesPart("pg1", services, lambda _cluster: None, str(config), ())  # type: ignore[arg-type]
    part._seen = (signature(str(config)),)
    part._left = [RELOAD, RESTART]
    part.tick(0.0)
    assert services.told == told
    services.told.clear()
    services.states = dict.fromkeys(states, RUNNING)
    part.tick(1.0)
    part.tick(2.0)
    assert services.told == later


def test_a_changed_description_is_written_and_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what runs; what does not will read it when it starts."""
    config = tmp_path / "cluster.json"
    config.write_text(text(CLUSTER))
    places = {**vars(files)}
    monkeypatch.setattr(files, "passwords", lambda: dict(EVERY))
    # The same files, below the test's directory.
    real = places["files"]
    monkeypatch.setattr(
        files,
        "files",
        lambda *given: [replace(item, path=f"{tmp_path}/root{item.path}") for item in real(*given)],
    )
    monkeypatch.setattr(
        files,
        "effects",
        lambda cluster, name, wanted, before: places["effects"](
            cluster, name, wanted, {path.partition("/root")[2]: old for path, old in before.items()}
        ),
    )
    services = Told({POSTGRES: RUNNING})
    fits: list[Cluster] = []
    part = FilesPart("pg1", services, fits.append, str(config))  # type: ignore[arg-type]
    part.tick(0.0)
    assert services.told == [("reload", "postgres")]
    there = Path(f"{tmp_path}/root{CLUSTER_FILE}")
    assert read(str(there)).cluster == CLUSTER
    services.told.clear()
    part.tick(1.0)
    assert services.told == []
    config.write_text(text(replace(CLUSTER, port=5433)))
    part.tick(2.0)
    assert read(str(there)).cluster.port == 5433
    assert services.told == [("reload", "postgres")]
    config.write_text("{")
    with pytest.raises(PgherdError, match="does not describe a cluster"):
        part.tick(3.0)
    assert read(str(there)).cluster.port == 5433
    assert len(fits) == 2


@pytest.mark.parametrize(
    ("name", "loaded", "known"),
    [
        ("pg1", None, [("reload", "postgres")]),
        ("pool1", None, []),
        ("pool1", "same", []),
        ("pool1", "older", [("restart", "pgpool")]),
        ("backup1", None, []),
    ],
)
def test_who_has_to_know_of_a_certificate(
    name: str, loaded: str | None, known: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "server.crt").write_text("same")
    (tmp_path / "loaded").mkdir()
    if loaded:
        (tmp_path / "loaded/server.crt").write_text(loaded)
    monkeypatch.setattr(files, "SERVER_CERT_FILE", str(tmp_path / "server.crt"))
    monkeypatch.setattr(files.pgpool, "LOADED", str(tmp_path / "loaded"))
    assert files.certified(CLUSTER, name) == known


def test_renewed_secrets_are_written_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, passwords, certificate = (tmp_path / name for name in ("cluster.json", "passwords.json", "server.crt"))
    config.write_text(text(CLUSTER))
    passwords.write_text(json.dumps(EVERY))
    certificate.write_text("first")
    real, read_passwords = files.files, files.passwords
    monkeypatch.setattr(files, "passwords", lambda: read_passwords(str(passwords)))
    monkeypatch.setattr(
        files, "files", lambda *given: [replace(item, path=f"{tmp_path}/root{item.path}") for item in real(*given)]
    )
    services = Told({POSTGRES: RUNNING})
    owned = [str(passwords), str(certificate)]
    part = FilesPart("pg1", services, lambda _cluster: None, str(config), owned)  # type: ignore[arg-type]
    part.tick(0.0)
    services.told.clear()
    part.tick(1.0)
    assert services.told == []
    certificate.write_text("another")
    part.tick(2.0)
    assert services.told == [("reload", "postgres")]
    passwords.write_text(json.dumps({**EVERY, REPMGR_ROLE: "renewed"}))
    part.tick(3.0)
    assert "renewed" in (tmp_path / "root/var/lib/postgresql/.pgpass").read_text()
    services.told.clear()
    part.tick(4.0)
    assert services.told == []
