# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The core's folders import in one direction, the one that docs/architecture.md draws."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CORE = ROOT / "plugins/module_utils/pgherd"
LAYERS = re.findall(r"^\| `(\w+)/` \|", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_every_folder_is_drawn() -> None:
    assert sorted(LAYERS) == sorted(path.parent.name for path in CORE.glob("*/__init__.py"))


@pytest.mark.parametrize("path", sorted(CORE.glob("*/*.py")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_go_up(path: Path) -> None:
    above = LAYERS[: LAYERS.index(path.parent.name)]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.ImportFrom)
            and node.level == 2
            and (folder := (node.module or "").split(".")[0]) in LAYERS
        ):
            assert folder in above, f"line {node.lineno} imports {folder}/, which stands below"
