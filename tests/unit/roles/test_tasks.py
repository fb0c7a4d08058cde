# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A role's main.yml is a table of contents; what only a host needs is in its host.yml. No tasks file grows into a program, or
works out of what others have said what is done next: that is the core's."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
FILES = sorted(ROLES.glob("*/tasks/*.yml"))
CONTENTS = sorted(path.with_name("main.yml") for path in FILES if path.name == "host.yml")
# What a chapter of the table may say.
WORDS = {"name", "when", "ansible.builtin.import_tasks", "ansible.builtin.include_tasks"}


@pytest.mark.parametrize("path", CONTENTS, ids=lambda path: path.parts[-3])
def test_main_is_a_table_of_contents(path: Path) -> None:
    chapters = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [sorted(set(chapter) - WORDS) for chapter in chapters] == [[]] * len(chapters)
    assert len(chapters) <= 6


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_a_tasks_file_fits_a_screen(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert not {"ansible.builtin.set_fact", "ansible.builtin.shell", "ignore_errors"} & set(
        text.replace(":", " ").split()
    )


@pytest.mark.parametrize(
    "path",
    [*FILES, *ROLES.glob("*/vars/*.yml"), *(ROLES.parent / "playbooks").glob("*.yml")],
    ids=lambda path: "/".join(path.parts[-3:]),
)
def test_others_results_are_read_in_one_place(path: Path) -> None:
    """plugins/plugin_utils/_rollout.py. Of what two playbooks read to tell people, nothing follows for a node."""
    telling = ("reachable.yml", "health.yml")
    assert "hostvars" not in path.read_text(encoding="utf-8") or path.name in telling
