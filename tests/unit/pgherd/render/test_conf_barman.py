# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Barman's configuration and units as rendered from the cluster."""

from __future__ import annotations

import configparser
import re
from dataclasses import replace
from typing import Any

import pytest
from pgherd.model import Barman, Cluster, Node
from pgherd.options import Options
from pgherd.places.host.files.barman import files, readings, services_and_files
from pgherd.places.host.files.facts import HostFacts
from pgherd.places.host.units import RECEIVER_UNIT, units
from pgherd.ports.hostfiles import File
from pgherd.render.conf_barman import ini, place, slots

CLUSTER = Cluster(
    "demo",
    (
        Node("pg1", 1, "postgres", "pg1.example"),
        Node("pg2", 2, "postgres", "pg2.example", "pg1"),
        Node("w1", 3, "witness", "w1.example", "pg1", priority=0),
    ),
    barmans=(Barman("backup1", "backup1"),),
    port=5433,
    options=Options.of(
        {
            "barman_retention": "REDUNDANCY 2",
            "barman_schedule": "Mon *-*-* 03:00:00",
            "barman_directory": "/srv/barman",
        }
    ),
)
SECRETS = {"barman": "pa:ss\\word", "streaming_barman": "other"}


def render(cluster: Cluster = CLUSTER, name: str = "backup1") -> dict[str, File]:
    return {file.path: file for file in files(cluster, name, HostFacts(17), SECRETS)}


def as_barman_reads(text: str, section: str) -> dict[str, str]:
    """barman/config.py: ConfigParser with its interpolation, then one pair of quotes around a value is taken away. Since
    3.10 what one parser has read is set in another, which reads it again."""
    first, second = configparser.ConfigParser(strict=False), configparser.ConfigParser(strict=False)
    first.read_string(text)
    second.add_section(section)
    for key, value in first[section].items():
        second.set(section, key, value)
    quoted = re.compile(r"""^(["'])(.*)\1$""")
    return {key: quoted.sub(lambda found: found.group(2), value) for key, value in second[section].items()}


def with_settings(settings: dict[str, Any]) -> Cluster:
    return replace(CLUSTER, barmans=(Barman("backup1", "backup1", settings=settings),))


def test_it_finds_the_primary_whichever_node_it_is() -> None:
    section = as_barman_reads(render()["/etc/barman.d/demo.conf"].content, "demo")
    for key, role in (("conninfo", "barman"), ("streaming_conninfo", "streaming_barman")):
        # As Barman takes it apart: no value may hold a blank.
        found = dict(part.split("=", 1) for part in section[key].split())
        assert found["host"] == "pg1.example,pg2.example"
        assert (found["user"], found["port"], found["target_session_attrs"]) == (role, "5433", "read-write")
        assert (found["sslmode"], found["sslrootcert"]) == ("verify-full", "/etc/pgherd/tls/ca.crt")
        assert found["channel_binding"] == "require"
        assert found["connect_timeout"] == "2"
        assert "password" not in found
    assert section["slot_name"] == "barman"
    assert (section["backup_method"], section["streaming_archiver"], section["archiver"]) == ("postgres", "on", "off")
    assert (section["retention_policy"], section["minimum_redundancy"]) == ("REDUNDANCY 2", "1")
    assert (section["backup_directory"], section["path_prefix"]) == ("/srv/barman/demo", "/usr/lib/postgresql/17/bin")


def test_passwords_are_in_the_passfile_only() -> None:
    found = render()
    passfile = found["/var/lib/barman/.pgpass"]
    assert (passfile.owner, passfile.mode) == ("barman", "0600")
    assert passfile.secret_content.splitlines() == [
        f"{host}:5433:*:{login}"
        for host in ("pg1.example", "pg2.example")
        for login in ("barman:pa\\:ss\\\\word", "streaming_barman:other")
    ]
    assert not any("other" in file.content for file in found.values())


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("*:*:*:barman:what earlier releases wrote", False),
        ("pg2.example:5432:*:streaming_barman:older", False),
        ("other.example:*:*:barman:another server", True),
        ("# mine", True),
    ],
)
def test_passwords_of_other_servers_stay(line: str, kept: bool) -> None:
    ours = render()["/var/lib/barman/.pgpass"]
    assert (line in ours.beside(f"{line}\n".encode()).secret_content) == kept


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("gzip", "gzip"),
        (True, "on"),
        (False, "off"),
        (4, "4"),
        ("a, b:c; d", "a, b:c; d"),
        ("100%", "100%"),
        ("date +%Y-%m-%d %s", "date +%Y-%m-%d %s"),
        ("50%% of %(other)s", "50%% of %(other)s"),
        ('it\'s: 100 %, "really"', 'it\'s: 100 %, "really"'),
        ('say "hello"', 'say "hello"'),
        ('"quoted"', '"quoted"'),
        ("'quoted'", "'quoted'"),
        ("it's", "it's"),
        ("  blanks  ", "  blanks  "),
        (["a", "b"], "a, b"),
        ("two\nlines", "two\nlines"),
        ("# no comment", "# no comment"),
        ("", ""),
    ],
)
def test_values_survive(value: Any, read: str) -> None:
    assert as_barman_reads(ini("demo", {"other": "here", "key": value}, 2), "demo")["key"] == read


@pytest.mark.parametrize(
    ("facts", "expected"),
    [(HostFacts(17), 2), (HostFacts(15), 1), (HostFacts(15, {"uri": "https://apt.postgresql.org/pub/repos/apt"}), 2)],
)
def test_a_percent_sign_survives_in_every_version(facts: HostFacts, expected: int) -> None:
    assert readings(facts) == expected
    parser = configparser.ConfigParser()
    parser.read_string(ini("demo", {"key": "date +%F"}, expected))
    assert parser["demo"]["key"] == {1: "date +%F", 2: "date +%%F"}[expected]


def test_the_users_settings_go_over_ours() -> None:
    settings = {"compression": "pigz", "minimum_redundancy": None, "slot_name": "mine", "log_level": "DEBUG"}
    settings["parallel_jobs"] = 4
    cluster = with_settings(settings)
    found = render(cluster)
    section = as_barman_reads(found["/etc/barman.d/demo.conf"].content, "demo")
    assert (section["compression"], section["parallel_jobs"], section["slot_name"]) == ("pigz", "4", "mine")
    assert "minimum_redundancy" not in section
    assert "log_level" not in section
    assert as_barman_reads(found["/etc/barman.conf"].content, "barman")["log_level"] == "DEBUG"
    assert place(cluster, "backup1").slot == "mine"


def test_each_host_has_its_own_slot_whatever_their_order() -> None:
    names = ("backup1", "Backup-2", "backup_2", "b" * 80, "b" * 81)
    cluster = replace(CLUSTER, barmans=tuple(Barman(name, name) for name in names))
    found = slots(cluster)
    assert [found[name] for name in names[:3]] == ["barman_backup1", "barman_backup_2", "barman_backup_2_"]
    assert len(set(found.values())) == len(names)
    assert all(re.fullmatch(r"[a-z0-9_]{1,63}", slot) for slot in found.values())
    assert slots(replace(cluster, barmans=cluster.barmans[::-1])) == found
    assert "slot_name = barman_backup_2\n" in render(cluster, "Backup-2")["/etc/barman.d/demo.conf"].content


def test_a_host_that_is_alone_has_the_plain_slot() -> None:
    assert slots(CLUSTER) == {"backup1": "barman"}


def test_units_take_the_place_of_cron() -> None:
    found = render()
    assert found["/etc/cron.d/barman"].kind == "absent"
    backup = found["/etc/systemd/system/barman-backup.timer"].content
    assert "\nOnCalendar=Mon *-*-* 03:00:00\nPersistent=true\n" in backup
    assert "\nOnCalendar=minutely\nAccuracySec=1s\n" in found["/etc/systemd/system/barman-cron.timer"].content
    # What cron starts must not end with it.
    assert "\nKillMode=process\n" in found["/etc/systemd/system/barman-cron.service"].content
    receiver = found[f"/etc/systemd/system/{RECEIVER_UNIT}"].content
    # Before it counts as running; it then is the process that holds the lock.
    assert re.search(r"\nExecStartPre=.*; flock /srv/barman/.demo-receive-wal.lock true'\n", receiver)
    assert "\nExecStart=/usr/bin/barman receive-wal demo\n" in receiver
    for service, paths in services_and_files(CLUSTER).items():
        unit = units(0)[service]
        links = [file for file in found.values() if file.kind == "link" and file.path.endswith(f".wants/{unit}")]
        assert [link.content for link in links] == [f"/etc/systemd/system/{unit}"]
        assert set(paths) <= set(found)
    agent = found["/etc/systemd/system/pgherd-agent.service"].content
    assert "ReadWritePaths=-/srv/barman\n" in agent
    assert "ReadWritePaths=-/var/log/barman\n" in agent


def test_other_directories_are_made() -> None:
    found = render(with_settings({"barman_lock_directory": "/srv/locks"}))
    for path in ("/var/lib/barman", "/srv/barman", "/srv/locks"):
        assert (found[path].kind, found[path].owner, found[path].mode) == ("directory", "barman", "0750")
    assert "flock /srv/locks/.demo-receive-wal.lock" in found[f"/etc/systemd/system/{RECEIVER_UNIT}"].content
