# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""``pgherd guard``: asks the others and makes the data directory start as what it may be. Runs before every start, in a process
of its own or, where nothing is to be written before it, in the agent."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

from ..data import datadir, incarnation, wal
from ..data.postmaster import another
from ..data.rejoin_marker import marked
from ..errors import PgherdError, Unreachable
from ..model import POD, Cluster, int_to_lsn
from ..observe.node_state import Survey
from ..observe.peer_answers import Answers, head_start
from ..ports.here import Here
from ..ports.links import Links
from ..ports.wait import last_look
from . import elsewhere, guard
from .beginning import another as another_cluster
from .beginning import without_others
from .evidence import NOTHING, Evidence
from .verdict import STANDBY, START, StartVerdict

# Seconds that the others have to come up when all start at once, and from one look at their answers to the next.
PATIENCE, INTERVAL = 3.0, 0.02
# Seconds for which what may run elsewhere is looked at, at most, and from one look to the next.
ELSEWHERE, AGAIN = 8.0, 0.2
# Seconds that those have to answer who are not needed to know that nobody was promoted, but may have received most WAL.
POSITIONS = 1.0


def decide(here: Here, evidence: Evidence = NOTHING) -> StartVerdict:
    """How the server here may start now: as it is, or as a standby. Raises Conflict when it must not at all."""
    local = datadir.local(here.layout, here.runner)
    evidence = _seen_elsewhere(here, _of_the_record(here, local, evidence))
    decision, survey = _decide(here.cluster, here.me, local, here.links, evidence)
    if decision.done not in (START, STANDBY):
        raise decision.conflict or PgherdError(f"start {here.me}: {decision.why}")
    name, position = guard.furthest(here.me, local, survey)
    if decision.as_standby or local.standby or evidence.restored or not name:
        return decision
    why = wal.ends_before(position, here.layout, local, here.runner)
    if not why:
        return decision
    return StartVerdict(
        STANDBY, f"{name} has received its WAL up to {int_to_lsn(position)}, and here it ends before: {why}"
    )


def as_it_is(here: Here, evidence: Evidence = NOTHING) -> StartVerdict | None:
    """The decision that the server here starts as it is, where nothing has to be done before. None for all else: that is for the
    guard's own process, which says what is refused, and writes before the start and never late. *evidence*: what who asks knows
    besides. Raises as decide()."""
    if marked() or another(here.layout.data):
        return None
    decision = decide(here, evidence)
    return None if decision.as_standby else decision


def _of_the_record(here: Here, local: datadir.Local, evidence: Evidence) -> Evidence:
    """The *evidence*, and what the record says besides, where there is one: that no other node can have anything of the data
    here. One that cannot be read now says nothing: what keeps it may be down while nodes start. Raises PgherdError where it is of
    another cluster than these data."""
    if here.record is None:
        return evidence
    try:
        found = here.record.read()
    except Unreachable:
        return evidence
    if wrong := another_cluster(here.me, local.system_id, found):
        raise PgherdError(wrong)
    alone = without_others(here.cluster, here.me, local.system_id, found, local.timeline)
    return replace(evidence, empty=alone) if alone else evidence


def _seen_elsewhere(here: Here, evidence: Evidence) -> Evidence:
    """The *evidence*, and in a pod who has seen these very data run elsewhere: volumes go from one machine to another, and may be
    at both. Nobody is waited for who does not answer, nor longer than it takes where nothing is seen."""
    own = ""
    if here.node.place == POD and here.node.kind == "postgres":
        # Without a note that can be read nothing here is known to be the same.
        with suppress(PgherdError):
            own = incarnation.of(here.layout.data)
    others = [node.name for node in here.cluster.data_nodes if node.name != here.me]
    known: dict[str, elsewhere.Sign] = {}

    def look() -> tuple[tuple[str, ...], bool]:
        nonlocal known
        sessions = Answers(others, here.links)
        sessions.wait(others, POSITIONS)
        found, now = elsewhere.shown(here.cluster, here.me, own, sessions.survey()), time.monotonic()
        sessions.close()
        known = elsewhere.signs(found, known, now)
        return elsewhere.living(known, now), elsewhere.undecided(known, now)

    if not own or not others:
        return evidence
    seen, _open = last_look(look, lambda said: bool(said[0]) or not said[1], ELSEWHERE, AGAIN)
    return replace(evidence, elsewhere=seen) if seen else evidence


def prepare(here: Here, decision: StartVerdict) -> None:
    """Make the data directory start as *decision* says: a standby follows nobody before its agent has seen that it has no
    WAL which the primary has not (see diverged.py). Raises PgherdError."""
    if not decision.as_standby:
        return
    datadir.make_standby(here.layout.data, "", here.node.slot if here.cluster.replication_slots else "")


def _decide(
    cluster: Cluster, me: str, local: datadir.Local, links: Links, evidence: Evidence = NOTHING
) -> tuple[StartVerdict, Survey]:
    """Ask the others until what they say is enough; that, too."""
    others = [node.name for node in cluster.nodes if node.name != me]
    if (local.standby and not evidence.restored) or not others:
        survey = Survey()
        return guard.decide(cluster, me, local, survey, evidence), survey
    # A server that is slow to answer has as long as it would have without agents.
    begun = time.monotonic() + head_start(links)
    sessions = Answers(others, links)
    while True:
        over, survey = sessions.over(), sessions.survey()
        decision = guard.decide(cluster, me, local, survey, evidence)
        lasting = time.monotonic() - begun
        # What was seen of hosts a while ago does not count before what a server may yet answer.
        seen = evidence.stopped or evidence.new
        heard = decision.done != START or over or lasting > (PATIENCE if seen else POSITIONS)
        if (heard and not decision.provisional) or lasting > PATIENCE:
            sessions.close()
            return decision, survey
        if over:
            sessions.close()
            sessions = Answers(others, links)
        time.sleep(INTERVAL)
