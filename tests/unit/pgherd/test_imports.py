# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What modules and plugins import from the core is there: on hosts a missing name is seen when a task runs."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
OUTSIDE = sorted(path for path in PLUGINS.rglob("*.py") if "pgherd" not in path.relative_to(PLUGINS).parts)
CORE = re.compile(r"(?:ansible_collections\.pgherd\.cluster\.plugins\.module_utils\.)?(pgherd\b.*)")


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_names_are_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        found = CORE.fullmatch(node.module or "") if isinstance(node, ast.ImportFrom) else None
        if found and isinstance(node, ast.ImportFrom):
            module = importlib.import_module(found.group(1))
            for alias in node.names:
                inside = hasattr(module, "__path__") and importlib.util.find_spec(f"{found.group(1)}.{alias.name}")
                assert hasattr(module, alias.name) or inside, (
                    f"line {node.lineno}: {alias.name} is not in {found.group(1)}"
                )
