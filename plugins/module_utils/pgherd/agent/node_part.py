# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's part on a data node: fences it, keeps it a good standby, elects where repmgrd does not, keeps slots.

A tick asks all nodes through sessions that stay open, lets pure functions decide, and acts. What takes
longer than a moment (a promotion, coming back) runs beside it, one at a time; fencing waits for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from ..data.rejoin_marker import marked
from ..duties import fence
from ..errors import Conflict, PgherdError
from ..model import Cluster, Node
from ..nodes import start
from ..nodes.evidence import NOTHING
from ..nodes.guard import sentence, words
from ..nodes.rejoin import Rejoin
from ..observe.node_state import QUERY, Survey, parse_state
from ..observe.primary import chain, seen_primary
from ..observe.sessions import Sessions
from ..observe.tracker import Tracker
from ..pools.watch import Asker
from ..ports.here import Here
from ..ports.wait import last_look
from ..programs.sessions import local_parameters, parameters
from ..promotion import change, command
from ..promotion.election import Missed
from . import peer_part
from .command_part import CommandPart, Run
from .command_socket import CommandSocket
from .first_part import FirstPart
from .foreign_duty import ForeignDuty
from .identity_duty import IdentityDuty
from .part import Decision, Part, Replaceable
from .primary_duty import PrimaryDuty
from .seen import NO_VERDICT, NodeSeen
from .standby_duty import StandbyDuty
from .standing import Standing, head_of
from .upkeep import Upkeep
from .verbs import Verb, Verbs
from .work import Work

# Seconds within which a node must answer; from one look to the next, and while a switchover waits for this part.
LIMIT, INTERVAL, HURRY = 1.5, 0.5, 0.05
# And for a time while this node is being promoted: what its agent answers, and with it where clients are led, follows from looks.
BRISK, BRISKLY = 0.1, 10.0
# Seconds that what is asked for waits for what is at work, and then for a look.
PATIENCE = 15.0
# And for what brings the node back already: a rewind may take that long, and a clone longer. After the others it is another's to
# say what a node is.
BACK = {"rejoin": 300.0, "demote": 300.0, "switchover": 0.0, "start": 0.0, "elect": 0.0, "follow": 0.0}


class NodePart(Replaceable):
    """See the module."""

    name = "node"

    def __init__(self, here: Here, asker: Asker) -> None:
        #: Why the node has no data yet, where another part sees to that.
        self.begins: Callable[[], str] = lambda: ""
        #: Why the start guard refused a start of the server here, '' once it runs; set by the thread that answers the guard.
        self.start_refused = ""
        self._cluster = here.cluster
        self._me = here.me
        self._asker = asker
        self._tracker = Tracker(here.cluster, here.me)
        self._system_id = ""
        self._leaderless = 0.0
        self._standing = Standing()
        self._view: NodeSeen | None = None
        self._hurried = float("-inf")
        self.interval = INTERVAL

        mine = replace(here, say=lambda text: here.say(f"node: {text}"))
        self._work = Work(mine.say)
        self._primary = PrimaryDuty(mine, self._tracker, self._work)
        self._standby = StandbyDuty(mine, self._tracker, self._work)
        self._foreign = ForeignDuty(mine)
        self._identity = IdentityDuty(mine)
        self._upkeep = Upkeep(mine, self._tracker)

    def tick(self, now: float) -> Sequence[Decision]:
        """See part.Part."""
        if self._work.name == "elect":
            self.hurry()
        survey, primary = self._look(now)
        mine = survey.states.get(self._me)
        if mine is not None:
            self.start_refused = ""
            self._foreign.tick(mine)
        if mine is not None and not mine.in_recovery:
            self.interval = HURRY if mine.locked else self._pace(now)
            found = self._primary.look(now, mine, survey)
            self._show(now, survey, primary, found.verdict)
            self._primary.act(found)
        else:
            self.interval = self.interval if self._work.name not in ("", "elect") else self._pace(now)
            self._show(now, survey, primary)
            if mine is None:
                self._standby.down(now, primary)
            else:
                self._standby.run(now, mine, survey, primary)
        if mine is not None and not self._work.name:
            self._identity.tick(now, mine, survey, primary)
            self._upkeep.tick(now, mine, survey, primary)
        else:
            self._identity.away()
        return ()

    def view(self) -> NodeSeen | None:
        """What the last tick saw, None before the first; may be called from any thread."""
        return self._view

    def unshared(self, said: Callable[[], bool]) -> None:
        """Have *said* tell whether no other node has anything of the data here; it may be called at every look."""
        self._primary.unshared = said

    def missed(self) -> Missed:
        """For how long this node has seen no primary, 0.0 when it sees one, and why. Read by other threads."""
        return Missed(self._leaderless, self._tracker.heard(time.monotonic(), self._tracker.primary))

    def confirmed(self) -> dict[str, tuple[int, int]]:
        """Up to where standbys have confirmed WAL, as far as this node has seen it. Read by other threads."""
        return dict(self._tracker.confirmed)

    def hurry(self) -> None:
        """Look often for a while: this node is about to be promoted. For other threads than that of tick()."""
        self._hurried = time.monotonic()

    def _pace(self, now: float) -> float:
        return BRISK if now - self._hurried < BRISKLY else INTERVAL

    @contextmanager
    def at_work(self, action: str, attempted: str, others: Mapping[str, float] | None = None) -> Iterator[None]:
        """For a block that is asked for: it does *action* in the stead of this part, which begins nothing else meanwhile. May be
        used in any thread. *others*, and what is raised: see Work.taken()."""
        with self._work.taken(action, attempted, PATIENCE, others):
            self._work.decide(action, f"{attempted}: it was asked for")
            yield

    def look_anew(self) -> NodeSeen | None:
        """What a look sees that begins after this is called: the first that sees a primary, else the last within PATIENCE
        seconds; None where there was none. For other threads than that of tick()."""
        asked = time.monotonic()

        def seen() -> NodeSeen | None:
            latest = self._view
            return latest if latest and latest.at > asked else None

        return last_look(seen, lambda found: bool(found and found.primary), PATIENCE, 0.05)

    def close(self) -> None:
        """See part.Part."""
        self._asker.close()

    def pause(self) -> str:
        """See part.Replaceable."""
        return self._work.name or self._primary.fencing.doing

    def take_over(self, before: Part) -> None:
        """See part.Replaceable. What was seen is shown until the next look. What follows from looking again and again begins
        anew, as when an agent starts, but for what Tracker.take_over() keeps."""
        if isinstance(before, NodePart):
            self._view, self._standing = before._view, before._standing
            self.start_refused = before.start_refused
            self._system_id = before._system_id
            self._tracker.take_over(before._tracker)
            self._work.take_over(before._work)
            self._primary.fencing.take_over(before._primary.fencing)

    def _show(self, now: float, survey: Survey, primary: str, verdict: fence.FenceVerdict = NO_VERDICT) -> None:
        """Let others see what was seen, before anything is done about it."""
        backed = self._tracker.backed(now, self._me)
        decided = dict(self._work.decided)
        mine = survey.states.get(self._me)
        words = self._standby.words if mine is None or mine.in_recovery else ""
        words = ((self.begins() or self.start_refused) if mine is None else "") or words
        job, standing = self._work.name, self._standing
        self._view = NodeSeen(now, self._me, survey, primary, backed, verdict, job, decided, words, standing)

    def _look(self, now: float) -> tuple[Survey, str]:
        """What all nodes say, and the primary, '' for nobody."""
        rows, failed = self._asker.ask(QUERY, LIMIT)
        survey = Survey({name: parse_state(name, row) for name, row in rows.items()}, failed)
        mine = survey.states.get(self._me)
        if mine:
            self._system_id = mine.system_id
        self._tracker.look(now, survey)
        primary = seen_primary(self._cluster, self._tracker, now, survey, self._system_id).name
        if primary:
            self._tracker.primary = primary
        self._leaderless = self._tracker.lasts("missed", now, not primary)
        self._standing = self._standing.look(now, primary, head_of(self._cluster, survey, self._me), mine)
        return survey, primary


def sessions(cluster: Cluster, me: str) -> Sessions:
    """Sessions on all nodes, on this host through its socket."""

    def target(node: Node) -> dict[str, Any]:
        given = local_parameters(cluster, node) if node.name == me else parameters(cluster, node)
        return {**given, "application_name": "pgherd agent"}

    # For each session anew: as who is logged in depends on a passfile that may not be there yet.
    return Sessions({node.name: partial(target, node) for node in cluster.nodes})


def parts(here: Here, listener: str | CommandSocket[CommandPart]) -> list[Part]:
    """What the agent of a node runs: what answers repmgrd's commands at the socket *listener*, or by a CommandSocket there, and
    unless it only votes, the node itself and what answers other agents."""
    cluster, me, links = here.cluster, here.me, here.links
    node = NodePart(here, sessions(cluster, me))
    witness = here.node.kind == "witness"
    first = FirstPart(here, here.record, (lambda: None) if witness else node.view) if here.record else None
    if first:
        node.begins = lambda: first.words
        node.unshared(lambda: first.unshared)

    def promote(say: Callable[[str], None], asked: Mapping[str, Any]) -> int:
        node.hurry()
        return command.promote(cluster, me, links, say, **asked, confirmed=node.confirmed())

    commands: dict[str, Run] = {
        "validate": lambda say, _asked: command.validate(cluster, me, links, say, node.missed(), node.confirmed()),
        "promote": promote,
        "follow": lambda say, asked: command.follow(cluster, me, links, say, **asked),
    }

    def guard(say: Callable[[str], None], asked: Mapping[str, Any]) -> int:
        # A start of other data than this agent's is not its to judge.
        mine = words(me, here.layout.data)
        known = first.evidence if first else NOTHING
        try:
            decision = start.as_it_is(here, known) if tuple(asked.get("words", ())) == mine else None
        except PgherdError as refused:
            node.start_refused = str(refused)
            raise
        node.start_refused = ""
        if decision is None:
            return 1
        say(sentence(me, decision))
        return 0

    verbs = Verbs(me, {} if witness else asked_for(here, node), {"postgres": here.layout.version})
    answers = CommandPart({**commands, "guard": guard}, listener, verbs=verbs)
    more = [first] if first else []
    return [answers, *more] if witness else [answers, node, peer_part.part(here, answers), *more]


def asked_for(here: Here, node: NodePart) -> dict[str, Verb]:
    """The steps of plans that people and playbooks have done on this data node."""

    def executor(say: Callable[[str], None]) -> change.ChangeExecutor:
        return change.ChangeExecutor(here.cluster, here.me, here.links, say, node.confirmed())

    def switchover(say: Callable[[str], None], asked: Mapping[str, Any]) -> dict[str, Any]:
        # Beside the part, like what repmgrd asks for: locks keep the two apart, and a new primary may have to give way at once.
        node.hurry()
        executor(say).switchover(**asked)
        return {}

    def promote(say: Callable[[str], None], asked: Mapping[str, Any]) -> dict[str, Any]:
        with node.at_work("elect", f"promote {here.me}"):
            executor(say).promote(**asked)
        return {}

    def rejoin(say: Callable[[str], None], asked: Mapping[str, Any]) -> dict[str, Any]:
        target = asked["target"]
        attempted = f"bring {here.me} back below {target}"
        if target == here.me:
            # It would be stopped first, and be missing as the one to follow then.
            raise Conflict(attempted, "another node, which is primary", f"{target} itself", "Name the primary.")
        with node.at_work("rejoin", attempted, BACK):
            if streams_below(here.cluster, attempted, target, node.look_anew()):
                say(f"rejoin: {here.me} streams below {target} already")
                return {"way": "none"}
            return {"way": Rejoin(replace(here, say=say)).run(target)}

    return {"switchover": switchover, "promote": promote, "rejoin": rejoin}


def streams_below(cluster: Cluster, attempted: str, target: str, seen: NodeSeen | None) -> bool:
    """Whether the node that has *seen* this is a standby of *target* already, and needs not come back. Raises Conflict for what
    was *attempted* where *target* is not the primary that was seen: what was decided before is not so any more."""
    if seen is None or seen.primary != target:
        found = "no look at the nodes" if seen is None else seen.primary or "none that is seen"
        raise Conflict(attempted, f"{target} as the primary", found, "See: pgherd status")
    mine = seen.mine
    streams = mine is not None and mine.in_recovery and mine.streaming and not marked()
    return streams and chain(cluster, seen.survey, seen.me) == target
