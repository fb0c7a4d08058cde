# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a person types to end a problem in a pod."""

from __future__ import annotations

from ...status.problem import LOG, RUN, Cure


def words(cure: Cure) -> str:
    """*cure* as a command of who may use kubectl. In a pod all is run by the one user that there is, and has one log."""
    if cure.do == LOG:
        return f"kubectl logs {cure.on} " + (f"--tail={cure.lines}" if cure.lines else "--follow --tail=0")
    inside = cure.what if cure.do == RUN else f"pgherd service {cure.do} {cure.what}"
    return f"kubectl exec {cure.on} -- {inside}"
