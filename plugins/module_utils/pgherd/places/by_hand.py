# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""``pgherd switchover`` and ``pgherd rejoin``: what the playbooks do, for a person on a data node's host. What is to be done is
decided here; the agent of the node that it is about does it, and each step is shown when it is done."""

from __future__ import annotations

from functools import partial

from ..agent.asking import READY, Asking, who
from ..errors import PgherdError
from ..model import Cluster
from ..nodes.node import Desired, plan
from ..nodes.node_apply import NodeExecutor, look
from ..nodes.rejoin import Rejoin
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
    if target == me:
        own = change.ChangeExecutor(cluster, me, links, say)
        todo.apply(Asking(me, commands(), say, {"switchover": own.switchover}))
    else:
        todo.apply(Asking(target, partial(Peers(cluster).connect, target, READY), say, {}))
    return 0


def rejoin(cluster: Cluster, host: str, told: int, check: bool) -> int:
    """Bring this node, called *host* or as its agent says, back as a standby. For *told* see layout.version_of: where the
    description is of a release before, the agent says it too. With *check* only say what would be done. Returns the exit code.
    Raises PgherdError."""
    me = _me(cluster, host, "rejoin")
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
