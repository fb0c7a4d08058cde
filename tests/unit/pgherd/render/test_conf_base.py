# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What every host gets, and who may read it there."""

from __future__ import annotations

import dataclasses
import json

import pytest
from pgherd.model import CLUSTER_FILE, SERVER_CERT_FILE, SERVER_KEY_FILE, SYSTEM_ROLES, Cluster
from pgherd.options import Options
from pgherd.places.host.files import barman, base, cluster, pgpool, postgres
from pgherd.places.host.files.facts import HostFacts
from pgherd.ports.hostfiles import File
from world import CLUSTER

OPTIONS = {
    **vars(CLUSTER.options),
    "pgpool_max_clients": 64,
    "pgpool_reserved_connections": 0,
    "pgpool_read_balancing": "named",
    "wal_keep_size": "512MB",
    "agent_port": 8765,
}
WORLD: Cluster = dataclasses.replace(CLUSTER, options=Options.of(OPTIONS))
SECRETS = dict.fromkeys((*SYSTEM_ROLES, "pgherd", "tls:ca", "tls:certificate", "tls:key"), "secret")
FACTS = HostFacts(17)
OWN = {
    "pg1": (cluster.files, postgres.files),
    "pool1": (pgpool.files,),
    "backup1": (barman.files,),
}


def files(name: str) -> dict[str, list[File]]:
    """By path, all that is stated of it on a host, by the base and then by what the host is for."""
    found: dict[str, list[File]] = {}
    for render in (base.files, *OWN[name]):
        for item in render(WORLD, name, FACTS, SECRETS):
            found.setdefault(item.path, []).append(item)
    return found


@pytest.mark.parametrize(("name", "group"), [("pg1", "postgres"), ("pool1", "postgres"), ("backup1", "barman")])
def test_the_description_is_for_those_who_decide_by_it(name: str, group: str) -> None:
    (item,) = files(name)[CLUSTER_FILE]
    assert (item.owner, item.group, item.mode) == ("root", group, "0640")
    assert Cluster.from_dict(json.loads(item.content)) == WORLD


@pytest.mark.parametrize("name", sorted(OWN))
def test_certificate_and_key_come_together_and_once(name: str) -> None:
    """Beside a pgpool not before what holds a copy of them can be restarted."""
    found = files(name)
    assert [len(found[path]) for path in (SERVER_CERT_FILE, SERVER_KEY_FILE)] == [1, 1]
    early = {item.path for item in base.files(WORLD, name, FACTS, SECRETS)}
    assert ({SERVER_CERT_FILE, SERVER_KEY_FILE} <= early) == (name != "pool1")
    key = found[SERVER_KEY_FILE][0]
    assert (key.owner, key.mode, key.secret) == ("barman" if name == "backup1" else "postgres", "0600", True)


def test_settings_are_not_for_everybody() -> None:
    """A command or a connection among them may hold a password, though it should not."""
    for name, path in (
        ("pg1", "/etc/postgresql/17/main/postgresql.conf"),
        ("pool1", "/etc/pgpool2/pgpool.conf"),
        ("backup1", "/etc/barman.d/demo.conf"),
    ):
        assert files(name)[path][0].mode == "0640"


def test_every_text_that_everybody_may_read_is_without_the_users_settings() -> None:
    canary = "canary-8d1c"

    def told(host: object) -> object:
        settings = {"archive_command": canary, "primary_conninfo": canary, "backup_options": canary}
        return dataclasses.replace(host, settings=settings)  # type: ignore[type-var]

    world = dataclasses.replace(
        WORLD,
        nodes=tuple(map(told, WORLD.nodes)),
        pgpools=tuple(map(told, WORLD.pgpools)),
        barmans=tuple(map(told, WORLD.barmans)),
    )
    seen = 0
    for name in OWN:
        for render in (base.files, *OWN[name]):
            for item in render(world, name, FACTS, SECRETS):
                if canary in item.content:
                    seen += 1
                    assert not int(item.mode, 8) & 0o007, item.path
    assert seen >= 6


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("ssh-ed25519 THEIRS dba@desk", True),
        ('from="10.0.0.9" ssh-ed25519 THEIRS', True),
        ('from="10.0.0.1" ssh-ed25519 OURS', False),
        ('from="10.0.0.1" ssh-ed25519 OLDER pgherd', False),
    ],
)
def test_what_others_gave_the_postgres_user_for_ssh_stays(line: str, kept: bool) -> None:
    """And no key of its own is written over."""
    world = dataclasses.replace(WORLD, options=Options.of({**OPTIONS, "ssh_keys": True}))
    secrets = {**SECRETS, "ssh:private": "x", "ssh:public": "ssh-ed25519 OURS\n"}
    found = {
        item.path.rpartition("/")[2]: item for item in base.files(world, "pg1", FACTS, secrets) if "ssh" in item.path
    }
    assert set(found) == {".ssh", "pgherd_ed25519", "authorized_keys", "pgherd.conf"}
    whole = found["authorized_keys"].beside(f"{line}\n".encode()).content
    assert whole.splitlines()[0].endswith(" ssh-ed25519 OURS pgherd")
    assert whole.splitlines()[1:] == ([line] if kept else [])
