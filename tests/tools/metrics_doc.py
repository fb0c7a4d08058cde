# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Writes the table of docs/monitoring.md from the metrics of the agent."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "plugins/module_utils"))

from pgherd.agent.metrics import table  # noqa: E402  # only found there

if __name__ == "__main__":
    page = ROOT / "docs/monitoring.md"
    text = page.read_text(encoding="utf-8")
    found = re.compile(r"^\| metric \|.*?\n(?!\|)", re.DOTALL | re.MULTILINE)
    page.write_text(found.sub(lambda _match: table() + "\n", text, count=1), encoding="utf-8")
