# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Secrets as the agent reads them: copies that are its own."""

from __future__ import annotations

import os

from ..model import AGENT_DIRECTORY


def secret_file(path: str) -> str:
    """Where this process reads the file *path* that others on the host read too: its user's own copy, where it has one."""
    copy = os.path.join(AGENT_DIRECTORY, os.path.basename(path))
    return copy if os.access(copy, os.R_OK) else path
