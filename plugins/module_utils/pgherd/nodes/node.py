# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""One node's place in the replication tree: what it should be, beside what it is, and the way there.

The truth about who is primary is what all nodes say. The inventory's upstreams are the first day's: a node that lives
keeps the place it has, whatever a failover has made of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..data.datadir import BROKEN, CLUSTER, NONE, OTHER
from ..errors import ConfigError, Conflict
from ..layout import Layout
from ..model import Cluster, Node
from ..objects.identity import Incarnation, admitted
from ..plan import Plan, Step
from ..programs.repmgr import wanted_record
from .first import broken
from .seen import NodeObservation, without_password

STATES = ("member", "primary", "standby", "witness", "absent")


@dataclass(frozen=True)
class Desired:
    """What is asked for. *upstream* is for a standby; '' keeps the one it has, or takes the first day's. *wipe*: a data
    directory that is in the way may be replaced; it never is where the node can live as it is. *lost*: nodes that will not
    become ready while one waits, since this run could not reach them, failed on them or leaves them out. *rejoin*: a former
    primary comes back as a standby, by rewind or clone. *replaced*: what counted under the node's name is gone for good, by a
    person's word."""

    state: str = "member"
    upstream: str = ""
    wipe: bool = False
    rejoin: bool = False
    lost: tuple[str, ...] = ()
    replaced: bool = False


def levels(cluster: Cluster, upto: str = "") -> list[list[str]]:
    """The nodes' names in the order in which they can be cloned and registered: each list needs the ones before it. The last one
    is that of the node *upto*, where it is given."""
    depths = {node.name: max(1, cluster.depth(node.name)) for node in cluster.nodes}
    depths[cluster.first_primary.name] = 0
    last = depths[upto] if upto else max(depths.values())
    return [[name for name in depths if depths[name] == depth] for depth in range(last + 1)]


def plan(cluster: Cluster, name: str, desired: Desired, seen: NodeObservation, layout: Layout) -> tuple[Plan, str]:
    """The plan for the node called *name*, and why it is left alone where it is ('' where it is not).

    Raises Conflict, with both names, where it would make a second primary or take another node's place, and ConfigError
    for names that the cluster does not know.
    """
    known = {"": [node.name for node in cluster.nodes], "upstream ": [node.name for node in cluster.data_nodes]}
    for what, asked in (("", name), ("upstream ", desired.upstream)):
        if asked and asked not in known[what]:
            raise ConfigError(
                [f"{what}{asked} is none of {', '.join(known[what])}, the nodes of cluster {cluster.name}."]
            )
    return _Decision(cluster, cluster.node(name), desired, seen, layout).plan()


class _Decision:
    def __init__(self, cluster: Cluster, node: Node, desired: Desired, seen: NodeObservation, layout: Layout) -> None:
        self.cluster = cluster
        self.node = node
        self.name = node.name
        self.desired = desired
        self.seen = seen
        self.layout = layout
        self.instance = seen.instance
        self.live = seen.live
        self.steps: list[Step] = []
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        self.left_alone = ""

    def plan(self) -> tuple[Plan, str]:
        self.before = self.seen.to_dict(self.cluster, self.node)
        self.after = dict(self.before)
        self._one_primary()
        if self.desired.state != "absent":
            self._identity()
        state = self.desired.state
        if state == "member" and self.node.kind == "witness":
            state = "witness"
        getattr(self, f"_{state}")()
        if self.desired.replaced and state != "absent":
            self._replace()
        return Plan(self.name, self.before, self.after, tuple(self.steps)), self.left_alone

    # What each state means.

    def _primary(self) -> None:
        if self.live not in ("", self.name):
            self._second_primary()
        if self.instance.role == "standby" or (self.instance.data == CLUSTER and self.instance.standby):
            raise Conflict(
                f"Make {self.name} the primary", "primary", "standby", "A standby is promoted, by a switchover."
            )
        self._no_strange_files()
        if self.instance.data == CLUSTER:
            self._start()
        self._register("primary", "")

    def _standby(self) -> None:
        if self.instance.role == "primary":
            if self.live not in ("", self.name):
                self._second_primary()
            raise Conflict(f"Make {self.name} a standby", "standby", "the primary", "Hand over first, by a switchover.")
        self._follower()

    def _member(self) -> None:
        if self.instance.role == "primary" and self.live not in ("", self.name):
            if self.desired.rejoin:
                self._rejoin()
                return
            if not self.desired.wipe:
                self._second_primary()
            self._clone()
        elif self.instance.role == "primary":
            self._register("primary", "")
        elif self.instance.data == NONE and not self.live and not self._upstream_of_choice():
            # The first day's primary, in a forecast: role postgres initialises and starts it.
            self._register("primary", "")
        else:
            self._follower()

    def _follower(self) -> None:
        if self.instance.data == NONE:
            self._clone()
            return
        if self._must_be_replaced():
            return
        upstream = self.seen.upstream(self.cluster, self.node)
        wanted = self.desired.upstream or upstream
        if not self.live:
            self._start()
            self.left_alone = f"no primary answers, so what {self.name} is registered as stays as it is"
            return
        if not wanted or (not self.desired.upstream and self.seen.orphaned(self.name, upstream)):
            wanted = self._source()
        if wanted in (self.name, *self.seen.topology.followers(self.name)):
            raise Conflict(f"Let {self.name} follow {wanted}", wanted, f"{wanted} follows {self.name}")
        if wanted == upstream:
            self._slot_there(wanted)
        self._start()
        self._slot_off()
        if wanted != upstream:
            self._not_in_vain(f"Let {self.name} follow {wanted}", wanted)
            self._do("follow", f"let {self.name} follow {wanted}", upstream=wanted)
            self._will_stream(wanted)
        elif self.seen.streams_otherwise(self.cluster, self.node, wanted):
            text = self.seen.streaming_conninfo(self.cluster, self.node, wanted)
            self._not_in_vain(f"Let {self.name} stream from {wanted}", wanted)
            what = f"let {self.name} stream from {wanted} with other parameters"
            self._do("stream", what, upstream=wanted, conninfo=text, slot=self._slot())
            self._will_stream(wanted)
        self._register("standby", wanted)

    def _witness(self) -> None:
        if self.instance.role == "standby" or self.instance.standby:
            raise Conflict(
                f"Make {self.name} a witness",
                "a server of its own",
                "a standby of the cluster",
                "Stop it and move its data directory away.",
            )
        self._no_strange_files()
        if self.instance.data == CLUSTER:
            self._start()
        view = self.seen.topology.node(self.name)
        copied = bool(view and view.repmgr and view.repmgr.of(self.name))
        primary = self.live or self.cluster.first_primary.name
        self._not_in_vain(f"Register {self.name} as witness of {primary}", primary)
        self._register("witness", primary, complete=copied)

    def _absent(self) -> None:
        if self.live == self.name:
            raise Conflict(f"Remove {self.name}", "absent", "the primary", "Hand over first, by a switchover.")
        row = self.seen.record(self.node.id)
        if row and row.node_name == self.name:
            below = [other.node_name for other in self.seen.records if other.upstream_id == row.node_id]
            if below:
                raise Conflict(
                    f"Remove {self.name}", "absent", f"the upstream of {', '.join(below)}", "Move them first."
                )
            self._do("unregister", f"unregister {self.name}", record=row)
            self.after["record"] = None
        if self.instance.running:
            self._do("stop", f"stop PostgreSQL on {self.name}")
            self.after["running"] = False
        slot, holders = self.node.slot, self.seen.slot_holders(self.node)
        if holders:
            self._do("drop_slot", f"drop slot {slot} on {', '.join(holders)}", slot=slot, nodes=holders)
            self.before["slot_on"], self.after["slot_on"] = holders, []

    # Parts of several states.

    def _one_primary(self) -> None:
        """Refuse to do anything while it cannot be told which of two primaries is the real one."""
        found = [view.name for view in self.seen.topology.primaries()]
        if len(found) > 1 and not self.live:
            raise Conflict(
                "Two primaries, and nothing tells which one is the real one",
                "one",
                " and ".join(found),
                "Look which of them took the last writes, and stop the other one.",
            )

    def _identity(self) -> None:
        """Refuse to take another node's number or name."""
        for row in self.seen.records:
            if (row.node_id == self.node.id) != (row.node_name == self.name):
                raise Conflict(
                    f"Register {self.name}",
                    f"{self.name} with ID {self.node.id}",
                    f"{row.node_name} with ID {row.node_id}",
                    "Give the host a node_id of its own, or remove the other node first.",
                )

    def _second_primary(self) -> None:
        raise Conflict(
            f"Two primaries: {self.name} (timeline {self.instance.timeline}) beside {self.live} "
            f"(timeline {self.seen.live_timeline})",
            self.live,
            self.name,
            "Its agent ends one of the two within seconds. If it does not: ansible-playbook pgherd.cluster.rejoin",
        )

    def _replace(self) -> None:
        """Note here whose place this node's data take, where another is admitted under its name."""
        view, mine = self.seen.topology.node(self.live), self.seen.topology.node(self.name)
        members = view.postgres.members if view and view.postgres else None
        old, shown = (members or {}).get(self.name, ""), mine.postgres if mine else None
        own = Incarnation(shown.incarnation, shown.replaces) if shown else Incarnation()
        cloned = any(step.action in ("clone", "rejoin") for step in self.steps)
        if old and self.name != self.live and (cloned or not admitted(self.name, own, members)):
            what = f"let {self.name} take the place of {old}, which is gone for good"
            self._do("replace", what, old=old, upstream=self.live, timeline=self.seen.live_timeline)

    def _no_strange_files(self) -> None:
        if self.instance.data == BROKEN:
            verdict = broken(self.name, self.instance.local, (), ())
            raise verdict.conflict or Conflict(self.name, "a whole data directory", verdict.why)
        if self.instance.data == OTHER:
            raise Conflict(
                f"{self.name}: its data directory",
                "empty, or a cluster",
                "files that are no cluster",
                "See what they are, and move them away, or name the host in cluster_wipe.",
            )

    def _must_be_replaced(self) -> bool:
        """Whether what is in the data directory cannot become a standby of the live primary: clone where *wipe* allows
        it, else say what to do."""
        theirs, mine = self.seen.system_identifier, self.instance.system_identifier
        strange = self.instance.data == CLUSTER and "" not in (theirs, mine) and theirs != mine
        if self.instance.data in (OTHER, BROKEN) or strange:
            ours = self.instance.data == BROKEN and "" != mine == theirs
            if self.desired.wipe or ours:
                self._clone()
                return True
            self._no_strange_files()
            raise Conflict(
                f"{self.name} holds another cluster than {self.live}",
                theirs,
                mine,
                "If its data may go, name the host in cluster_wipe.",
            )
        if self.instance.running:
            return False
        if self.instance.standby and not self.seen.interrupted:
            return self._given_up()
        # It was a primary, or an attempt to come back was interrupted.
        if self.desired.rejoin and self.live:
            self._rejoin()
        elif self.desired.wipe and self.live:
            self._clone()
        elif self.live:
            self.left_alone = (
                f"{self.name} was a primary (timeline {self.instance.timeline}) and stays stopped, since {self.live} is "
                f"primary now (timeline {self.seen.live_timeline}). Its agent brings it back, or "
                "ansible-playbook pgherd.cluster.rejoin does."
            )
        else:
            self.left_alone = f"{self.name} was a primary and is stopped, and no other primary answers"
        return True

    def _given_up(self) -> bool:
        """A standby that does not answer would be started and waited for, perhaps for ever, when its recovery lacks WAL. Its
        data may go: clone."""
        if self.desired.wipe and self.live:
            # Its postmaster may live.
            self._do("stop", f"stop what may still be starting on {self.name}")
            self._clone()
            return True
        return False

    def _rejoin(self) -> None:
        """Rewind or clone, whichever will do; what only this node has is kept."""
        self._do("rejoin", f"bring {self.name} back below {self.live}: rewind it, else clone it", upstream=self.live)
        self.after.update(data=CLUSTER, running=True, role="standby")
        self._will_stream(self.live)
        self._register("standby", self.live)

    def _clone(self) -> None:
        upstream = self._source()
        if not upstream:
            raise Conflict(f"Clone {self.name}", "an upstream", "none: no primary answers")
        self._not_in_vain(f"Clone {self.name} from {upstream}", upstream)
        wipe = self.instance.data != NONE
        what = f"clone {self.name} from {upstream}" + (", over what is in its data directory" if wipe else "")
        if self.instance.running:
            self._do("stop", f"stop PostgreSQL on {self.name}")
        self._do("clone", what, upstream=upstream, wipe=wipe)
        self._do("start", f"start PostgreSQL on {self.name}")
        self.after.update(data=CLUSTER, running=True, role="standby")
        self._will_stream(upstream)
        self._register("standby", upstream)

    def _not_in_vain(self, attempted: str, upstream: str) -> None:
        """Raise Conflict where nobody can stream from *upstream* yet and this run will not make it so."""
        if upstream not in self.desired.lost:
            return
        if not self.live:
            found = "no primary that answers"
        elif not self.seen.connected(upstream):
            found = f"{upstream} is not the primary {self.live} and does not stream from it"
        elif not self.seen.record(self.cluster.node(upstream).id):
            found = f"{upstream} is not registered"
        else:
            return
        cure = f"Mend {upstream} first: this run failed on it, did not reach it, or was told to leave it out."
        raise Conflict(attempted, f"{upstream} as an upstream", found, cure)

    def _start(self) -> None:
        if not self.instance.running:
            self._do("start", f"start PostgreSQL on {self.name}")
            self.after.update(running=True, role="standby" if self.instance.standby else "primary")

    def _slot_there(self, upstream: str) -> None:
        """A slot that is gone from *upstream* (after a failover, say) keeps a standby from streaming at all."""
        if self._slot() and self.seen.lacks_slot(upstream, self._slot()):
            self._do("make_slot", f"make slot {self._slot()} on {upstream}", upstream=upstream, slot=self._slot())
            self.before["slot_on"], self.after["slot_on"] = [], [upstream]

    def _slot_off(self) -> None:
        if self.seen.slot and not self.cluster.replication_slots:
            self._do("leave_slot", f"let {self.name} stream without slot {self.seen.slot}", slot=self.seen.slot)
            self.after["slot"] = ""

    def _will_stream(self, upstream: str) -> None:
        text = without_password(self.seen.streaming_conninfo(self.cluster, self.node, upstream))
        self.after.update(upstream=upstream, primary_conninfo=text, slot=self._slot())

    def _slot(self) -> str:
        return self.node.slot if self.cluster.replication_slots else ""

    def _register(self, kind: str, upstream: str, complete: bool = True) -> None:
        """Plan to write the node's row where it differs; *complete* False writes it in any case."""
        above = self.cluster.node(upstream).id if upstream else None
        wanted, found = (
            wanted_record(self.cluster, self.node, kind, above, self.layout),
            self.seen.record(self.node.id),
        )
        if found == wanted and complete:
            return
        self.after["record"] = asdict(wanted)
        differs = [key for key, value in asdict(wanted).items() if found and getattr(found, key) != value]
        what = f"register {self.name} as {kind}" + (f" of {upstream}" if upstream else "")
        args = {"upstream": upstream} if upstream else {}
        self._do(f"register_{kind}", what + (f" (changed: {', '.join(differs)})" if differs else ""), **args)

    def _do(self, action: str, what: str, **args: Any) -> None:
        self.steps.append(Step(action, what, args))

    # What is known of the tree.

    def _upstream_of_choice(self) -> str:
        return self.desired.upstream or self.node.upstream

    def _source(self) -> str:
        """Where an empty node is cloned from: its upstream while that streams from the primary, else the primary."""
        choice = self._upstream_of_choice()
        return choice if self.desired.upstream or not self.live or self.seen.connected(choice) else self.live
