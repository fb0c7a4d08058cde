# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Another primary on purpose, as plans: a switchover while there is one, a promotion by hand where there is none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from ..errors import Conflict
from ..model import Cluster
from ..plan import Plan, Step
from .choice import Found, Limits, problems
from .command import last_primary
from .handover import Handover
from .links import Links
from .promote import Promotion


def switchover(cluster: Cluster, found: Found, to: str, limits: Limits, force: bool) -> tuple[Plan, list[str]]:
    """The plan that makes *to* the primary, and what speaks against it. Raises Conflict for the latter unless *force*."""
    subject = f"primary of {cluster.name}"
    before = {"primary": found.primary}
    if to == found.primary:
        return Plan(subject, before, before), []
    said = problems(cluster, to, found, limits)
    if said and not force:
        raise Conflict(f"Switch over to {to}", "a safe handover", " ".join(said).rstrip("."))
    step = Step("switchover", f"hand over from {found.primary} to {to}", {"primary": found.primary})
    return Plan(subject, before, {"primary": to}, (step,)), said


def promotion(cluster: Cluster, me: str, links: Links, accept_loss: bool) -> tuple[Plan, str]:
    """The plan that promotes *me* where there is no primary, and what it rests on or may lose. Raises Conflict when it is
    refused: a primary answers, or rows may be lost and *accept_loss* does not allow it."""
    subject = f"primary of {cluster.name}"
    primary = last_primary(cluster, me, links)
    with closing(Promotion(cluster, me, primary, links, lambda _line: None)) as attempt:
        safe = attempt.consider(patience=1.0)
    if safe.why == f"{me} is a primary already":
        state = {"primary": me}
        return Plan(subject, state, state), ""
    before = {"primary": f"none (it was {primary})" if primary else "none"}
    if safe.allowed:
        why, loss = safe.why, False
    else:
        with closing(Promotion(cluster, me, primary, links, lambda _line: None)) as attempt:
            forced = attempt.consider(accept_loss=True, patience=1.0)
        if not forced.allowed:
            raise Conflict(f"Promote {me}", "no other primary", forced.why)
        why = f"Commits that only missing nodes have would be lost: {safe.why}."
        if not accept_loss:
            cure = "Bring them back, or say -e cluster_accept_loss=true if those commits may go."
            raise Conflict(f"Promote {me}", "a promotion that loses nothing", safe.why, cure)
        loss = True
    step = Step("promote", f"promote {me}: {why}", {"primary": primary, "accept_loss": loss})
    return Plan(subject, before, {"primary": me}, (step,)), why


class Executor:
    """Carries the plans out on the host of *me*."""

    def __init__(self, cluster: Cluster, me: str, links: Links, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._me = me
        self._links = links
        self._say = say

    def switchover(self, primary: str) -> None:
        """Take over from *primary*."""
        Handover(self._cluster, self._me, primary, self._links, self._say).run()

    def promote(self, primary: str, accept_loss: bool) -> None:
        """Take the place of *primary*, which is gone."""
        with closing(Promotion(self._cluster, self._me, primary, self._links, self._say)) as attempt:
            attempt.run("", accept_loss, 1.0)
