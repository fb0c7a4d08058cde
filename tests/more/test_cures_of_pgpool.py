# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Cures of what the pgpools say, run in exactly that state."""

from __future__ import annotations

import pytest
from curing import another_certificate, backend, by_playbook, cured, left_alone, show_certificate
from deployed import until
from herd import Document, Herd, cure, group, on, problem, said, status, wait

pytestmark = pytest.mark.more


def pcp(pool: str, program: str, number: int) -> None:
    """Have a backend attached or detached by hand."""
    login = ("-h", "localhost", "-U", "pgherd", "-w", "-n", str(number))
    on(pool, "env", "PCPPASSFILE=/etc/pgherd/pcp.pass", program, *login)


def test_a_backend_of_a_node_that_is_down(herd: Herd) -> None:
    """Somebody has attached it, and pgpool has not seen yet that nobody answers there."""
    pool = group("pgpool")[-1]
    number = backend(herd, pool, herd.leaf)

    def stale() -> Document | None:
        pcp(pool, "pcp_attach_node", number)
        document = status(herd.primary)[1]
        return document if ("backend-stale", pool) in said(document) else None

    with left_alone(pool, units=("pgherd-agent",)):
        on(herd.leaf, "systemctl", "stop", herd.unit())
        try:
            document = until("a backend that is down, and is attached", stale, 60.0)
            assert document is not None
            found = problem(document, "backend-stale", pool)
            assert "pcp_detach_node" in found["cure"]["command"]
            cure(found)
            wait(herd.primary, lambda seen: ("backend-stale", pool) not in said(seen))
        finally:
            on(herd.leaf, "systemctl", "start", herd.unit())


def test_a_pgpool_without_the_primary(herd: Herd) -> None:
    pool = group("pgpool")[-1]
    number = backend(herd, pool, herd.primary)
    with left_alone(pool, units=("pgherd-agent",)):
        pcp(pool, "pcp_detach_node", number)
        assert cured(herd, "pgpool-primary", pool) == "systemctl restart pgpool2"


def test_a_backend_that_is_missing(herd: Herd) -> None:
    pool = group("pgpool")[-1]
    number = backend(herd, pool, herd.leaf)
    with left_alone(pool, units=("pgherd-agent",)):
        on(pool, "sed", "-i", f"/^backend_[a-z_]*{number} *=/d", "/etc/pgpool2/pgpool.conf")
        on(pool, "systemctl", "restart", "pgpool2")
        by_playbook(herd, ("backend-missing", pool))


def test_pgpools_that_let_nobody_look(herd: Herd) -> None:
    """One rejects where we come from, the other one shows a stranger's certificate."""
    first, last = group("pgpool")[0], group("pgpool")[-1]
    on(first, "sed", "-i", "1i hostssl all pgherd_monitor all reject", "/etc/pgpool2/pool_hba.conf")
    on(first, "systemctl", "reload", "pgpool2")
    show_certificate(last, another_certificate(last, 300, trusted=False), "pgpool2")
    by_playbook(herd, *(("pgpool-down", pool) for pool in (first, last)), ("certificate-refused", last))
