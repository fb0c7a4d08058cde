# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""``pgherd switchover``, ``promote`` and ``rejoin``: what the playbooks do, for a person on any data node's host. What is to be
done is decided here; the agent of the node that it is about does it, and each step is shown when it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from ..agent.asking import READY, Asking, who
from ..errors import PgherdError
from ..model import Cluster
from ..nodes.node import Desired, plan
from ..nodes.node_apply import NodeExecutor, look, look_around
from ..nodes.rejoin import Rejoin
from ..plan import Plan, Step
from ..ports.peers import Peers
from ..promotion import change, choice
from ..text import say
from .chosen import commands, here, links_from

# The exit code where something is left that is not as it should be.
LEFT = 3


def switchover(cluster: Cluster, host: str, to: str, check: bool, force: bool) -> int:
    """Hand over to the node called *to*, '' for the best standby, from this one, called *host* or as its agent says. With *check*
    only say what would be done. Returns the exit code. Raises PgherdError."""
    me = _me(cluster, host, "switch over")
    links = links_from(cluster, me)
    found, target = choice.look(cluster, links, _known(cluster, to))
    todo, against = change.switchover(cluster, found, target, choice.SwitchoverLimits(), force)
    for words in [*against, *(todo.describe() or [f"{target} is the primary."])]:
        say(f"switchover: {words}")
    if check or not todo.changed:
        return 0
    own = change.ChangeExecutor(cluster, me, links, say)
    todo.apply(_asking(cluster, me, target, {"switchover": own.switchover}))
    return 0


def promote(cluster: Cluster, host: str, to: str, check: bool, accept_loss: bool) -> int:
    """Make the node called *to*, '' for this one, the primary where there is none; this node is called *host*, or as its agent
    says. *accept_loss*: commits that only missing nodes have may go. With *check* only say what would be done. Returns the exit
    code. Raises PgherdError."""
    me = _me(cluster, host, "promote")
    target = _known(cluster, to) or me
    links = links_from(cluster, me)
    # Another node's pg_control is not here; its agent looks at that.
    found = links if target == me else replace(links, least=lambda _theirs: {})
    todo, _why = change.promotion(cluster, target, found, accept_loss)
    for words in todo.describe() or [f"promote: {target} is the primary."]:
        say(words)
    if check or not todo.changed:
        return 0
    own = change.ChangeExecutor(cluster, me, links, say)
    todo.apply(_asking(cluster, me, target, {"promote": own.promote}))
    return 0


def rejoin(cluster: Cluster, host: str, told: int, check: bool, name: str = "") -> int:
    """Bring the node called *name*, '' for this one, back as a standby; this node is called *host*, or as its agent says. For
    *told* see layout.version_of: where the description is of a release before, the agent says it too. With *check* only say what
    would be done. Returns the exit code. Raises PgherdError."""
    me = _me(cluster, host, "rejoin")
    if _known(cluster, name) not in ("", me):
        return _rejoin_elsewhere(cluster, me, name, check)
    if not (told or cluster.node(me).version):
        told = who(commands()).get("postgres", 0)
    mine = here(cluster, me, say, told)
    todo, left_alone = plan(cluster, me, Desired(rejoin=True), look(mine), mine.layout)
    for words in [left_alone] if left_alone else todo.describe() or [f"{me} has nothing to come back from."]:
        say(f"rejoin: {words}")
    if not check:
        asking = Asking(me, commands(), say, {"rejoin": Rejoin(mine).run})
        todo.apply(NodeExecutor(mine, 300.0, asking.rejoin))
    return LEFT if left_alone else 0


def _rejoin_elsewhere(cluster: Cluster, me: str, name: str, check: bool) -> int:
    """The files of the node called *name* are its own: its agent sees whether there is anything to come back from."""
    live = look_around(cluster).live_primary()
    if live is None:
        say(f"rejoin: {name} is left alone: no primary answers.")
        return LEFT
    if live.name == name:
        say(f"rejoin: {name} is the primary, and has nothing to come back from.")
        return 0
    step = Step("rejoin", f"bring {name} back below {live.name}, unless it streams already", {"target": live.name})
    todo = Plan(name, {"upstream": ""}, {"upstream": live.name}, (step,))
    for words in todo.describe():
        say(f"rejoin: {words}")
    if not check:
        todo.apply(_asking(cluster, me, name, {}))
    return 0


def _asking(cluster: Cluster, me: str, target: str, own: Mapping[str, Callable[..., object]]) -> Asking:
    """Who has the steps done by the agent of *target*. Where that is *me*, and no agent runs here, *own* does them."""
    if target == me:
        return Asking(me, commands(), say, own)
    return Asking(target, partial(Peers(cluster).connect, target, READY), say, {})


def _me(cluster: Cluster, host: str, attempted: str) -> str:
    me = host or who(commands()).get("node", "")
    if not me:
        raise PgherdError(f"{attempted}: no agent here says which node this is.", "Say --host, or start the agent.")
    return _known(cluster, me)


def _known(cluster: Cluster, name: str) -> str:
    names = [node.name for node in cluster.data_nodes]
    if name and name not in names:
        raise PgherdError(f"{name} is none of {', '.join(names)}, the data nodes of cluster {cluster.name}.")
    return name
