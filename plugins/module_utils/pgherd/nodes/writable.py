# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""On which server roles, databases and extensions are made. Pure."""

from __future__ import annotations

from ..plan import Plan
from .instance import Instance


def writable(before: Instance, todo: Plan, after: Instance, left_alone: str, forecast: bool) -> bool:
    """Whether this server takes writes for its cluster: it runs as the primary, or as a witness's own, and nothing speaks
    against it (*left_alone*, see instance.plan()). *before* and *after* the plan *todo*. In a *forecast* (check mode), where
    *after* is as *before*, it counts too where it would come up with data of its own."""
    if left_alone:
        return False
    comes_up = bool(todo.after.get("running")) and not before.running and not before.standby
    return after.role == "primary" or (forecast and comes_up)
