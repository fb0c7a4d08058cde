# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Runs after all others: the cluster is as the inventory wants it, whatever the tests did to it."""

from __future__ import annotations

import re

from deployed import Deployed, why


def test_check_foretells_nothing(cluster: Deployed) -> None:
    """`--check --diff` on the converged cluster: no change on any host, and no line of a difference."""
    done = cluster.play("--check", "--diff")
    assert done.returncode == 0, why(done)
    recap = dict(re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", done.stdout, re.M))
    assert recap == dict.fromkeys(cluster.hosts, "0"), re.findall(r"^(?:TASK|changed:) .*", done.stdout, re.M)
    assert re.findall(r"^(?:--- before|\+\+\+ after).*", done.stdout, re.M) == []
    assert re.search(rf"^{cluster.wanted('name')}  HEALTHY  ", done.stdout, re.M)
