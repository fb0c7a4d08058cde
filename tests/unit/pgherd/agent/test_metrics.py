# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The metrics: what stands in them, what is left out, and that Prometheus and the documentation read the same."""

from __future__ import annotations

import builtins
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pgherd.agent.exposition import Exposition
from pgherd.agent.health_part import details
from pgherd.agent.metrics import METRICS, NAMES, samples, table
from pgherd.agent.seen import DETAILS, NODE, PGPOOL, Details
from pgherd.description import Told
from pgherd.errors import PgherdError
from pgherd.observe.node_state import Stranger
from pgherd.observe.topology import Lag
from pgherd.observe.views import Sender, Slot
from pgherd.programs.barman_view import Backup, Check
from prometheus_client.parser import text_string_to_metric_families
from test_health import CLOCK, CLUSTER, DETACHED, NOTHING, NOW, PRIMARY, VOICES, barman, node, pool

ROOT = Path(__file__).resolve().parents[4]
SENDERS = (
    Sender("pg2", "streaming", "quorum", "10.0.0.2", 0, 0.01),
    Sender("pg3", "catchup", "async", "10.0.0.3", 4096, None),
    Sender("pg_basebackup", "backup"),
)
SLOTS = (Slot("repmgr_slot_2", "physical", True, "reserved", 64), Slot("old", "logical", False, "lost", None))
FULL = Details(NOW - 1, SENDERS, SLOTS, 2, False, 12.0, True)
BACKUPS = (Backup("2", "FAILED"), Backup("1", "DONE", end=CLOCK - 60, size=1000, begin=CLOCK - 90))


def flat(seen: Any) -> dict[str, float]:
    """The samples, as Prometheus writes them but for its own words."""
    return {
        name.removeprefix("pgherd_") + "".join(f"{{{label}}}" for label in labels): value
        for name, values in samples(CLUSTER, seen).items()
        for labels, value in values.items()
    }


def test_a_primary() -> None:
    seen = replace(
        node("pg1", decided={"lift": 5.0}), details=FULL, changed=2, changed_at=7.0, begun={"node": NOW - 0.5}
    )
    found = flat(
        replace(seen, commands={"validate": (8.0, 1)}, started=3.0, unanswered={"late": 4}, refused={"right": 2})
    )
    assert found == {
        "health": 1,
        "ready": 1,
        "agent_unanswered_total{late}": 4,
        "peer_refused_total{right}": 2,
        "primary": 1,
        "replica": 0,
        "in_recovery": 0,
        "fenced": 0,
        "sealed": 0,
        "timeline": 3,
        "position_bytes": 0x5000000,
        "sync_standbys": 2,
        "sync_standbys_needed": 1,
        "primaries": 1,
        "foreign_senders": 0,
        "nodes_answering": 5,
        "nodes_configured": 5,
        **{f"node_answers{{{name}}}": 1 for name in VOICES},
        "agent_started_timestamp_seconds": 3,
        "agent_tick_age_seconds{node}": 0.5,
        "primary_changes_total": 2,
        "primary_changed_timestamp_seconds": 7,
        "sender_streaming{pg2}": 1,
        "sender_sync{pg2}": 1,
        "sender_lag_bytes{pg2}": 0,
        "sender_lag_seconds{pg2}": 0.01,
        "sender_streaming{pg3}": 0,
        "sender_sync{pg3}": 0,
        "sender_lag_bytes{pg3}": 4096,
        "slot_active{repmgr_slot_2}": 1,
        "slot_lost{repmgr_slot_2}": 0,
        "slot_retained_bytes{repmgr_slot_2}": 64,
        "slot_active{old}": 0,
        "slot_lost{old}": 1,
        "pending_restart_settings": 2,
        "archive_age_seconds": 12,
        "archive_failing": 1,
        **{f"job_running{{{job}}}": 0 for job in ("switchover", "follow", "rejoin", "elect", "start")},
        "decision_timestamp_seconds{lift}": 5,
        "repmgrd_running": 1,
        "repmgrd_paused": 0,
        "command_timestamp_seconds{validate}": 8,
        "command_exit_code{validate}": 1,
    }


def test_passwords_that_end() -> None:
    assert flat(replace(node("pg2"), passwords={"app": 9.0}))["role_password_not_after_timestamp_seconds{app}"] == 9


@pytest.mark.parametrize("refused", ["", "4567"])
def test_the_description(refused: str) -> None:
    found = flat(replace(node("pg2"), description=Told("0123", refused)))
    assert found["description_info{0123}{1}"] == 1
    assert found["description_refused"] == bool(refused)
    assert "description_refused" not in flat(node("pg2"))


def test_a_standby() -> None:
    state = replace(VOICES["pg2"], receive_lsn="0/4FFFF00", replay_lsn="0/4FFFE00", upstream_seen_age=1)
    found = flat(node("pg2", lag=Lag(512, 1.5), pg2=state, job="rejoin"))
    wanted = {
        "primary": 0,
        "replica": 1,
        "streaming": 1,
        "lag_bytes": 512,
        "lag_seconds": 1.5,
        "receive_lag_bytes": 256,
    }
    wanted |= {"repmgrd_upstream_age_seconds": 1, "job_running{rejoin}": 1, "job_running{elect}": 0}
    assert wanted.items() <= found.items()
    assert "sync_standbys" not in found


def test_what_is_not_known_has_no_sample() -> None:
    always = {
        *("agent_started_timestamp_seconds", "primary_changes_total", "nodes_configured", "sync_standbys_needed"),
    }
    assert set(flat(NOTHING)) == always
    assert set(flat(replace(node("pg1", age=NODE + 1), details=replace(FULL, at=NOW - DETAILS - 1)))) == always
    assert set(flat(pool(age=PGPOOL + 1))) == {"agent_started_timestamp_seconds", "primary_changes_total"}
    down = flat(node("pg1", without=("pg1",)))
    assert (down["health"], down["primary"], down["replica"]) == (0, 0, 0)
    assert not {"timeline", "fenced", "in_recovery", "repmgrd_running"} & set(down)
    lost = flat(node("pg2", lag=Lag(None, None), primary="", without=("pg1",)))
    assert lost["replica"] == 0
    assert not {"lag_bytes", "lag_seconds", "receive_lag_bytes", "sync_standbys"} & set(lost)
    assert set(flat(barman(collected_at=CLOCK - 99))) == {"agent_started_timestamp_seconds"}


def test_two_primaries_are_counted() -> None:
    assert flat(node("pg1", pg2=replace(PRIMARY, name="pg2")))["primaries"] == 2


def test_a_witness() -> None:
    found = flat(replace(node("w1"), details=FULL))
    assert (found["health"], found["ready"], found["repmgrd_running"], found["repmgrd_paused"]) == (1, 1, 1, 0)
    assert not {"timeline", "primary", "in_recovery", "lag_bytes"} & set(found)


def test_a_pgpool() -> None:
    found = flat(pool(table=DETACHED))
    wanted = {"health": 1, "ready": 0, "pgpool_backends": 2, "pgpool_changes_pending": 0}
    wanted |= {"pgpool_backend_attached{pg1}": 0, "pgpool_backend_attached{pg2}": 1}
    wanted |= {"pgpool_backend_primary{pg1}": 0, "pgpool_backend_primary{pg2}": 0}
    assert wanted.items() <= found.items()
    assert flat(pool())["pgpool_backend_primary{pg1}"] == 1
    assert "pgpool_backends" not in flat(pool(listens=False))


def test_a_barman() -> None:
    more = {"last_wal": "000000030000000000000005", "last_wal_at": CLOCK - 30, "receiving_at": CLOCK - 2}
    checks = (Check("ssh", True), Check("space", False))
    found = flat(barman(backups=BACKUPS, checks=checks, checked_at=CLOCK - 9, **more))
    assert {name.removeprefix("barman_"): value for name, value in found.items() if "barman" in name} == {
        "receiving": 1,
        "received_age_seconds": 2,
        "archive_age_seconds": 30,
        "timeline": 3,
        "backups": 1,
        "backup_age_seconds": 60,
        "backup_size_bytes": 1000,
        "recoverable_age_seconds": 60,
        "checks_failed": 1,
        "checks_age_seconds": 9,
    }
    none = flat(barman())
    assert not {"barman_backups", "barman_checks_failed", "barman_backup_age_seconds"} & set(none)


def test_prometheus_reads_them() -> None:
    seen = replace(node("pg1"), details=FULL, changed=2)
    answer = Exposition(lambda: samples(CLUSTER, seen)).answer()
    assert answer.status == 200
    assert answer.kind.startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.body)}
    assert families["pgherd_primary_changes"].type == "counter"
    assert families["pgherd_lag_bytes" if "pgherd_lag_bytes" in families else "pgherd_primary"].type == "gauge"
    read = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for name, family in families.items()
        if name.startswith("pgherd_")
        for sample in family.samples
    }
    assert read == {
        (name, labels): v for name, values in samples(CLUSTER, seen).items() for labels, v in values.items()
    }
    assert "process_resident_memory_bytes" in families


def test_the_process_is_registered_once() -> None:
    exposition = Exposition(lambda: samples(CLUSTER, NOTHING))
    assert exposition.answer().body.count("# TYPE process_cpu_seconds_total") == 1
    assert exposition.answer().body.count("# TYPE process_cpu_seconds_total") == 1


def test_without_the_library_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("prometheus_client"):
            raise ImportError("No module named 'prometheus_client'")
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PgherdError, match="Install python3-prometheus-client"):
        Exposition(dict).answer()


def test_names() -> None:
    assert len(NAMES) == len(METRICS)
    for metric in METRICS:
        # A role, and what changes with it, is a value: as a label it would end the series.
        assert not {"role", "state", "timeline", "primary", "sync_state"} & set(metric.labels), metric.name
        assert metric.counter == metric.name.endswith("_total")
        assert ("seconds" in metric.name) == ("second" in metric.help), metric.name
        assert ("bytes" in metric.name) == ("bytes" in metric.help), metric.name


def test_every_metric_is_produced() -> None:
    """No name stands in the documentation that no host ever has."""
    worlds = [
        replace(node("pg1", decided={"lift": 5.0}), details=FULL, changed_at=7.0, begun={"node": NOW}),
        replace(node("pg1"), unanswered={"late": 0}, refused={"right": 0}),
        replace(node("pg2", pg2=replace(VOICES["pg2"], upstream_seen_age=1)), commands={"follow": (1.0, 0)}),
        replace(pool(), certificates={"server": 1.0}),
        replace(node("pg2"), passwords={"app": 1.0}, description=Told("0123")),
        barman(backups=BACKUPS, checks=(), checked_at=CLOCK, last_wal_at=CLOCK, receiving_at=CLOCK),
    ]
    produced = {name: seen.kind for seen in worlds for name in samples(CLUSTER, seen)}
    assert set(produced) == set(NAMES)
    for seen in worlds:
        for name in samples(CLUSTER, seen):
            assert seen.kind in NAMES[name].hosts, (name, seen.kind)


def test_documented() -> None:
    """tests/tools/metrics_doc.py writes the table."""
    assert table() in (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")


def test_details() -> None:
    row = {
        "senders": '[{"application_name": "pg2", "state": "streaming", "sync_state": "quorum", "lag_bytes": 7}]',
        "slots": '[{"name": "s", "type": "physical", "active": true, "wal_status": "reserved", "retained_bytes": 1}]',
        "pending_restart": '["shared_buffers"]',
        "copies": "[]",
        "archive_failing_since": None,
        "paused": None,
        "archived_age": 3.0,
        "archives": True,
    }
    found = details(5.0, row)
    assert (found.senders[0].lag_bytes, found.slots[0].retained_bytes, found.pending_restart) == (7, 1, 1)
    assert (found.paused, found.archived_age, found.archive_failing) == (None, 3.0, False)
    off = details(5.0, {**row, "archives": False, "archive_failing_since": 1.0})
    assert (off.archived_age, off.archive_failing) == (None, None)


def test_a_false_standby_is_counted_and_no_sender() -> None:
    false = replace(SENDERS[0], application_name="PG3", role="streaming_barman")
    mine = replace(VOICES["pg1"], strangers=(Stranger(8, "streaming_barman", "PG3"),))
    found = flat(replace(node("pg1", pg1=mine), details=replace(FULL, senders=(*SENDERS, false))))
    assert found["foreign_senders"] == 1
    assert not [name for name in found if "PG3" in name]
