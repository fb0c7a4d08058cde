# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Defaults are written where Ansible reads them and where people read them: both must say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text()) if path.exists() else {}


def options(role: str) -> dict[str, Any]:
    return load(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_documented(role: str) -> None:
    documented = {name: spec["default"] for name, spec in options(role).items() if "default" in spec}
    assert load(ROOT / "roles" / role / "defaults/main.yml") == documented


@pytest.mark.parametrize("role", ROLES)
def test_every_role_has_a_readme(role: str) -> None:
    assert (ROOT / "roles" / role / "README.md").read_text().startswith(f"# {role}\n")


def test_every_variable_is_used() -> None:
    """A variable that nothing reads promises something that does not happen."""
    sources = [path for folder in ("plugins", "roles", "playbooks") for path in (ROOT / folder).rglob("*.*")]
    text = "\n".join(
        path.read_text()
        for path in sources
        if path.suffix in (".py", ".yml") and path.name not in ("argument_specs.yml",) and "defaults" not in path.parts
    )
    for name in options("cluster"):
        option = name[len("cluster_") :]
        used = re.search(rf"\b{name}\b", text) or re.search(rf"[\"'.]{option}\b", text)
        assert used, f"{name} is documented, but nothing reads it"


def test_variables_are_documented_for_people() -> None:
    """docs/variables.md is written by tests/tools/variables_doc.py from the specification."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("variables_doc", ROOT / "tests/tools/variables_doc.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs/variables.md").read_text() == module.render(options("cluster"))
