# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's part that sees to a directory without data, where no playbook does: it initialises the cluster, has it cloned, or
waits and says for what. See nodes/beginning.py."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Optional

from ..data.rejoin_marker import alone, marked
from ..errors import PgherdError, Unreachable
from ..nodes import beginning
from ..nodes.beginning import Beginning
from ..nodes.directory_state import look
from ..nodes.evidence import NOTHING, Evidence
from ..nodes.instance_apply import InstanceExecutor
from ..nodes.node_apply import NodeExecutor
from ..nodes.peer_evidence import NodeEvidence, of_peer
from ..ports.here import Here
from ..ports.initialization import Initialization, InitializationRecord
from ..ports.links import session
from ..ports.services import POSTGRES, RUNNING
from ..programs.repmgr import recorded
from .part import Decision, Part, Replaceable
from .seen import NodeSeen

# Seconds from one look to the next: while there are no data, and while there are; for each step of an answer; until what failed
# is tried again.
SOON, LATER, LIMIT, AGAIN = 1.0, 5.0, 2.0, 3.0
# Seconds that a clone waits for what it needs from its source before it says so, and that its end may take.
READY, STREAMS = 2.0, 300.0


class FirstPart(Replaceable):
    """See the module. *record*: of the cluster's initialisation. *view*: what the node's own part sees, None for a witness."""

    name = "first"

    def __init__(
        self, here: Here, record: InitializationRecord, view: Callable[[], NodeSeen | None] = lambda: None
    ) -> None:
        self._here = here
        self._record = record
        self._view = view
        self._doing = ""
        self._failed = float("-inf")
        self._said = ""
        self._starts = False
        self._from_primary = self._registered = False
        # Until when what the record said of others' copies counts.
        self._unshared = float("-inf")
        self.interval = SOON

    @property
    def words(self) -> str:
        """What it waits for; '' for nothing."""
        return self._said

    @property
    def unshared(self) -> bool:
        """Whether the record has said lately that no other node has begun to copy the data here. Read by other threads."""
        return time.monotonic() < self._unshared

    @property
    def evidence(self) -> Evidence:
        """What the guard has to know of the start that this part is at."""
        return Evidence(new=True) if self._starts else NOTHING

    def tick(self, now: float) -> Sequence[Decision]:
        """See part.Part."""
        if self._doing or now - self._failed < AGAIN:
            return ()
        seen = self._view()
        if seen is not None and seen.mine is not None:
            self.interval = LATER
            done = self._register(seen) if seen.mine.in_recovery else self._adopt(seen)
            return [*done, *self._grow(seen)]
        if self._here.services.state(POSTGRES) == RUNNING:
            self.interval = LATER
            return self._unexplained()
        if marked():
            return ()
        mine = look(self._here)
        with_data = mine.kind == "cluster" and not mine.fresh
        self.interval = LATER if with_data else SOON
        said = {} if with_data else self._ask()
        found = beginning.decide(self._here.cluster, self._here.me, mine, self._read(), said)
        if found.done == beginning.LEAVE:
            self._said = ""
            return ()
        if found.done == beginning.WAIT:
            return self._waits(found.why)
        self._said = ""
        return self._begin(found, mine.system_identifier, mine.kind != "none", said)

    def close(self) -> None:
        """See part.Part."""

    def pause(self) -> str:
        """See part.Replaceable."""
        return self._doing

    def take_over(self, before: Part) -> None:
        """See part.Replaceable."""
        if isinstance(before, FirstPart):
            self._said, self._failed, self._from_primary = before._said, before._failed, before._from_primary

    def _waits(self, why: str) -> Sequence[Decision]:
        """Say what is waited for, once."""
        why = " ".join(why.split())
        if why == self._said:
            return ()
        self._said = why
        return (Decision(f"waits: {why}"),)

    def _read(self) -> Initialization | None:
        try:
            return self._record.read()
        except Unreachable:
            return None

    def _ask(self) -> dict[str, Optional[NodeEvidence]]:
        """What the other data nodes say, None for those that do not in time."""
        here, peers = self._here, self._here.links.peers
        found: dict[str, Optional[NodeEvidence]] = {
            node.name: None for node in here.cluster.data_nodes if node.name != here.me
        }
        if peers is None:
            return found

        def ask(name: str) -> None:
            with suppress(OSError, PgherdError):
                found[name] = of_peer(peers, name, LIMIT)

        threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in found]
        deadline = time.monotonic() + 2 * LIMIT
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return dict(found)

    def _adopt(self, seen: NodeSeen) -> Sequence[Decision]:
        """A cluster that is there, and of which the record says nothing, is put down by its primary."""
        record, me = self._read(), self._here.me
        self._said = ""
        if record is None or seen.mine is None:
            return ()
        there = (self._here.cluster, me, seen.mine.system_id, record, seen.mine.timeline)
        alone = beginning.without_others(*there) and not self._has_grown(seen, record)
        self._unshared = time.monotonic() + 2 * LATER if alone else float("-inf")
        if not beginning.adopts(me, seen.primary, record):
            return ()
        # In one step: half of it would be taken for a cluster that is being made.
        found = self._record.adopt(me, seen.mine.system_id)
        if found.system_id != seen.mine.system_id:
            return ()
        return (Decision(f"the record says now that the cluster is there: system identifier {found.system_id}"),)

    def _has_grown(self, seen: NodeSeen, record: Initialization | None) -> bool:
        return beginning.grows(self._here.cluster, self._here.me, seen.survey.states, record)

    def _grow(self, seen: NodeSeen) -> Sequence[Decision]:
        """Have a record say so that others have copies, which was restored from before they had: by it the guard of whom it names
        would start a primary without having asked them."""
        if not self._has_grown(seen, self._read()) or not self._record.grow().grown:
            return ()
        return (Decision("the record says again that others were cloned, which it did not: an older one was restored"),)

    def _unexplained(self) -> Sequence[Decision]:
        """Of a server that runs, and is no standby of anybody: say where nobody knows what its data are."""
        why = beginning.unexplained(self._here.me, self._read())
        if not why:
            self._said = ""
            return ()
        return self._waits(why)

    def _register(self, seen: NodeSeen) -> Sequence[Decision]:
        """Have a standby that streams in repmgr's metadata, where nobody has put it: it may be there before its primary, which
        refuses writes without standbys, can write that down."""
        mine, here = seen.mine, self._here
        if mine is not None and not mine.streaming and not seen.primary:
            return self._unexplained()
        if self._registered or mine is None or not mine.streaming or not seen.primary:
            return ()
        with session(here.links, here.me) as server:
            self._registered = recorded(server, here.node.id) is not None
        if self._registered:
            self._said = ""
            return ()
        upstream = here.cluster.node_at(mine.upstream) or seen.primary
        self._do("register", lambda: NodeExecutor(here, STREAMS).register_standby(upstream))
        return ()

    def _begin(
        self, found: Beginning, system_id: str, wipe: bool, said: Mapping[str, Optional[NodeEvidence]]
    ) -> Sequence[Decision]:
        """Have it done beside the looks."""
        here, me = self._here, self._here.me
        standbys = [] if self._from_primary else beginning.sources(here.cluster, found.target, said)
        jobs: dict[str, Callable[[], object]] = {
            beginning.BEGIN: lambda: self._record.begin(me),
            beginning.MAKE: self._make,
            beginning.END: lambda: self._record.end(me, system_id),
            beginning.START: self._start,
            beginning.CLONE: lambda: self._clone(found.target, standbys[0] if standbys else "", wipe),
        }
        self._do(found.done, jobs[found.done])
        # A clone is tried again and again until its source is ready: it says itself when it begins.
        return () if found.done == beginning.CLONE else (Decision(f"{found.done}: {found.why}"),)

    def _do(self, name: str, job: Callable[[], object]) -> None:
        self._doing = name
        threading.Thread(target=self._run, args=(name, job), name="first", daemon=True).start()

    def _run(self, name: str, job: Callable[[], object]) -> None:
        why = ""
        try:
            job()
        except (PgherdError, OSError) as error:
            why = " ".join(str(error).split())
        except Exception as error:  # what was not foreseen is to be seen all the same
            why = f"unforeseen: {type(error).__name__}: {error}"
        if why:
            self._failed = time.monotonic()
            for decision in self._waits(f"{name}: {why}"):
                self._here.say(f"first: {decision.text}")
        self._starts, self._doing = False, ""

    def _make(self) -> None:
        here = self._here
        with alone(here.me):
            InstanceExecutor(here).initialize()
        if here.node.kind == "witness":
            self._start()

    def _start(self) -> None:
        """Start what was made; the guard is told that it is new."""
        self._starts = True
        InstanceExecutor(self._here).start()

    def _clone(self, target: str, source: str, wipe: bool) -> None:
        here = self._here
        # What nobody can be cloned from yet is waited for here, and said once.
        NodeExecutor(here, READY).ready(source or target)
        here.say(f"first: clone: {here.me} has no data, and {target} is primary; copied from {source or target}")
        try:
            NodeExecutor(here, READY).clone(target, wipe, source)
        except PgherdError:
            # Another time from the primary itself.
            self._from_primary = bool(source)
            raise
        NodeExecutor(here, STREAMS).start()
