# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""When a pgpool is reloaded and when restarted, and its configuration as a whole."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from pgherd.errors import ConfigError
from pgherd.inventory.values import balancing
from pgherd.model import SYSTEM_ROLES, Barman, Cluster, Node, Origins, Pgpool
from pgherd.options import Options
from pgherd.places.host.files import pgpool as host_pgpool
from pgherd.places.host.files.facts import HostFacts
from pgherd.places.host.units import AGENT_UNIT
from pgherd.places.host.up_to_date import Unit, UnitState
from pgherd.places.host.up_to_date import plan as plan_units
from pgherd.pools.pgpool_service import FILES, PgpoolState, plan
from pgherd.programs import pgpool, pgpool_settings
from pgherd.programs.pgpool import CONFIGURATION, HBA, PASSWORDS, NodeInfo
from pgherd.programs.pgpool_settings import parse_configuration
from pgherd.render import conf_pgpool

CONF = "port = 9999\nlog_connections = off\nbackend_hostname0 = 'a'\nbackend_port0 = 5432\n"
TEXTS: dict[str, str | None] = {
    CONFIGURATION: CONF,
    PASSWORDS: "pgpool_check:TEXTx\napp:TEXTy\n",
    HBA: "local all all scram-sha-256\n",
    FILES[3]: "certificate",
}
RUNNING = PgpoolState(True, TEXTS, TEXTS, {0: NodeInfo(0, "a", 5432, "up", role="primary")})


def after(state: PgpoolState, **changes: str | None) -> PgpoolState:
    """The state with other standing files, by the last word of their names."""
    standing = dict(state.standing)
    for word, text in changes.items():
        path = next(path for path in FILES if word in path)
        standing[path] = text
    return replace(state, standing=standing)


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        (RUNNING, []),
        # Its agent, not told yet, had attached it again.
        (
            replace(RUNNING, nodes={**RUNNING.nodes, 4: NodeInfo(4, "gone", 5432, "waiting")}),
            ["detach backend 4 (gone): it is no longer configured"],
        ),
        (replace(RUNNING, nodes={**RUNNING.nodes, 4: NodeInfo(4, "gone", 5432, "down")}), []),
        (replace(RUNNING, active=False), ["start pgpool"]),
        (after(RUNNING, pool_hba="host\n"), ["reload pgpool: /etc/pgpool2/pool_hba.conf changed"]),
        (
            after(RUNNING, conf=CONF.replace("off", "on")),
            ["reload pgpool: /etc/pgpool2/pgpool.conf changed"],
        ),
        (after(RUNNING, conf=CONF.replace("9999", "1")), ["restart pgpool: port changes"]),
        (after(RUNNING, server="new"), ["restart pgpool: the certificate changes"]),
        (
            after(RUNNING, pool_passwd="pgpool_check:TEXTx\napp:TEXTz\n"),
            ["reload pgpool: /etc/pgpool2/pool_passwd changed"],
        ),
        (
            after(RUNNING, pool_passwd="pgpool_check:TEXTz\napp:TEXTy\n"),
            ["restart pgpool: the password of pgpool_check changes"],
        ),
        (
            after(RUNNING, conf="port = 9999\nlog_connections = off\n"),
            [
                "detach backend 0 (a): it is no longer configured",
                "reload pgpool: /etc/pgpool2/pgpool.conf changed",
            ],
        ),
        (
            replace(RUNNING, nodes={0: NodeInfo(0, "old", 5432, "down")}),
            ["restart pgpool: backend 0 is old:5432, and should be a:5432"],
        ),
        (
            replace(RUNNING, loaded=dict.fromkeys(FILES)),
            ["restart pgpool: it was not started as it is today"],
        ),
    ],
)
def test_plan(state: PgpoolState, steps: list[str]) -> None:
    assert plan(state).describe() == steps


def test_check_mode_judges_files_that_are_not_written_yet() -> None:
    assert plan(RUNNING, {CONFIGURATION: CONF.replace("9999", "1")}).describe() == ["restart pgpool: port changes"]
    assert plan(RUNNING, {PASSWORDS: None}).describe() == ["reload pgpool: /etc/pgpool2/pool_passwd changed"]


def test_no_password_is_shown() -> None:
    assert "TEXT" not in repr(RUNNING)


@pytest.mark.parametrize(
    ("state", "changed", "steps"),
    [
        (UnitState(100.0, {"/f": 50.0}), [], []),
        (UnitState(None, {"/f": 50.0}), [], ["start x.service"]),
        (UnitState(100.0, {"/f": 150.0}), [], ["restart x.service: /f changed since it started"]),
        (UnitState(100.0, {"/f": 100.9}), [], []),
        (UnitState(100.0, {}), ["/f"], ["restart x.service: /f changed since it started"]),
        (UnitState(100.0, {}), ["/d/part.py"], ["restart x.service: /d/part.py changed since it started"]),
        (UnitState(100.0, {}), ["/dx", "/other"], []),
    ],
)
def test_units(state: UnitState, changed: list[str], steps: list[str]) -> None:
    assert plan_units([Unit("x.service", ("/f", "/d"))], {"x.service": state}, changed).describe() == steps


@pytest.mark.parametrize(
    ("since", "stale", "written", "steps"),
    [
        (100.0, "", [], []),
        (100.0, "", ["/etc/x/17/x.conf"], ["reload x.service: /etc/x/17/x.conf changed"]),
        (100.0, "", ["/etc/x.conf", "/f"], []),
        (100.0, "its record changed", ["/etc/x/x.conf"], ["restart x.service: its record changed"]),
        (None, "its record changed", ["/etc/x/x.conf"], ["start x.service"]),
        (10.0, "its record changed", ["/etc/x/x.conf"], ["restart x.service: /f changed since it started"]),
    ],
)
def test_units_that_read_again(since: float | None, stale: str, written: list[str], steps: list[str]) -> None:
    unit = Unit("x.service", ("/f",), reloads=("/etc/x",), stale=stale)
    assert plan_units([unit], {"x.service": UnitState(since, {"/f": 50.0})}, (), written).describe() == steps


CLUSTER = Cluster(
    "t",
    (
        Node("pg1", 1, "postgres", "pg1.example", origins=Origins(known="10.0.0.1")),
        Node("w1", 2, "witness", "w1", "pg1"),
        Node("pg2", 3, "postgres", "pg2.example", "pg1", origins=Origins(known="fd00::2")),
    ),
    (
        Pgpool(
            "pool1", "pool1", settings={"num_init_children": 5, "app_name_redirect_preference_list": 'x:pg1,"y":pg2'}
        ),
    ),
    (Barman("backup1", "backup1"),),
    options=Options.of(
        {
            "pgpool_max_clients": 64,
            "users": [{"name": "app"}],
            "networks": ["10.1.0.0/16"],
            "pgpool_weights": {"pg1": 0},
            "pgpool_reserved_connections": 2,
            "pgpool_read_balancing": "none",
        }
    ),
)
SECRETS = {**{name: f"secret-{name}" for name in SYSTEM_ROLES}, "pgherd": "p:c", "app": 'a:"b\\c'}
TLS = {"tls:certificate": "the certificate", "tls:key": "the key"}


@pytest.fixture
def files() -> dict[str, Any]:
    return {item.path: item for item in host_pgpool.files(CLUSTER, "pool1", HostFacts(17), {**SECRETS, **TLS})}


def test_the_agent_may_have_pgpool_restarted_and_no_more(files: dict[str, Any]) -> None:
    asked = "/run/pgherd-agent/restart-pgpool"
    path, service = (files[f"/etc/systemd/system/pgherd-restart-pgpool.{kind}"].content for kind in ("path", "service"))
    assert f"PathExists={asked}\n" in path
    # Gone before the restart, or the path would ask for ever.
    assert (
        f"ExecStart=/bin/rm -f {asked}\nExecStart=/usr/bin/systemctl --no-block try-restart pgpool2.service\n"
        in service
    )
    assert files["/etc/systemd/system/multi-user.target.wants/pgherd-restart-pgpool.path"].kind == "link"


def _configuration(wanted: object, settings: dict[str, Any]) -> str:
    """pgpool.conf of pool1 with so much balancing and the user's *settings*."""
    options = {**vars(CLUSTER.options), "pgpool_read_balancing": balancing(wanted)}
    host = replace(CLUSTER.pgpools[0], settings=settings)
    return conf_pgpool.configuration(replace(CLUSTER, options=Options.of(options)), host)


class TestConfiguration:
    def test_backends_have_their_nodes_numbers(self, files: dict[str, Any]) -> None:
        found = parse_configuration(files[CONFIGURATION].content)
        hosts = {key: value for key, value in found.items() if key.startswith("backend_hostname")}
        assert hosts == {"backend_hostname0": "pg1.example", "backend_hostname2": "pg2.example"}
        assert found["backend_weight0"] == "0.0"
        assert found["backend_weight2"] == "1.0"
        assert found["backend_application_name2"] == "pg2"

    def test_numbers_do_not_move_when_a_node_goes(self) -> None:
        fewer = replace(CLUSTER, nodes=CLUSTER.nodes[1:])
        assert [(item.number, item.name) for item in conf_pgpool.backends(fewer)] == [(2, "pg2")]

    def test_pgpool_decides_about_no_failover(self, files: dict[str, Any]) -> None:
        found = parse_configuration(files[CONFIGURATION].content)
        assert {
            key: found[key]
            for key in (
                "health_check_period",
                "sr_check_period",
                "failover_on_backend_error",
                "failover_on_backend_shutdown",
                "failover_command",
                "follow_primary_command",
                "auto_failback",
                "detach_false_primary",
            )
        } == {
            "health_check_period": "0",
            "sr_check_period": "0",
            "failover_on_backend_error": "off",
            "failover_on_backend_shutdown": "off",
            "failover_command": "",
            "follow_primary_command": "",
            "auto_failback": "off",
            "detach_false_primary": "off",
        }

    def test_the_users_settings_win_and_come_through(self, files: dict[str, Any]) -> None:
        found = parse_configuration(files[CONFIGURATION].content)
        assert found["num_init_children"] == "5"
        assert found["app_name_redirect_preference_list"] == 'x:pg1,"y":pg2'
        assert found["reserved_connections"] == "2"
        assert found["load_balance_mode"] == "off"

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            (False, ("off", None, None, None, None)),
            ("named", ("on", "always", ".*(f).*", ".*primary:primary,.*standby:standby", ".*:primary")),
            (True, ("on", "always", ".*(f).*", ".*primary:primary,.*standby:standby", None)),
            ("all", ("on", "transaction", ".*(f).*", ".*primary:primary,.*standby:standby", None)),
        ],
    )
    def test_which_sessions_read_on_standbys(
        self, wanted: object, found: tuple[str | None, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pgpool_settings, "_PRIMARYS_OWN", ("f",))
        lines = parse_configuration(_configuration(wanted, {}))
        names = ("load_balance_mode", "disable_load_balance_on_write", *pgpool_settings.JOINED)
        assert tuple(map(lines.get, names)) == found

    @pytest.mark.parametrize(
        ("name", "theirs", "first"),
        [
            ("primary_routing_query_pattern_list", ".*mine.*;", ".*mine.*;.*("),
            ("app_name_redirect_preference_list", "psql:standby", "psql:standby,.*primary:primary"),
            ("database_redirect_preference_list", "shop:standby", "shop:standby,.*:primary"),
            ("database_redirect_preference_list", "", ".*:primary"),
            ("disable_load_balance_on_write", "off", "off"),
        ],
    )
    def test_the_users_lists_come_before_ours(self, name: str, theirs: str, first: str) -> None:
        assert parse_configuration(_configuration("named", {name: theirs}))[name].startswith(first)

    def test_passwords_stand_in_two_files_that_only_their_readers_read(self, files: dict[str, Any]) -> None:
        shown = "".join(item.content for item in files.values())
        assert not [secret for secret in SECRETS.values() if secret in shown]
        passwords = files[PASSWORDS]
        assert passwords.secret_content.splitlines() == [
            "pgpool_check:TEXTsecret-pgpool_check",
            "pgherd_monitor:TEXTsecret-pgherd_monitor",
            'app:TEXTa\\:"b\\\\c',
        ]
        assert (passwords.owner, passwords.mode) == ("postgres", "0600")
        digest = hashlib.md5(b"p:c", usedforsecurity=False).hexdigest()
        assert files[pgpool.PCP_CONFIGURATION].secret_content == f"pgherd:{digest}\n"
        assert files[pgpool.PCP_PASSFILE].secret_content == "*:*:pgherd:p\\:c\n"
        assert files[pgpool.PCP_PASSFILE].mode == "0600"

    @pytest.mark.parametrize("password", ["x" * 125, "two\nlines"])
    def test_a_password_that_pgpool_would_cut_off(self, password: str) -> None:
        with pytest.raises(ConfigError, match=r"cluster_users: app: .* 124 bytes"):
            conf_pgpool.passwords(CLUSTER, {**SECRETS, "app": password})

    def test_who_may_connect(self, files: dict[str, Any]) -> None:
        lines = files[HBA].content.splitlines()[1:]
        assert lines[0] == "local all all scram-sha-256"
        assert "hostssl postgres,repmgr pgherd_monitor 10.0.0.1/32 scram-sha-256" in lines
        assert "hostssl postgres,repmgr pgherd_monitor fd00::2/128 scram-sha-256" in lines
        assert "hostssl postgres,repmgr pgherd_monitor backup1 scram-sha-256" in lines
        # Of the networks' users nobody reaches it, whatever line lets them into all databases.
        assert lines[-3] == "host repmgr all all reject"
        assert lines[-2].startswith("host all repmgr,")
        assert lines[-2].endswith(",postgres all reject")
        assert lines[-1] == "hostssl all all 10.1.0.0/16 scram-sha-256"
        assert all(line.startswith(("hostssl ", "local ")) or line.endswith(" reject") for line in lines)

    def test_the_agent_runs_as_nobody_else(self, files: dict[str, Any]) -> None:
        unit = files[f"/etc/systemd/system/{AGENT_UNIT}"].content
        assert "\nUser=pgherd\n" in unit
        assert " /usr/bin/pgherd agent --host pool1\n" in unit
        assert "Restart=always" in unit
