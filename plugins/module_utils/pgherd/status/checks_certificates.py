# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Certificates that end: every connection of the cluster is verified by them, so the last day would end them all."""

from __future__ import annotations

from collections.abc import Iterator

from ..observe.topology import Topology
from ..observe.views import CertificateSeen
from .problem import CRITICAL, SITE, WARNING, Problem, Thresholds, duration


def certificates(topology: Topology, limits: Thresholds) -> Iterator[Problem]:
    """Those that have ended or will soon, and those that are not accepted."""
    for seen in topology.certificates:
        if seen.why:
            text = f"the certificate of {seen.host} is not accepted: {seen.why}"
            yield Problem("certificate-refused", CRITICAL, seen.host, text, SITE)
        elif seen.ends is not None:
            yield from _end(topology, seen, seen.ends - topology.seen_at, limits)


def _end(topology: Topology, seen: CertificateSeen, left: float, limits: Thresholds) -> Iterator[Problem]:
    if left >= limits.certificate_warning:
        return
    when = f"ended {duration(-left)} ago" if left <= 0 else f"ends in {duration(left)}"
    severity = CRITICAL if left < limits.certificate_critical else WARNING
    if seen.host:
        yield Problem("certificate-ends", severity, seen.host, f"the certificate of {seen.host} {when}", SITE)
    else:
        text = f"the certificate authority {when}; put another beside it first (docs/security.md)"
        yield Problem("authority-ends", severity, "", text, SITE)
