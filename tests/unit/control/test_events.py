# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What Kubernetes says of pods that are waited for is told once, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.pgherd.cluster.plugins.plugin_utils._events import MOST, explained

CLASS = 'storageclass.storage.k8s.io "nowhere" not found'
PENDING = "pg-0: it has no machine, 0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."


def event(name: str, message: str, kind: str = "Pod", at: str = "2026-11-30T10:00:00Z", **more: Any) -> dict[str, Any]:
    about = {"kind": kind, "name": name}
    return {
        "involvedObject": about,
        "type": "Warning",
        "reason": "Why",
        "message": message,
        "lastTimestamp": at,
        **more,
    }


CLAIM = "PersistentVolumeClaim"


@pytest.mark.parametrize(
    ("waits", "events", "said"),
    [
        ([PENDING], [event("data-pg-0", CLASS, CLAIM)], [f"Kubernetes says of data-pg-0, Why: {CLASS}."]),
        ([PENDING], [], []),
        # Of another pod, of another set, and of no pod.
        ([PENDING], [event("data-pg-1", CLASS, CLAIM), event("data-bpg-0x", CLASS, CLAIM), event("pg", "no")], []),
        # The last word counts, and a warning alone.
        (
            ["pg-0: it is Pending, and its container node does not run."],
            [
                event("pg-0", "MountVolume failed.", at="2026-11-30T10:00:09Z"),
                event("pg-0", "an older one", at="2026-11-30T09:59:00Z"),
                event("pg-0", "Scheduled", at="2026-11-30T10:01:00Z", type="Normal"),
            ],
            ["Kubernetes says of pg-0, Why: MountVolume failed."],
        ),
        # What the wait says itself.
        ([PENDING], [event("pg-0", PENDING.partition("machine, ")[2])], []),
        # A pgpool's pods have no names that stay.
        (
            ["pool: 0 of 2 pods are ready."],
            [event("pool-7d4b-x2z9q", "Back-off"), event("pool-7d4b", "no room", "ReplicaSet")],
            ["Kubernetes says of pool-7d4b-x2z9q, Why: Back-off.", "Kubernetes says of pool-7d4b, Why: no room."],
        ),
        # Each in its own words of the same: one is enough.
        (
            [PENDING, PENDING.replace("pg-0", "pg-1")],
            [event(f"data-pg-{number}", f"data-pg-{number} is too large", CLAIM) for number in (0, 1)],
            ["Kubernetes says of data-pg-0, Why: data-pg-0 is too large."],
        ),
        ([PENDING], [{"type": "Warning"}], []),
        # A newer kind of Event has no lastTimestamp, and its text may have more than one line.
        (
            [PENDING],
            [
                event("pg-0", "first", lastTimestamp=None, eventTime="2026-11-30T10:00:00.000000Z"),
                event("pg-0", "last\n  of all", lastTimestamp=None, eventTime="2026-11-30T10:00:01.000000Z"),
            ],
            ["Kubernetes says of pg-0, Why: last of all."],
        ),
    ],
)
def test_what_is_told(waits: list[str], events: list[dict[str, Any]], said: list[str]) -> None:
    assert explained(waits, events) == said


def test_many_are_not_all_told() -> None:
    waits = [PENDING.replace("pg-0", f"pg-{number}") for number in range(9)]
    events = [event(f"pg-{number}", f"because of {number * 'x'}") for number in range(9)]
    assert len(explained(waits, events)) == MOST
