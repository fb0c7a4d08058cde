# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""These tests need the core and a Kubernetes, and no host."""

from __future__ import annotations

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
for more in ("plugins/module_utils", "tests/lab", "tests/integration/change"):
    sys.path.insert(0, str(CHECKOUT / more))
