# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Another primary on purpose, as plans: a switchover while there is one, a promotion by hand where there is none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from ..errors import Conflict
from ..model import Cluster
from ..observe.identity import Confirmed
from ..plan import Plan, Step
from ..ports.links import Links
from .choice import SwitchoverFacts, SwitchoverLimits, problems
from .command import is_standby, last_primary
from .election import ElectionVerdict
from .handover import Handover
from .promote import Promotion


def switchover(
    cluster: Cluster, found: SwitchoverFacts, to: str, limits: SwitchoverLimits, force: bool
) -> tuple[Plan, list[str]]:
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
        why = safe.why
    else:
        with closing(Promotion(cluster, me, primary, links, lambda _line: None)) as attempt:
            forced = attempt.consider(accept_loss=True, patience=1.0)
        if not forced.allowed:
            raise Conflict(f"Promote {me}", "no other primary", forced.why)
        why = f"Commits that only missing nodes have would be lost: {safe.why}."
        if not accept_loss:
            cure = (
                "Bring them back, or say -e cluster_accept_loss=true (pgherd promote: --accept-loss) if those may go."
            )
            raise Conflict(f"Promote {me}", "a promotion that loses nothing", safe.why, cure)
    # What does it may know more, and find unsafe what looks safe from here: it decides whether the word is needed.
    step = Step("promote", f"promote {me}: {why}", {"primary": primary, "accept_loss": accept_loss})
    return Plan(subject, before, {"primary": me}, (step,)), why


class ChangeExecutor:
    """Carries the plans out on the host of *me*. *confirmed*: see election.Candidacy; an agent knows it."""

    def __init__(
        self,
        cluster: Cluster,
        me: str,
        links: Links,
        say: Callable[[str], None],
        confirmed: Confirmed | None = None,
    ) -> None:
        self._cluster = cluster
        self._me = me
        self._links = links
        self._say = say
        self._confirmed = confirmed

    def switchover(self, primary: str) -> None:
        """Take over from *primary*."""
        Handover(self._cluster, self._me, primary, self._links, self._say).run()

    def promote(self, primary: str, accept_loss: bool) -> None:
        """Take the place of *primary*, which is gone. *accept_loss*: a person's word that commits may go; it counts only where
        no promotion that loses nothing is allowed, by another look, in which whoever is only late has twice the time. Nothing
        is done where *me* has been promoted meanwhile, by its agent say."""
        if not is_standby(self._links, self._me):
            self._say(f"promote: {self._me} is the primary already")
            return
        loss = accept_loss and not self._considered(primary).allowed
        with closing(Promotion(self._cluster, self._me, primary, self._links, self._say, self._confirmed)) as attempt:
            attempt.run("", loss, 1.0)

    def _considered(self, primary: str) -> ElectionVerdict:
        links = self._links.patient()
        with closing(Promotion(self._cluster, self._me, primary, links, self._say, self._confirmed)) as look:
            return look.consider(patience=1.0)
