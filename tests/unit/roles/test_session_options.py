# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Sessions of others' modules begin as the core's own do: what somebody has set for all sessions is not in force there."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]


def test_modules_of_others_begin_so_too() -> None:
    """They connect as the superuser."""
    (block,) = yaml.safe_load((ROOT / "roles/postgres/tasks/objects.yml").read_text(encoding="utf-8"))
    assert block["environment"] == {"PGOPTIONS": "{{ lookup('pgherd.cluster.objects', 'options') }}"}
