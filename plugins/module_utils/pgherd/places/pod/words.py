# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a person types to end a problem in a pod."""

from __future__ import annotations

from ...status.problem import LOG, RUN, Cure


def words(cure: Cure, namespace: str, deployed: bool = False) -> str:
    """*cure* as a command of who may use kubectl in the *namespace*. In a pod all is run by the one user that there is, and has
    one log. *deployed*: it is for the pods of a Deployment, whose names nobody knows; kubectl takes one of them."""
    kubectl = f"kubectl -n {namespace}"
    on = f"deploy/{cure.on}" if deployed else cure.on
    if cure.do == LOG:
        return f"{kubectl} logs {on} " + (f"--tail={cure.lines}" if cure.lines else "--follow --tail=0")
    inside = cure.what if cure.do == RUN else f"pgherd service {cure.do} {cure.what}"
    return f"{kubectl} exec {on} -- {inside}"
