# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What is known of Pgpool-II's settings, 4.3 to 4.6: how pgpool.conf writes them, and which a reload takes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ConfigError
from .own_settings import problems

# Settings of context CFGCXT_INIT in src/config/pool_config_variables.c, of 4.3.5 and 4.6.1 together: a restart takes them.
_RESTART_SETTINGS = """
    allow_multiple_failover_requests_from_node arping_cmd arping_path authentication_timeout backend_clustering_mode
    child_life_time child_max_connections connection_cache connection_life_time delegate_ip
    enable_consensus_with_half_votes enable_shared_relcache failover_require_consensus failover_when_quorum_exists
    health_check_test if_cmd_path if_down_cmd if_up_cmd listen_addresses listen_backlog_multiplier load_balance_mode
    logdir logging_collector max_pool memory_cache_enabled memqcache_cache_block_size memqcache_expire
    memqcache_max_num_cache memqcache_maxcache memqcache_memcached_host memqcache_memcached_port memqcache_method
    memqcache_oiddir memqcache_total_size num_init_children pcp_listen_addresses pcp_port pcp_socket_dir pid_file_name
    ping_path pool_passwd port relcache_expire relcache_size replication_mode reserved_connections serialize_accept
    socket_dir ssl ssl_ca_cert ssl_ca_cert_dir ssl_cert ssl_ciphers ssl_crl_file ssl_dh_params_file ssl_ecdh_curve
    ssl_key ssl_passphrase_command ssl_prefer_server_ciphers trusted_servers unix_socket_directories unix_socket_group
    unix_socket_permissions use_watchdog wd_heartbeat_deadtime wd_heartbeat_keepalive wd_interval wd_ipc_socket_dir
    wd_life_point wd_lifecheck_method wd_lifecheck_query wd_monitoring_interfaces_list wd_priority
"""
RESTART_SETTINGS = frozenset(_RESTART_SETTINGS.split())
_DECIDES = "pgpool is told who is primary, and decides about no failover itself"
_FILES = "its place is the package's"
_TLS = "all sessions between hosts use TLS, with the host's certificate"
# Settings that are the cluster's own, by name: what is to be done in their place.
OURS: dict[str, str] = {
    "port": "set cluster_pgpool_port",
    "pcp_port": "set cluster_pcp_port",
    "backend_clustering_mode": "the servers replicate by streaming",
    **dict.fromkeys(
        ("socket_dir", "unix_socket_directories", "pcp_socket_dir", "pid_file_name", "logdir", "pool_passwd"), _FILES
    ),
    "enable_pool_hba": "set cluster_networks for who may connect",
    **dict.fromkeys(("ssl", "ssl_cert", "ssl_key", "ssl_ca_cert"), _TLS),
    **dict.fromkeys(
        (
            "failover_command",
            "failback_command",
            "follow_primary_command",
            "failover_on_backend_error",
            "failover_on_backend_shutdown",
            "detach_false_primary",
            "auto_failback",
            "use_watchdog",
            "health_check_period",
        ),
        _DECIDES,
    ),
    "sr_check_user": "it is the role that pgherd makes for it",
}


def setting_problems(settings: Mapping[str, object]) -> Iterator[str]:
    """One sentence for each of a user's *settings* of pgpool.conf that is not theirs to make. None shows a value."""
    yield from problems("cluster_pgpool_settings", OURS, settings)
    for name in settings:
        if _BACKEND_SETTING.fullmatch(str(name).lower()):
            cure = "set cluster_pgpool_weights" if "weight" in str(name).lower() else "it comes from the inventory"
            yield f"cluster_pgpool_settings: {name} is not to be set there: {cure}."


# Read again at a reload, but a backend that is in use keeps its old values: the *AssignFunc of each, same file.
_BACKEND_SETTING = re.compile(r"(backend_[a-z_]+?)(\d+)")
_FIXED = ("backend_hostname", "backend_port", "backend_data_directory")


def setting(name: str, value: object) -> str:
    """A line of pgpool.conf. Raises ConfigError for a value that the file cannot hold.

    Unlike PostgreSQL's, its quoted strings are taken as they stand: nothing is escaped, and a quote may only follow a
    backslash, which stays in the value (STRING and extract_string() in pool_config.l).
    """
    if isinstance(value, bool):
        text = "on" if value else "off"
    elif isinstance(value, (int, float)):
        text = str(value)
    else:
        text = f"'{value}'"
        if not _STRING.fullmatch(text):
            raise ConfigError(
                [
                    f"cluster_pgpool_settings: {name}: a setting of Pgpool-II is one line, and a single quote in it must "
                    f"follow a backslash, which stays in the value; change {value!r}."
                ]
            )
    return f"{name} = {text}\n"


# Lists of Pgpool-II that the user's own entries join in place of taking their place, each with what parts its entries.
JOINED = {
    "primary_routing_query_pattern_list": ";",
    "app_name_redirect_preference_list": ",",
    "database_redirect_preference_list": ",",
}
# Functions that are not volatile, by which pgpool tells those that write, and yet answer for the session, the transaction or
# the server that they run in: on a standby they fail, or speak of a session that the client knows nothing of.
_PRIMARYS_OWN = (
    "current_setting",
    "pg_backend_pid",
    "pg_current_snapshot",
    "pg_current_xact_id",
    "pg_listening_channels",
    "pg_my_temp_schema",
    "txid_current",
)


def routing(kind: str) -> dict[str, Any]:
    """Settings that say which reads may go to a standby, for a *kind* of balancing (BALANCING in inventory/values.py).

    pgpool 4.3 to 4.6 cannot keep explicit transactions on the primary: where_to_send_main_replica() in
    pool_query_context.c looks for an earlier write and for SERIALIZABLE, and pool_get_transaction_isolation() asks for the
    latter whichever attached server has the lowest number. So what can be chosen is the session.
    """
    if kind == "none":
        return {"load_balance_mode": False}
    everybody = {"database_redirect_preference_list": ".*:primary"} if kind == "named" else {}
    return {
        "load_balance_mode": True,
        # always: from its first statement that is no plain read on, also a SET, a session stays on the primary.
        "disable_load_balance_on_write": "transaction" if kind == "all" else "always",
        "primary_routing_query_pattern_list": f".*({'|'.join(_PRIMARYS_OWN)}).*",
        "app_name_redirect_preference_list": ".*primary:primary,.*standby:standby",
        **everybody,
    }


def with_users(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """*Theirs* over *ours*; in a list of :data:`JOINED` their entries come first, for the first that matches counts."""
    joined = {
        name: separator.join(str(value[name]).strip(separator) for value in (theirs, ours) if value[name])
        for name, separator in JOINED.items()
        if name in ours and name in theirs
    }
    return {**ours, **theirs, **joined}


_STRING = re.compile(r"'([^'\n\\]|\\'|\\)*'")
_LINE = re.compile(rf"\s*([A-Za-z_]\w*)\s*=?\s*({_STRING.pattern}|[^#\s]+)")


def parse_configuration(text: str) -> dict[str, str]:
    """Settings of a pgpool.conf by name; the last of a name counts, as for pgpool."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match:
            value = match.group(2)
            found[match.group(1).lower()] = value[1:-1] if value.startswith("'") else value
    return found


def needs_restart(loaded: Mapping[str, str], standing: Mapping[str, str]) -> list[str]:
    """What of *standing* settings a pgpool that runs with *loaded* ones takes only at a restart, in words.

    A new backend is taken at a reload; one that is in use keeps host, port and data directory. One whose lines are gone
    stays until a restart, which it is no reason for, since it can be detached. Any other setting whose line is gone stays
    too: a reload sets nothing back to its default.
    """
    reasons = []
    for name in sorted(set(loaded) | set(standing)):
        if loaded.get(name) == standing.get(name):
            continue
        backend = _BACKEND_SETTING.fullmatch(name)
        host = f"backend_hostname{backend.group(2)}" if backend else ""
        if backend and (host not in loaded or host not in standing):
            continue
        if backend and backend.group(1) in _FIXED:
            reasons.append(f"{name} of a backend in use changes")
        elif name in RESTART_SETTINGS:
            reasons.append(f"{name} changes")
        elif name not in standing:
            reasons.append(f"{name} goes back to its default")
    return reasons


# What a pgpool that is asked for a reload says when it has read its configuration and finds no other to signal (main.c).
NOBODY = "could not read pid file"
_SAID = re.compile(r"^.*?(?:(FATAL|ERROR|DETAIL|HINT):\s+)(.*)$", re.MULTILINE)


def refusals(log: str) -> list[str]:
    """The sentences in which a pgpool says why it cannot take its configuration."""
    found: list[str] = []
    for kind, text in _SAID.findall(log):
        if kind in ("DETAIL", "HINT") and found:
            found[-1] += f" ({text.rstrip('.')})"
        else:
            found.append(text)
    return found
