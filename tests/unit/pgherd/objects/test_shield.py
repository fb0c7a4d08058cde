# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a session of ours begins with: every setting that there is was looked at once, and is either fixed or harmless."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pgherd.inventory.build import Cluster
from pgherd.layout import debian
from pgherd.model import BARMAN_ROLE, BARMAN_STREAMING_ROLE, Node
from pgherd.nodes.instance import local_login
from pgherd.nodes.objects import objects
from pgherd.objects.shield import makers_options, own_settings, superusers_options
from pgherd.options import Options
from pgherd.ports.sql import FIXED, session_options
from pgherd.render.conf_postgres import settings

RECORDED = Path(__file__).parents[1] / "recorded/postgres"
PAGE = Path(__file__).resolve().parents[4] / "docs/settings.md"
CLUSTER = Cluster(
    "t",
    (Node("pg1", 1, "postgres", "pg1"), Node("w1", 2, "witness", "w1")),
    options=Options.of({"pgpool_max_clients": 1, "wal_keep_size": "1GB"}),
)
# Settings of a session that change no answer of ours, by why they do not. What is not here has to be fixed.
HARMLESS = {
    "how a plan is made, or how fast it runs": r"enable_\w+|\w+_cost|jit_\w+|geqo\w*|(from|join)_collapse_limit|\w*work_mem"
    r"|(effective|maintenance)_\w+|constraint_exclusion|cursor_tuple_fraction|default_statistics_target|temp_buffers"
    r"|hash_mem_multiplier|recursive_worktable_factor|min_parallel_\w+|max_parallel_(workers|maintenance_workers)"
    r"|(debug|force)_parallel_(query|mode)|parallel_leader_participation|synchronize_seqscans|gin_\w+|io_combine_limit"
    r"|backend_flush_after|commit_\w+|track_(functions|io_timing|wal_io_timing)|stats_fetch_consistency|compute_query_id",
    "what is logged of errors and files, and how": r"log_(error_verbosity|lock_waits|min_error_statement|min_messages|temp_files"
    r"|parameter_max_length\w*|replication_commands|(dis)?connections|statement_sample_rate)|backtrace_functions"
    r"|deadlock_timeout|debug_pretty_print|trace_\w+",
    "WAL, vacuum, recovery, large objects, the network": r"wal_\w+|vacuum_\w+|zero_damaged_pages|ignore_\w+|tcp_\w+"
    r"|lo_compat_privileges|client_connection_check_interval|post_auth_delay|max_stack_depth|temp_file_limit|temp_tablespaces"
    r"|debug_(discard_caches|logical_replication_streaming)|logical_decoding_work_mem|allow_\w+|update_process_title",
    "statements that no session of ours sends": r"array_nulls|backslash_quote|escape_string_warning|extra_float_digits"
    r"|default_text_search_config|default_toast_compression|lc_(monetary|numeric|time)|timezone_abbreviations|xmlbinary"
    r"|password_encryption|scram_iterations|createrole_self_grant|icu_validation_level|restrict_nonsystem_relation_kind"
    r"|composite_type_mismatch|dynamic_library_path|extension_destdir|output_plugin_libraries",
    "of one transaction, or said by each session itself": r"transaction_(isolation|read_only|deferrable)|application_name"
    r"|synchronous_commit|default_transaction_read_only",
    "about other sessions, which ours cannot answer for": r"track_(activities|counts)",
}


def _sessions(version: int) -> dict[str, str]:
    lines = (RECORDED / f"settings-{version}.txt").read_text(encoding="utf-8").splitlines()
    found = dict(line.split(" ") for line in lines if not line.startswith("#"))
    return {name: context for name, context in found.items() if context not in ("sighup", "postmaster", "internal")}


@pytest.mark.parametrize("version", [15, 17])
def test_every_setting_of_a_session_is_fixed_or_harmless(version: int) -> None:
    harmless = re.compile("|".join(HARMLESS.values()))
    known = {name for name in _sessions(version) if harmless.fullmatch(name)}
    fixed = {*FIXED, *own_settings(version)}
    assert sorted(set(_sessions(version)) - known - fixed) == []
    assert sorted(known & fixed) == []


@pytest.mark.parametrize("version", [15, 17])
def test_a_server_knows_what_is_said_to_it_and_lets_the_role_say_it(version: int) -> None:
    """An option that it does not know, or that is for superusers, ends a session before it has begun."""
    there = {**_sessions(version), "role": "user"}  # which no list shows
    assert {there.get(name) for name in FIXED} == {"user"}
    for name in (word.partition("=")[0] for word in superusers_options(version).replace("-c ", "").split(" ")):
        assert there.get(name) in ("user", "superuser"), name
    assert {name for name in own_settings(version) if "." not in name} <= set(there)


@pytest.mark.parametrize("version", [15, 17])
def test_by_a_role_no_list_of_libraries_is_empty(version: int) -> None:
    """ALTER ROLE makes of it a list of one empty name, and no session of the role begins any more (tried)."""
    found = own_settings(version)
    assert [name for name in found if name.endswith("_libraries") and not found[name]] == []
    assert "-c local_preload_libraries= " in session_options()


@pytest.mark.parametrize("version", [15, 17])
@pytest.mark.parametrize("node", ["pg1", "w1"])
def test_all_roles_with_sessions_have_it(version: int, node: str) -> None:
    roles = objects(CLUSTER, node, version).roles
    shielded = {role.name: role.settings for role in roles if role.name != BARMAN_STREAMING_ROLE}
    assert set(map(str, shielded.values())) == {str(own_settings(version))}
    assert (BARMAN_ROLE in shielded) == (node == "pg1")


@pytest.mark.parametrize("version", [15, 17])
def test_own_roles_come_in_without_public(version: int) -> None:
    """To every database that one of their connections names."""
    let_in = {
        (grant.role, grant.object)
        for grant in objects(CLUSTER, "pg1", version).grants
        if grant.kind == "DATABASE" and "CONNECT" in grant.privileges
    }
    assert let_in == {
        ("repmgr", "repmgr"),
        ("pgherd_agent", "repmgr"),
        ("pgherd_monitor", "repmgr"),
        ("pgherd_monitor", "postgres"),
        ("pgpool_check", "postgres"),
        ("barman", "postgres"),
    }


def test_the_superusers_session_on_a_node_is_kept_by_no_trigger_or_library() -> None:
    """With it the playbook takes back what somebody has set."""
    assert "event_triggers=off" in local_login(CLUSTER, debian(17))["options"]
    assert "session_preload_libraries= " in local_login(CLUSTER, debian(15))["options"] + " "
    assert "event_triggers" not in local_login(CLUSTER, debian(15))["options"]
    assert "event_triggers" not in makers_options(17)
    assert makers_options(17).startswith(session_options())


def test_messages_are_in_the_language_that_they_are_read_in() -> None:
    node = CLUSTER.node("pg1")
    assert settings(CLUSTER, node, 17)["lc_messages"] == "C"


def test_the_page_says_what_is_fixed() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in {*FIXED, *own_settings(17)} if f"`{name}`" not in page] == []
