# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""All that is wrong with a cluster, from what was observed and what was wanted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..model import Cluster
from ..observe.topology import Topology
from . import (
    checks_certificates,
    checks_collations,
    checks_passwords,
    checks_postgres,
    checks_primary,
    checks_repmgr,
    checks_services,
    checks_slots,
)
from .problem import CRITICAL, SITE, UNKNOWN, WARNING, Problem, Thresholds

# As Nagios and ``repmgr node check`` have them.
EXIT_CODES = {CRITICAL: 2, WARNING: 1, UNKNOWN: 3}
DEFAULTS = Thresholds()


def problems(cluster: Cluster, topology: Topology, limits: Thresholds = DEFAULTS) -> tuple[Problem, ...]:
    """All problems, the worst first, in a stable order."""
    found: list[Problem] = []
    checks: tuple[Iterable[Problem], ...] = (
        checks_primary.primaries(cluster, topology),
        checks_postgres.foreign(cluster, topology),
        checks_postgres.durability(cluster, topology),
        checks_primary.reachability(cluster, topology),
        checks_postgres.standbys(cluster, topology, limits),
        checks_postgres.identities(cluster, topology),
        checks_services.pgpools(cluster, topology),
        checks_services.barmans(cluster, topology, limits),
        checks_repmgr.daemons(topology),
        checks_repmgr.metadata(cluster, topology),
        checks_slots.slots(cluster, topology, limits),
        checks_postgres.upkeep(topology),
        checks_collations.collations(topology),
        checks_certificates.certificates(topology, limits),
        checks_passwords.passwords(cluster, topology, limits),
    )
    for check in checks:
        found += check
    return tuple(sorted(_in_turn(found), key=lambda problem: list(EXIT_CODES).index(problem.severity)))


def _in_turn(found: Sequence[Problem]) -> list[Problem]:
    """The same, with another cure where the site playbook is one and would refuse: it writes to none of two primaries."""
    first = next((one.cure for one in found if one.id == "two-primaries"), None)
    return [replace(one, cure=first) if first and one.cure.what.startswith(SITE.what) else one for one in found]


def exit_code(found: Sequence[Problem]) -> int:
    """0 healthy, 1 warning, 2 critical, 3 when nothing is known to be wrong but something could not be read."""
    return next((code for severity, code in EXIT_CODES.items() if any(p.severity == severity for p in found)), 0)
