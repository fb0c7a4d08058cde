# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""How tidy and rough hosts of the lab are reached."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))

import hosts
import machine
import mounts
import rough

NAMES = {"pg1.rough.test": "172.30.81.11", "pool1.rough.test": "172.30.81.12"}


def test_the_address_of_the_other_family_is_in_its_network() -> None:
    network = rough.network6(ipaddress.IPv4Network("172.30.81.0/24"))
    assert str(network) == "fd00:172:30:81::/64"
    assert rough.address6("172.30.81.11") == "fd00:172:30:81::11"
    assert ipaddress.ip_address(rough.address6("172.30.81.254")) in network


@pytest.mark.parametrize("is_rough", [False, True])
def test_how_hosts_are_reached(monkeypatch: pytest.MonkeyPatch, is_rough: bool) -> None:
    there = [hosts.Host("c", name, "bookworm", ip, "running", is_rough) for name, ip in NAMES.items()]
    monkeypatch.setattr(hosts, "hosts", lambda cluster: there)
    told = hosts.inventory("c")["all"]
    assert isinstance(told, dict)
    first = told["hosts"]["pg1.rough.test"]
    if is_rough:
        assert first == {"lab_addresses": ["172.30.81.11", "fd00:172:30:81::11"]}
        assert told["vars"]["ansible_user"] == "admin"
        assert told["vars"]["ansible_become_password"]
        assert told["vars"]["ansible_ssh_common_args"].startswith("-F ")
    else:
        assert first == {"lab_addresses": ["172.30.81.11"], "ansible_host": "172.30.81.11"}
        assert told["vars"]["ansible_user"] == "root"
        assert "ansible_become_password" not in told["vars"]
    assert "StrictHostKeyChecking=yes" in told["vars"]["ansible_ssh_common_args"]


def test_ssh_knows_where_the_names_are(tmp_path: Path) -> None:
    rough.reach(tmp_path, NAMES)
    assert (tmp_path / "ssh_config").read_text().splitlines()[:2] == ["Host pg1.rough.test", "  HostName 172.30.81.11"]


def test_a_rough_host_has_a_domain() -> None:
    with pytest.raises(machine.LabError, match=r"pg1\.rough\.test, not pg1$"):
        hosts.up("c", {"pg1": "bookworm"}, is_rough=True)


def test_units_of_mounts() -> None:
    assert mounts.unit("/srv/pg") == "srv-pg.mount"
    assert mounts.unit("/var/lib/postgresql") == "var-lib-postgresql.mount"
