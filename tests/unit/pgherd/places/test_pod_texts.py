# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Pods read what hosts read, to the letter, but for how repmgr has services started, and who runs Barman."""

from __future__ import annotations

import os
import re
from collections import defaultdict

import pytest
from pgherd.model import Cluster
from pgherd.places.host.files import barman, base, cluster, pgpool, postgres, repmgr
from pgherd.places.host.files.facts import HostFacts
from pgherd.places.pod import texts
from world import CLUSTER

SECRETS = defaultdict(lambda: "secret")
RENDERED = {
    "pg1": (base, cluster, postgres, repmgr),
    "w1": (base, cluster, postgres, repmgr),
    "pool1": (base, pgpool),
    "backup1": (base, barman),
}
# Where the name on a host is another one than the key.
NAMES = {"pgpass": ".pgpass"}


def on_the_host(world: Cluster, name: str) -> dict[str, tuple[str, str]]:
    """By file name, what is no secret and what is one."""
    files = [file for module in RENDERED[name] for file in module.files(world, name, HostFacts(17), SECRETS)]
    # An agent beside a pgpool has copies of its own.
    return {os.path.basename(file.path): (file.content, file.secret_content) for file in files if file.kind == "file"}


def in_the_pod(world: Cluster, name: str) -> dict[str, str]:
    host = next(item for item in world.hosts if item.name == name)
    if name in ("pg1", "w1"):
        return texts.of_node(world, world.node(name), 17)
    if name == "pool1":
        return texts.of_pgpool(world, world.pgpools[0])
    assert host == world.barmans[0]
    return texts.of_barman(world, world.barmans[0], 17, barman.readings(HostFacts(17)))


def without_commands(text: str) -> str:
    return re.sub(r"^((repmgrd_)?service_\w+_command|barman_user) = .*\n", "", text, flags=re.MULTILINE)


def test_barman_is_run_by_who_runs_all() -> None:
    """It refuses to be run by anybody else than its configuration says."""
    assert "\nbarman_user = postgres\n" in in_the_pod(CLUSTER, "backup1")["barman.conf"]
    assert "\nbarman_user = barman\n" in on_the_host(CLUSTER, "backup1")["barman.conf"][0]


@pytest.mark.parametrize("name", list(RENDERED))
def test_the_same_texts(name: str) -> None:
    host, pod = on_the_host(CLUSTER, name), in_the_pod(CLUSTER, name)
    assert len(pod) >= 3
    for key, text in pod.items():
        assert re.fullmatch(r"[-._a-zA-Z0-9]+", key), "a key of a ConfigMap"
        assert without_commands(text) == without_commands(host[key][0]), key


@pytest.mark.parametrize("name", list(RENDERED))
def test_the_same_secrets(name: str) -> None:
    host, found = on_the_host(CLUSTER, name), next(item for item in CLUSTER.hosts if item.name == name)
    pod = texts.secrets_of(CLUSTER, found, SECRETS)
    assert len(pod) >= 2
    for key, text in pod.items():
        assert text == host[NAMES.get(key, key)][1], key


def test_repmgr_has_process_1_asked_for_all_that_it_asks_systemd_for() -> None:
    assert texts.commands().keys() == repmgr.commands(17).keys()
    assert texts.commands()["service_restart_command"] == "/usr/bin/pgherd service restart postgres"
    assert texts.commands()["repmgrd_service_stop_command"] == "/usr/bin/pgherd service stop repmgrd"
