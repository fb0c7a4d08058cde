# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Passwords that end: a role logs in no more from that moment on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from ..model import SYSTEM_ROLES, Cluster
from ..observe.topology import Topology
from ..ports.identity import POSTGRES as OWNER
from ..ports.sql import quote
from .problem import CRITICAL, SITE, WARNING, Cure, Problem, Thresholds, duration, psql


def passwords(cluster: Cluster, topology: Topology, limits: Thresholds) -> Iterator[Problem]:
    """Those of the cluster's own roles, and of cluster_users: of others nobody here knows whether they are to end."""
    users = {user["name"] for user in cluster.options.users}
    for node in topology.nodes:
        postgres = node.postgres
        if not postgres or postgres.in_recovery:
            continue
        for role, end in sorted((postgres.password_ends or {}).items()):
            left = end - topology.seen_at
            if left >= limits.certificate_warning or role not in (*SYSTEM_ROLES, *users):
                continue
            text = f"the password of role {role} " + (
                f"ended {duration(-left)} ago" if left <= 0 else f"ends in {duration(left)}"
            )
            if role in SYSTEM_ROLES:
                severity = CRITICAL if left < limits.certificate_critical else WARNING
                yield Problem("password-ends", severity, node.name, text, SITE)
            else:
                yield Problem("password-ends", WARNING, node.name, text, _endless(node.name, role))


def _endless(node: str, role: str) -> Cure:
    if re.fullmatch(r"[a-z_][a-z0-9_]*", role):
        return psql(node, f"ALTER ROLE {role} VALID UNTIL 'infinity'")
    return Cure("psql -c " + shlex.quote(f"ALTER ROLE {quote(role)} VALID UNTIL 'infinity'"), node, user=OWNER)
