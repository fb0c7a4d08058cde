# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a node's server says of itself, asked of the node's agent, which asks it anew each time.

It is the row of the one statement that sessions on that node would ask, by the same role, and is read in the same way. An agent
of another release may know another statement: it gives no answer then, rather than one that lacks something.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..description import digest
from ..errors import PgherdError, ProtocolError
from ..ports.links import Links, session
from ..ports.peers import Peers
from .node_state import QUERY, NodeState, parse_state
from .open_sessions import OpenSessions

VERB = "evidence"
QUESTION = digest(QUERY.encode())
# Seconds for each step of an answer, and after which a session is opened besides, where none has come.
LIMIT, HEAD_START = 1.0, 0.2


def evidence(me: str, links: Links, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the agent of the node *me* answers. Raises PgherdError where its server does not."""
    if asked.get("question") != QUESTION:
        raise ProtocolError("asked for what this release does not know.")
    with session(links, me) as server:
        return {"node": me, "row": json.dumps(server.rows(QUERY)[0])}


def of_peer(peers: Peers, name: str) -> NodeState:
    """What the server of the node called *name* says, by its agent. Raises OSError, ProtocolError."""
    answer = peers.ask(name, {"verb": VERB, "question": QUESTION}, LIMIT)
    try:
        if answer["node"] != name:
            raise ProtocolError(f"the agent that was asked for {name} is that of {answer['node']}")
        return parse_state(name, json.loads(answer["row"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"the agent of {name} says {str(dict(answer))[:80]}") from error


class Answers(OpenSessions):
    """For one survey(): what the agents of *names* say, and where one has not answered after HEAD_START, a session as well. Who
    answers first counts; both are asked after this was made."""

    def _open(self, name: str, links: Links) -> None:
        if links.peers and name in links.peers:
            over = threading.Event()
            threading.Thread(target=self._ask, args=(name, links.peers, over), daemon=True).start()
            over.wait(HEAD_START)
        if name not in self._states:
            super()._open(name, links)

    def _ask(self, name: str, peers: Peers, over: threading.Event) -> None:
        with suppress(OSError, PgherdError):
            self._states.setdefault(name, of_peer(peers, name))
        over.set()


def head_start(links: Links) -> float:
    """Seconds that Answers may be later than sessions alone."""
    return HEAD_START if links.peers else 0.0
