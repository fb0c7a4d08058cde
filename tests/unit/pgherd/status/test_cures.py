# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which test runs, in that state, the cure that status prints of a problem; or why none does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
STATUS, MORE = "tests/integration/test_status.py", "tests/more/test_cures.py"
SLOTS, PLAYBOOK = "tests/more/test_cures_of_slots.py", "tests/more/test_cures_by_playbook.py"
BARMAN, PGPOOL = "tests/more/test_cures_of_barman.py", "tests/more/test_cures_of_pgpool.py"
WITNESS, METADATA = "tests/more/test_cures_of_a_witness.py", "tests/more/test_cures_of_metadata.py"
DOUBT = "tests/more/test_cures_in_doubt.py"
SMALL, IDENTITY = "molecule/change/tests/test_small.py", "tests/faults/suite/test_identity.py"
LOOK = "it is a look, and what it shows is for a person to mend"

# Several where the cure differs by the state. A reason is a sentence with spaces; "untried:" begins one that is a debt.
CURES: dict[str, tuple[str, ...]] = {
    "archive-behind": (f"{BARMAN}::test_an_archive_that_is_behind",),
    "archive-failing": (LOOK,),
    "authority-ends": ("another authority is put beside it by a person first: docs/security.md",),
    "backend-down": (f"{STATUS}::test_a_backend_taken_out",),
    "backend-missing": (f"{PGPOOL}::test_a_backend_that_is_missing",),
    "backend-stale": (f"{PGPOOL}::test_a_backend_of_a_node_that_is_down",),
    "backup-old": (f"{BARMAN}::test_an_old_backup",),
    "barman-check": (LOOK,),
    "barman-not-receiving": (f"{STATUS}::test_no_wal_is_received",),
    "barman-unreadable": (
        f"{STATUS}::test_a_barman_host_whose_agent_is_silent",
        f"{BARMAN}::test_a_catalogue_that_could_not_be_read",
        f"{BARMAN}::test_an_agent_that_shows_a_strangers_certificate",
    ),
    "certificate-ends": (f"{PLAYBOOK}::test_what_is_stated_again",),
    "certificate-refused": (f"{BARMAN}::test_an_agent_that_shows_a_strangers_certificate",),
    "collation-differs": (LOOK,),
    "collation-version": (f"{MORE}::test_a_collation_that_has_changed",),
    "details-unreadable": (
        f"{PLAYBOOK}::test_a_right_that_everybody_had",
        f"{METADATA}::test_a_table_that_somebody_holds",
    ),
    "fenced": (f"{STATUS}::test_a_primary_that_stays_fenced", f"{MORE}::test_too_few_standbys"),
    "foreign-sender": (LOOK,),
    "lag": (f"{STATUS}::test_a_standby_lags", LOOK),
    "metadata-inactive": (f"{STATUS}::test_a_row_that_is_wrong", f"{WITNESS}::test_a_witness_called_inactive"),
    "metadata-role": (
        f"{STATUS}::test_a_row_that_is_wrong",
        f"{WITNESS}::test_a_witness_called_a_standby",
        f"{WITNESS}::test_a_witness_called_a_primary",
        f"{METADATA}::test_a_node_that_was_given_another_id",
    ),
    "metadata-stranger": (
        f"{STATUS}::test_a_node_that_nobody_knows",
        f"{METADATA}::test_a_stranger_that_is_called_a_primary",
    ),
    "metadata-unreadable": (
        f"{METADATA}::test_a_table_that_somebody_holds",
        f"{PLAYBOOK}::test_a_role_that_may_not_look",
    ),
    "no-backup": (f"{STATUS}::test_backups_missing",),
    "no-primary": (
        f"{MORE}::test_no_primary",
        f"{MORE}::test_no_primary_where_the_last_one_runs_as_a_standby",
        f"{MORE}::test_no_primary_where_too_few_are_there_for_an_election",
        f"{MORE}::test_a_primary_that_is_left_behind",
    ),
    "no-standby": (f"{MORE}::test_too_few_standbys",),
    "node-down": (
        f"{STATUS}::test_a_standby_stopped",
        f"{MORE}::test_a_second_primary",
        f"{PLAYBOOK}::test_a_tablespace_that_was_made_by_sql",
        f"{PLAYBOOK}::test_a_limit_that_the_primary_has_raised",
        f"{WITNESS}::test_a_witness_whose_server_is_stopped",
        f"{PLAYBOOK}::test_a_right_without_which_nothing_is_known",
        f"{PLAYBOOK}::test_nodes_that_let_nobody_look",
        f"{PLAYBOOK}::test_a_role_that_may_not_look",
        LOOK,
    ),
    "node-starting": (LOOK,),
    "not-admitted": (f"{IDENTITY}::test_a_name_is_not_an_identity", LOOK),
    "not-registered": (f"{PLAYBOOK}::test_what_is_stated_again", f"{WITNESS}::test_a_witness_called_a_standby"),
    "not-streaming": (
        f"{MORE}::test_a_standby_that_does_not_stream",
        f"{MORE}::test_a_standby_whose_slot_is_gone",
        f"{MORE}::test_a_standby_below_one_that_does_not_stream",
    ),
    "nothing-reachable": (LOOK,),
    "password-ends": (f"{STATUS}::test_a_password_that_ends", f"{PLAYBOOK}::test_what_is_stated_again"),
    "pending-restart": (
        f"{PLAYBOOK}::test_what_is_stated_again",
        f"{PLAYBOOK}::test_a_limit_that_the_primary_has_raised",
    ),
    "pgpool-down": (f"{STATUS}::test_a_pgpool_stopped", f"{PGPOOL}::test_pgpools_that_let_nobody_look"),
    "pgpool-primary": (f"{PGPOOL}::test_a_pgpool_without_the_primary",),
    "replay-paused": (f"{STATUS}::test_replay_paused", f"{PLAYBOOK}::test_a_limit_that_the_primary_has_raised"),
    "repmgrd-down": (
        f"{STATUS}::test_repmgrd_paused_and_stopped",
        f"{WITNESS}::test_a_witness_without_repmgrd",
    ),
    "repmgrd-paused": (f"{STATUS}::test_repmgrd_paused_and_stopped",),
    "slot-inactive": (
        f"{STATUS}::test_a_slot_of_nobody",
        f"{SLOTS}::test_a_slot_that_its_owner_does_not_read",
        f"{BARMAN}::test_barmans_slot_that_is_not_read",
    ),
    "slot-losing": (f"{SLOTS}::test_a_slot_that_is_about_to_lose_wal",),
    "slot-lost": (
        f"{SLOTS}::test_a_slot_that_has_lost_what_its_owner_needs",
        f"{SLOTS}::test_a_slot_of_nobody_that_has_lost_wal",
        f"{BARMAN}::test_barmans_slot_that_has_lost_wal",
    ),
    "stale-primary": (
        f"{MORE}::test_a_primary_that_is_left_behind",
        f"{DOUBT}::test_a_primary_on_an_older_timeline_where_the_number_of_confirmations_is_in_doubt",
    ),
    "sync-missing": (f"{MORE}::test_too_few_standbys",),
    "sync-names": (
        f"{PLAYBOOK}::test_what_is_stated_again",
        f"{PLAYBOOK}::test_names_that_alter_system_has_set",
    ),
    "sync-no-spare": (f"{MORE}::test_too_few_standbys", f"{MORE}::test_another_upstream"),
    "sync-unfinished": (f"{PLAYBOOK}::test_an_electable_node_that_could_not_be_told",),
    "system-id": (
        f"{SMALL}::test_a_node_with_another_cluster_is_never_replaced_unasked",
        f"{PLAYBOOK}::test_a_node_that_serves_another_clusters_data",
    ),
    "timeline-behind": (f"{MORE}::test_a_timeline_that_is_behind",),
    "two-primaries": (
        f"{MORE}::test_a_second_primary",
        f"{PLAYBOOK}::test_a_node_that_serves_another_clusters_data",
        f"{DOUBT}::test_two_that_nothing_tells_apart",
        f"{DOUBT}::test_a_second_primary_where_the_number_of_confirmations_is_in_doubt",
    ),
    "wrong-upstream": (f"{MORE}::test_another_upstream",),
}


def test_every_problem_has_a_test_of_its_cure_or_a_reason() -> None:
    page = (ROOT / "docs/status.md").read_text()
    assert set(CURES) == set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE))
    assert all(CURES.values())


@pytest.mark.parametrize("named", sorted({name for names in CURES.values() for name in names if "::" in name}))
def test_that_test_is_there(named: str) -> None:
    path, _colons, function = named.partition("::")
    assert f"\ndef {function}(" in (ROOT / path).read_text()
