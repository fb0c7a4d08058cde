# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What every node says of its server and of its data directory, asked of the nodes' agents, and the decision about this node's
data that rests on that. It needs no server that runs, and no playbook: nodes reach the first start among themselves by it.

An agent is asked with the verb of observe/peer_answers.py and the word ``data`` besides. One of a release before does not say
what is asked for then, and counts as silent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ..data.datadir import BROKEN, CLUSTER, NONE, OTHER
from ..errors import PgherdError, ProtocolError
from ..model import Cluster
from ..observe import peer_answers
from ..observe.node_state import NodeState, Survey, parse_state
from ..ports.here import Here
from ..ports.peers import Peers
from .directory_state import UNREADABLE, DirectoryState, look
from .evidence import Evidence
from .guard import decide
from .verdict import StartVerdict

# Seconds for each step of an answer: the agent waits for its server, which may be one that hangs.
LIMIT = 5.0


@dataclass(frozen=True)
class NodeEvidence:
    """What one node says: what its *directory* holds, and the *state* of its server, None where that does not answer."""

    directory: DirectoryState
    state: Optional[NodeState] = None


def answer(here: Here, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the agent *here* answers. Without the word ``data`` it is peer_answers.evidence(), and raises as that."""
    if asked.get("data") is not True:
        return peer_answers.evidence(here.me, here.links, asked)
    try:
        said = peer_answers.evidence(here.me, here.links, asked)
    except ProtocolError:
        raise
    except PgherdError as error:
        said = {"node": here.me, "down": " ".join(str(error).split())}
    # The server is asked first: one that starts meanwhile is seen to run.
    return {**said, "data": look(here).as_json()}


def of_peer(peers: Peers, name: str, limit: float = LIMIT) -> NodeEvidence:
    """What the node called *name* says, by its agent; *limit* seconds for each step. Raises OSError, ProtocolError."""
    asked = {"verb": peer_answers.VERB, "question": peer_answers.QUESTION, "data": True}
    said = peers.ask(name, asked, limit)
    if said.get("node") != name:
        raise ProtocolError(f"the agent that was asked for {name} is that of {str(said.get('node'))[:80]}")
    directory = DirectoryState.from_json(said.get("data"))
    if "row" not in said:
        return NodeEvidence(directory)
    try:
        return NodeEvidence(directory, parse_state(name, json.loads(said["row"])))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"the agent of {name} says {str(dict(said))[:80]}") from error


def known(
    said: Mapping[str, Optional[NodeEvidence]], blind: bool = False, by_playbook: bool = False
) -> tuple[Survey, Evidence]:
    """What the other data nodes have *said*, None for one that could not be asked, as the decision about this one takes it: what
    runs, and what else was seen. *blind*, *by_playbook*: see Evidence."""
    states = {name: one.state for name, one in said.items() if one and one.state}
    down = {name: one.directory for name, one in said.items() if one and not one.state}
    # What cannot be read may be the cluster.
    silent = [name for name, one in said.items() if not one or (name in down and down[name].kind == UNREADABLE)]
    return Survey(states), Evidence(
        stopped={name: one.stopped for name, one in down.items() if one.kind in (CLUSTER, BROKEN)},
        empty=tuple(name for name, one in down.items() if one.kind == NONE),
        strange=tuple(name for name, one in down.items() if one.kind == OTHER),
        silent=tuple(silent),
        blind=blind,
        by_playbook=by_playbook,
    )


def verdict(
    cluster: Cluster, me: str, mine: DirectoryState, said: Mapping[str, Optional[NodeEvidence]], blind: bool = False
) -> StartVerdict:
    """What *me*, whose server is down, may do about its data, by what its own directory holds and what the others have *said*; of
    which nothing is there, that one is silent. *blind*: see Evidence. Raises PgherdError where its own cannot be read."""
    if mine.kind == UNREADABLE:
        raise PgherdError(f"decide about the data of {me}: {mine.why}", "Mend its rights or its disk.")
    others = {node.name: said.get(node.name) for node in cluster.data_nodes if node.name != me}
    survey, evidence = known(others, blind)
    return decide(cluster, me, mine.local, survey, evidence)
