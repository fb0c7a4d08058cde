# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the agent's parts saw at their last look, as values that nobody changes: for whoever answers questions.

*at* and *now* are monotonic seconds; what is older than its limit says nothing any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..description import UNKNOWN, Told
from ..duties.fence import FenceVerdict
from ..observe.node_state import NodeState, Survey
from ..observe.topology import Lag, Topology
from ..observe.views import Sender, Slot
from ..pools.backends import BackendChange
from ..programs.barman_view import BarmanView
from ..programs.pgpool import NodeInfo
from .standing import Standing

NO_VERDICT = FenceVerdict("")
# Seconds after which a look says nothing any more: of a node, of its details, of a pgpool (which asks all servers before it
# answers, dead ones too), of Barman (one command of Barman's lies between two looks).
NODE, DETAILS, PGPOOL, BARMAN = 4.0, 15.0, 8.0, 45.0


@dataclass(frozen=True)
class NodeSeen:
    """A look of the node *me*: what all nodes said, which of them is the real *primary* ('' for none), the listed standbys
    that have answered *me* lately, what it found about itself as a primary, the *job* that runs beside ('' for none),
    when each action was last decided, in seconds since the epoch, in PostgreSQL's *words* why it does not run or stream, and
    what looks until now have shown of it as a follower."""

    at: float
    me: str
    survey: Survey
    primary: str = ""
    backed: tuple[str, ...] = ()
    verdict: FenceVerdict = NO_VERDICT
    job: str = ""
    decided: Mapping[str, float] = field(default_factory=dict)
    words: str = ""
    standing: Standing = field(default_factory=Standing)

    @property
    def mine(self) -> NodeState | None:
        """What PostgreSQL on this host said, None when it did not answer."""
        return self.survey.states.get(self.me)


@dataclass(frozen=True)
class Details:
    """What the local PostgreSQL says besides, every few seconds. *archived_age* is in seconds; None: nothing archived yet,
    or nothing to archive; *archive_failing* is None where WAL is not archived by a command."""

    at: float
    senders: tuple[Sender, ...] = ()
    slots: tuple[Slot, ...] = ()
    pending_restart: int = 0
    paused: bool | None = None
    archived_age: float | None = None
    archive_failing: bool | None = None


@dataclass(frozen=True)
class PgpoolSeen:
    """A look of the agent beside a pgpool: the nodes as they are, pgpool's own table by number, what is to be changed in
    it, and *why* pgpool did not answer ('' when it did)."""

    at: float
    truth: Topology
    table: Mapping[int, NodeInfo] = field(default_factory=dict)
    changes: tuple[BackendChange, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class AgentView:
    """All that this host's agent knows at *now*. One of *node*, *pgpool* and *barman* is what the host is for, None before
    the first look. *clock*: seconds since the epoch. *listens*: whether something listens on pgpool's port.
    *changed*: how often the primary has changed since the agent started, and when last, in seconds since the epoch.
    *certificates*: when the host's own (``server``) and the ``authority``'s end, in seconds since the epoch; *passwords*: by role
    when its password ends.
    *commands*: the commands run for repmgrd, with their last end in seconds since the epoch and exit code. *begun*: by part
    when its last tick began. *unanswered*: how many clients of the agent's ports were hung up on, by why.
    *description*: by which one the agent goes. *refused*: by reason how many requests of other agents were."""

    host: str
    kind: str
    now: float
    clock: float
    node: NodeSeen | None = None
    details: Details | None = None
    lag: Lag = field(default_factory=Lag)
    pgpool: PgpoolSeen | None = None
    listens: bool = False
    barman: BarmanView | None = None
    started: float = 0.0
    changed: int = 0
    changed_at: float | None = None
    commands: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    begun: Mapping[str, float] = field(default_factory=dict)
    unanswered: Mapping[str, int] = field(default_factory=dict)
    certificates: Mapping[str, float] = field(default_factory=dict)
    passwords: Mapping[str, float] = field(default_factory=dict)
    description: Told = UNKNOWN
    refused: Mapping[str, int] = field(default_factory=dict)
