# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's part that answers for its host: gathers what the other parts see, and gives it to the endpoints.

It decides nothing and changes nothing. What the node part does not ask (slots, senders, the archive) it asks the local
PostgreSQL itself, rarely.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ..description import UNKNOWN, Told
from ..errors import ConfigError, PgherdError
from ..model import SCHEMA_VERSION, Cluster, build, lsn_to_int
from ..observe.ask import DETAILS, PASSWORDS
from ..observe.node_state import QUERY, Survey, parse_state
from ..observe.topology import Lag
from ..observe.views import Sender, Slot
from ..pools.watch import Asker
from ..ports.certificates import ends
from ..ports.processes import listening
from ..ports.sql import Row
from . import health
from .command_part import CommandPart
from .exposition import Exposition
from .http import Answer, Route, as_json
from .lag import LagWatch
from .metrics import samples
from .part import Decision, Part, Replaceable
from .seen import AgentView, Details, NodeSeen, PgpoolSeen

if TYPE_CHECKING:
    from .barman_part import BarmanPart
    from .peer_part import PeerPart

# Seconds from one look at the ends of certificates and passwords to the next.
READ = 60.0
# Seconds from one question about details to the next, and within which it must be answered.
AGAIN, LIMIT = 5.0, 2.0

QUESTION = f"""
SELECT d.*, repmgr.repmgrd_is_paused() AS paused,
       (SELECT greatest(0, extract(epoch FROM clock_timestamp() - last_archived_time))::float8 FROM pg_stat_archiver
         WHERE last_archived_time IS NOT NULL) AS archived_age,
       current_setting('archive_mode') <> 'off' AS archives
  FROM ({DETAILS}) AS d
"""  # noqa: S608


class _NodeView(Protocol):
    def view(self) -> NodeSeen | None:
        """See NodePart.view."""


class _PgpoolView(Protocol):
    def view(self) -> PgpoolSeen | None:
        """See PgpoolPart.view."""


class WitnessPart(Replaceable):
    """Looks at the server of a witness, whose agent has nothing to decide."""

    name = "witness"
    interval = 1.0

    def __init__(self, me: str, asker: Asker) -> None:
        self._me = me
        self._asker = asker
        self._view: NodeSeen | None = None

    def tick(self, now: float) -> Sequence[Decision]:
        """See part.Part."""
        rows, failed = self._asker.ask(QUERY, LIMIT)
        self._view = NodeSeen(
            now, self._me, Survey({name: parse_state(name, row) for name, row in rows.items()}, failed)
        )
        return ()

    def view(self) -> NodeSeen | None:
        """What the last tick saw."""
        return self._view

    def close(self) -> None:
        """See part.Part."""
        self._asker.close()

    def take_over(self, before: Part) -> None:
        """See part.Replaceable: what was seen is shown until the next look."""
        if isinstance(before, WitnessPart):
            self._view = before._view


class HealthPart(Replaceable):
    """Knows what the host called *me* of *kind* can say of itself; ``seen`` and ``routes`` serve any thread."""

    name = "health"
    interval = 0.5

    def __init__(
        self,
        cluster: Cluster,
        me: str,
        kind: str,
        begun: Mapping[str, float],
        node: _NodeView | None = None,
        pgpool: _PgpoolView | None = None,
        barman: BarmanPart | None = None,
        commands: CommandPart | None = None,
        peers: PeerPart | None = None,
        asker: Asker | None = None,
        unanswered: Mapping[str, int] | None = None,
        certificates: Mapping[str, str] | None = None,
        told: Callable[[], Told] | None = None,
    ) -> None:
        """*certificates*: files by what they are called in metrics. *told*: by which description the agent goes."""
        self._cluster = cluster
        self._me = me
        self._kind = kind
        self._begun = begun
        self._node = node
        self._pgpool = pgpool
        self._barman = barman
        self._commands = commands
        self._peers = peers
        self._asker = asker
        self._unanswered = {} if unanswered is None else unanswered
        self._told = told or (lambda: UNKNOWN)
        self._asked_at = self._read_at = float("-inf")
        self._certificates = certificates or {}
        self._ends: Mapping[str, float] = {}
        self._passwords: Mapping[str, float] = {}
        self._details: Details | None = None
        self._lock = threading.Lock()
        self._looked = 0.0
        self._watch = LagWatch()
        self._started = time.time()
        self._primary = ""
        self._changed = 0
        self._changed_at: float | None = None

    def tick(self, now: float) -> Sequence[Decision]:
        """See part.Part."""
        look = self._node.view() if self._node else None
        if look and look.at != self._looked:
            self._looked = look.at
            head = look.survey.states.get(look.primary)
            if head:
                with self._lock:
                    self._watch.look(look.at, head.name, head.timeline, head.position)
        table = self._pgpool.view() if self._pgpool else None
        self._note(look.primary if look else health.shown_primary(table.truth) if table else "")
        if now - self._read_at >= READ:
            self._read_at, self._ends = now, certificates(self._certificates)
            self._passwords = self._ask_passwords()
        if self._asker and now - self._asked_at >= AGAIN:
            self._asked_at = now
            rows, _failed = self._asker.ask(QUESTION, LIMIT)
            if self._me in rows:
                self._details = details(now, rows[self._me])
        return ()

    def _ask_passwords(self) -> dict[str, float]:
        rows = self._asker.ask(PASSWORDS, LIMIT)[0] if self._asker else {}
        return (
            {role: float(end) for role, end in json.loads(rows[self._me]["ends"]).items()} if self._me in rows else {}
        )

    def close(self) -> None:
        """See part.Part."""
        if self._asker:
            self._asker.close()

    def take_over(self, before: Part) -> None:
        """See part.Replaceable: what it knows of this host, and since when."""
        if isinstance(before, HealthPart):
            self._details, self._ends, self._passwords = before._details, before._ends, before._passwords
            self._lock, self._watch = before._lock, before._watch
            self._looked, self._started = before._looked, before._started
            self._primary, self._changed, self._changed_at = before._primary, before._changed, before._changed_at

    def seen(self) -> AgentView:
        """All that is known now."""
        look = self._node.view() if self._node else None
        return AgentView(
            self._me,
            self._kind,
            time.monotonic(),
            time.time(),
            look,
            self._details,
            self._lag(look),
            self._pgpool.view() if self._pgpool else None,
            self._pgpool is not None and listening(self._cluster.pgpool_port),
            self._barman.view() if self._barman else None,
            self._started,
            self._changed,
            self._changed_at,
            self._commands.view() if self._commands else {},
            dict(self._begun),
            dict(self._unanswered),
            self._ends,
            self._passwords,
            self._told(),
            self._peers.view() if self._peers else {},
        )

    def routes(self) -> dict[str, Route]:
        """What is answered by path."""
        cluster = self._cluster
        plain: dict[str, Callable[[Cluster, AgentView], health.Health]] = {
            "/primary": health.primary,
            "/health": health.health,
            "/ready": health.ready,
            "/live": health.live,
        }
        exposition = Exposition(lambda: samples(cluster, self.seen()))

        def one(question: Callable[[Cluster, AgentView], health.Health], _query: Mapping[str, str]) -> Answer:
            return self._answer(question(cluster, self.seen()))

        def replica(query: Mapping[str, str]) -> Answer:
            try:
                most = health.lag_limits(query)
            except ConfigError as error:
                return as_json({"ok": False, "host": self._me, "why": str(error)}, 400)
            return self._answer(health.replica(cluster, self.seen(), most))

        return {
            **{path: partial(one, question) for path, question in plain.items()},
            "/replica": replica,
            "/metrics": lambda _query: exposition.answer(),
        }

    def _answer(self, found: health.Health) -> Answer:
        by = described(self._told())
        answer = {
            "ok": found.ok,
            "host": self._me,
            "why": found.why,
            **found.more,
            **({"description": by} if by else {}),
        }
        return as_json(answer, 200 if found.ok else 503)

    def _lag(self, look: NodeSeen | None) -> Lag:
        mine = look.mine if look else None
        head = look.survey.states.get(look.primary) if look else None
        if not (mine and head and mine.in_recovery and mine.replay_lsn) or head.in_recovery:
            return Lag()
        replayed = lsn_to_int(mine.replay_lsn)
        with self._lock:
            return Lag(max(0, head.position - replayed), self._watch.seconds(replayed))

    def _note(self, primary: str) -> None:
        if primary and self._primary and primary != self._primary:
            self._changed, self._changed_at = self._changed + 1, time.time()
        self._primary = primary or self._primary


def described(told: Told) -> dict[str, Any]:
    """What anybody may know of the description that is gone by: nothing of what is in it."""
    if not told.digest:
        return {}
    return {"digest": told.digest, "schema": SCHEMA_VERSION, "refused": bool(told.refused), "waits": told.waits}


def certificates(files: Mapping[str, str]) -> dict[str, float]:
    """When those of the *files* that can be read end."""
    found = {}
    for name, path in files.items():
        with suppress(PgherdError):
            found[name] = ends(path)
    return found


def details(at: float, row: Row) -> Details:
    """What the row of QUESTION says."""
    return Details(
        at,
        tuple(build(Sender, item) for item in json.loads(row["senders"])),
        tuple(build(Slot, item) for item in json.loads(row["slots"])),
        len(json.loads(row["pending_restart"])),
        row["paused"],
        row["archived_age"] if row["archives"] else None,
        row["archive_failing_since"] is not None if row["archives"] else None,
    )
