# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Names and values are what they should be before they stand in a file, and no sentence shows what may be secret."""

from __future__ import annotations

from typing import Any

import pytest
from pgherd.errors import ConfigError
from pgherd.inventory.build import build
from pgherd.inventory.hosts import host_problems, network
from pgherd.inventory.values import shape_problem, value_problems
from pgherd.inventory.variables import Host
from test_inventory import DEFAULTS, node, tree

CANARY = "canary-8d1c"
KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQINBE\n-----END PGP PUBLIC KEY BLOCK-----\n"
SOURCE = {"URIs": "https://apt.example.org", "Suites": "trixie", "Signed-By": KEY}


def refused(hosts: list[Host], **values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        build(hosts, {**DEFAULTS, **values})
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "variables", "sentence"),
    [
        ("pg1", {}, ""),
        ("pg1.example.org", {}, ""),
        ("10.0.0.1", {}, ""),
        ("pg_1-a", {"address": "fd00::1", "ip": "fd00::1"}, ""),
        ("pg1", {"address": "pg1.example.org", "ip": "10.0.0.1"}, ""),
        ("-pg1", {}, "-pg1: a host's name is letters"),
        (".pg1", {}, ".pg1: a host's name is letters"),
        ("pg 1", {}, "'pg 1': a host's name is letters"),
        ("pg1\nall", {}, "'pg1\\nall': a host's name is letters"),
        ("samenet", {}, "samenet: a host's name is"),
        ("p" * 63, {}, ""),
        ("p" * 64, {}, "a node's name has at most 63 characters, and this one 64; give it a shorter one"),
        ("pg1", {"address": ".example.org"}, "pg1: address .example.org is neither a host's name nor an IP address"),
        ("pg1", {"address": "all"}, "pg1: address all is neither"),
        ("pg1", {"address": "a b"}, "pg1: address 'a b' is neither"),
        ("pg1", {"address": "a\nb"}, "pg1: address holds a character that is no text"),
        (
            "pg1",
            {"ip": "10.0.0.256"},
            "pg1: ip 10.0.0.256 is no IP address; write one such as 10.0.0.1, or leave it out.",
        ),
        ("PG1", {}, ""),
        ("localhost", {}, ""),
        ("pg1", {"ip": ["10.0.0.1", "fd00::1"]}, ""),
        ("pg1", {"ip": "10.0.0.1, fd00::1"}, ""),
        ("pg1", {"ip": ["10.0.0.1", "byname"]}, "pg1: ip byname is no IP address"),
        ("pg1", {"ip": "10.0.0.11/24"}, "pg1: ip 10.0.0.11/24 is no IP address"),
        (
            "pg1",
            {"ip": "127.0.0.1"},
            "pg1: ip 127.0.0.1 is no address that another host can see it come from; set ip to",
        ),
        ("pg1", {"ip": "::ffff:127.0.1.1"}, "pg1: ip 127.0.1.1 is no address that another host can see"),
        ("pg1", {"ip": "fe80::1"}, "pg1: ip fe80::1 is no address that another host"),
        ("pg1", {"ip": "0.0.0.0"}, "pg1: ip 0.0.0.0 is no address that another host"),
        (
            "pg1",
            {"address": "127.0.1.1"},
            "pg1: address 127.0.1.1 is no address that another host can see it come from;",
        ),
        ("10.0.0.300", {}, "10.0.0.300: address 10.0.0.300 is neither a host's name nor an IP address"),
        ("127.1", {}, "127.1: address 127.1 is neither a host's name nor an IP address"),
        ("pg1", {"address": "a..b"}, "pg1: address a..b is neither"),
        ("pg1", {"address": "pg1."}, "pg1: address pg1. is neither"),
        ("pg1", {"address": "p" * 64 + ".example.org"}, "is neither a host's name nor an IP address"),
        ("pg1", {"ip": "pg1.example.org"}, "pg1: ip pg1.example.org is no IP address"),
        ("pg1", {"ip": "fe80::1%eth0"}, "pg1: ip fe80::1%eth0 is no IP address"),
        ("pg1", {"location": "a\x1b[2J"}, "pg1: location holds a character that is no text"),
        ("pg1", {"place": "host"}, ""),
        ("pg1", {"place": "pod"}, ""),
        ("pg1", {"place": None}, ""),
        ("pg1", {"place": ""}, ""),
        ("pg1", {"place": "Pod"}, "pg1: place is host or pod, where it runs, and not Pod; mend it."),
        ("pg1", {"place": "row 4"}, "pg1: place is host or pod, where it runs, and not 'row 4'; mend it."),
        ("pg1", {"place": "host\n"}, "pg1: place is host or pod, where it runs, and not 'host\\n'; mend it."),
        ("pg1", {"place": ["pod"]}, "pg1: place is host or pod"),
        ("pg1", {"place": False}, "pg1: place is host or pod, where it runs, and not False; mend it."),
    ],
)
def test_hosts(name: str, variables: dict[str, Any], sentence: str) -> None:
    said = host_problems(name, variables, node=True)
    assert len(said) == bool(sentence), said
    assert sentence in "".join(said)


def test_a_long_name_is_no_matter_where_postgres_never_sees_it() -> None:
    assert host_problems("p" * 63 + ".example.org", {}, node=False) == []


@pytest.mark.parametrize(
    ("entry", "is_it"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("10.1.2.3/16", "10.1.0.0/16"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("fd00::1", "fd00::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_networks(entry: str, is_it: str) -> None:
    assert network(entry) == is_it
    assert build(tree(), {**DEFAULTS, "cluster_networks": [entry]}).options.networks == (is_it,)


GOOD = [
    ("cluster_apt_repository", {}),
    ("cluster_apt_repository", SOURCE),
    ("cluster_apt_repository", {**SOURCE, "Signed-By": "/etc/apt/keyrings/us.gpg", "Components": ["main", "extra"]}),
    ("cluster_hba", ["hostssl\tapp\tapp 10.0.0.0/8 scram-sha-256"]),
    (
        "cluster_hba",
        [
            'host "a b",c, d all 10.0.0.0/8 md5',
            "host all all 10.0.0.0 255.0.0.0 md5",
            "host all all fd00::1/128 md5",
            "host all all fd00:: ffff:: md5",
            "host all all db1.example.org md5",
            "host all all .example.org md5",
            "hostssl all all samenet cert clientcert=verify-full # 10.0.0.300",
            "local all all peer",
            "# a remark",
            "",
            "host all all all reject",
            "host all all 1and1.example.org md5",
        ],
    ),
    ("cluster_barman_settings", {"custom_compression_magic": "0x1\n0x2", "log_file": "/var/log/barman/barman.log"}),
    ("cluster_barman_schedule", "Mon..Fri *-*-* 02:00/15:00 Europe/Berlin"),
    ("cluster_postgres_settings", {"auto_explain.log_min_duration": "1s", "work_mem": 4}),
    ("cluster_extensions", [{"name": "postgis", "database": "app", "package": "postgresql-VERSION-postgis-3"}]),
    ("cluster_passwords", {"app": "päss wörd ' \" \\ : # 🙂"}),
    ("cluster_users", [{"name": "n" * 63, "password": CANARY}]),
    *(("cluster_pgpool_read_balancing", value) for value in (True, False, "true", "No", "named", "all")),
]


@pytest.mark.parametrize(("variable", "value"), GOOD)
def test_good_values(variable: str, value: Any) -> None:
    assert value_problems(variable, value) == []


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("cluster_name", "barman", "cluster_name: barman is a word of Barman's own; choose another name."),
        ("cluster_name", "all", "cluster_name: all is a word of Barman's own"),
        ("cluster_name", "a" * 64, "cluster_name has at most 63 characters, not 64"),
        ("cluster_port", 65536, "cluster_port is a number from 1 to 65535, not 65536"),
        ("cluster_pcp_port", "0", "cluster_pcp_port is a number from 1 to 65535, not 0"),
        ("cluster_networks", ["10.0.0.0/33"], "cluster_networks: 10.0.0.0/33 is no network; write one such as"),
        ("cluster_networks", ["10.0.0.0/8 trust"], "cluster_networks: '10.0.0.0/8 trust' is no network"),
        ("cluster_networks", [10], "cluster_networks: 10 is no network"),
        ("cluster_hba", ["host all all all trust \\"], "cluster_hba[0] ends with a backslash"),
        (
            "cluster_hba",
            ["host all all 10.0.0.1 md5"],
            "cluster_hba[0]: PostgreSQL would not read its address; write a",
        ),
        ("cluster_hba", ["", "host a, b all 10.0.0.0/33 md5"], "cluster_hba[1]: PostgreSQL would not read its address"),
        ("cluster_hba", ["host all all 10.0.0.300/32 md5"], "cluster_hba[0]: PostgreSQL would not read its address"),
        ("cluster_hba", ["host all all fd00::1 md5"], "cluster_hba[0]: PostgreSQL would not read its address"),
        ("cluster_hba", ["host all all fd00::1/129 md5"], "cluster_hba[0]: PostgreSQL would not read its address"),
        ("cluster_hba", ["a\nhost all all all trust"], "cluster_hba[0] holds a character that is no text (U+000A)"),
        (
            "cluster_barman_schedule",
            "daily\n[Service]",
            "cluster_barman_schedule holds a character that is no text (U+000A)",
        ),
        ("cluster_barman_schedule", "%h", "cluster_barman_schedule: %h is not a systemd calendar expression"),
        ("cluster_barman_directory", "/srv/a'b", "cluster_barman_directory: /srv/a'b is not a plain absolute path"),
        ("cluster_data_directory", "data", "cluster_data_directory: data is not a plain absolute path"),
        ("cluster_packages_extra", ["-o"], "cluster_packages_extra: -o is not a package's name"),
        ("cluster_extensions", [{"name": "a", "database": "b", "package": "x y"}], "'x y' is not a package's name"),
        (
            "cluster_tablespaces",
            [{"name": "a", "location": "fast"}],
            "cluster_tablespaces: fast is not a plain absolute",
        ),
        ("cluster_users", [{"name": "é" * 32}], "has more than 63 bytes; choose a shorter one."),
        ("cluster_users", [{"name": "a\x00b"}], "cluster_users[0].name holds a character that is no text (U+0000)"),
        ("cluster_users", [{"name": ""}], "cluster_users[0] has no name"),
        (
            "cluster_databases",
            [{"name": "a\u2028b"}],
            "cluster_databases[0].name holds a character that is no text (U+2028)",
        ),
        (
            "cluster_passwords",
            {"app": f"{CANARY}\nb"},
            "cluster_passwords.app holds a character that is no text (U+000A)",
        ),
        ("cluster_pgpool_read_balancing", "some", "is false, named, true or all, not some; see docs/pgpool.md"),
        ("cluster_pgpool_read_balancing", 2, "is false, named, true or all, not 2;"),
        ("cluster_passwords", {"app": [CANARY]}, "cluster_passwords: the password of app is no text"),
        (
            "cluster_postgres_settings",
            {"a\nb": 1},
            "a name in cluster_postgres_settings holds a character that is no text",
        ),
        ("cluster_postgres_settings", {"a b": 1}, "cluster_postgres_settings: 'a b' is not a setting's name"),
        (
            "cluster_postgres_settings",
            {"a": f"{CANARY}\n"},
            "cluster_postgres_settings.a holds a character that is no text",
        ),
        ("cluster_barman_settings", {"barman_lock_directory": f"/{CANARY} x"}, "barman_lock_directory is not a plain"),
        ("cluster_apt_repository", {"URIs": "http://a"}, "it has no Signed-By; put the repository's key there"),
        ("cluster_apt_repository", {**SOURCE, "Trusted": True}, "Trusted takes packages that nobody signed"),
        ("cluster_apt_repository", {**SOURCE, "allow-insecure": "yes"}, "Allow-Insecure takes packages"),
        (
            "cluster_apt_repository",
            {**SOURCE, "Suites": "a\nb"},
            "only Signed-By may have more than one line; mend suites.",
        ),
        ("cluster_apt_repository", {**SOURCE, "a:b": 1}, "a:b is not a field of a package source"),
    ],
)
def test_wrong_values(variable: str, value: Any, sentence: str) -> None:
    (said,) = value_problems(variable, value)
    assert sentence in said
    assert CANARY not in said
    assert said.endswith(".")
    # Wherever it is set, and told once.
    assert refused(tree(), **{variable: value}).count(sentence) == 1
    hosts = [*tree()[:-1], Host("backup1", ("barman",), {variable: value})]
    assert f"backup1: {said}" in refused(hosts, **{variable: DEFAULTS.get(variable)})


def test_a_value_that_is_no_secret_is_shown() -> None:
    hosts = [node("pg1", 1, cluster_port=5432), node("pg2", 2, "pg1", cluster_port=5433)]
    assert "pg1 says 5432 and pg2 says 5433" in refused(hosts)


@pytest.mark.parametrize(
    ("kind", "value", "wrong"),
    [
        ("list", "pg1", True),
        ("list", ["pg1"], False),
        ("dict", ["a"], True),
        ("list", None, False),
        ("str", "a", False),
    ],
)
def test_a_text_is_no_list(kind: str, value: Any, wrong: bool) -> None:
    assert bool(shape_problem("cluster_wipe", kind, value)) is wrong
