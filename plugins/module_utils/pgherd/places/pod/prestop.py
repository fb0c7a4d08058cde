# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What comes before a pod's end: the primary hands over, where another one stays, and is done in any case within its time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from functools import partial

from ...agent.asking import READY, Asking
from ...errors import PgherdError, Unreachable
from ...model import Cluster
from ...observe.open_sessions import OpenSessions
from ...ports.peers import Peers
from ...promotion import change, choice
from .here import links_from
from .record import AskedRecord

# Seconds that the others' pods have to be told that they end too: where all go at once, nobody is handed over to.
TOGETHER = 0.5
# Seconds for a look at who is there.
LOOK = 3.0


def successor(candidates: Sequence[str], ending: Collection[str]) -> str:
    """To whom to hand over, of *candidates*, the best first; '' for nobody: all of them are *ending*."""
    return next((name for name in candidates if name not in ending), "")


def hand_over(cluster: Cluster, me: str, say: Callable[[str], None], record: AskedRecord) -> None:
    """Hand over where *me* is the primary. Raises PgherdError."""
    time.sleep(TOGETHER)
    links = links_from(cluster, me)
    with closing(OpenSessions([node.name for node in cluster.nodes], links)) as sessions:
        sessions.wait([node.name for node in cluster.data_nodes], LOOK)
        survey = sessions.survey()
    mine = survey.states.get(me)
    if mine is None or mine.in_recovery:
        say(f"{me} is not the primary: there is nothing to hand over")
        return
    try:
        ending = record.ending()
    except Unreachable as error:
        # While the API server is away nobody ends pods either, but by hand.
        say(f"nobody says which pods end: {error}")
        ending = ()
    target = successor(choice.candidates(cluster, survey, me), ending)
    if not target:
        say(f"{me} hands over to nobody: no standby stays that may be primary ({', '.join(ending) or 'none'} end)")
        return
    found, _target = choice.look(cluster, links, target)
    todo, against = change.switchover(cluster, found, target, choice.SwitchoverLimits(), False)
    for words in [*against, *todo.describe()]:
        say(words)
    todo.apply(Asking(target, partial(Peers(cluster).connect, target, READY), say, {}))


def main(cluster: Cluster, me: str, limit: float, say: Callable[[str], None]) -> int:
    """Hand over where that is due, and return 0 within *limit* seconds, whatever hangs."""
    if me not in {node.name for node in cluster.data_nodes}:
        return 0
    over = threading.Event()

    def run() -> None:
        try:
            hand_over(cluster, me, say, AskedRecord(limit=LOOK))
        except (PgherdError, OSError) as error:
            say(f"not handed over: {' '.join(str(error).split())}")
        finally:
            over.set()

    threading.Thread(target=run, daemon=True).start()
    if not over.wait(limit):
        say(f"not handed over within {limit:g} s: the pod ends all the same")
    return 0


def to_the_log(line: str) -> None:
    """Say a *line* of a hook, whose output nobody shows, where process 1 says its own."""
    try:
        handle = os.open("/proc/1/fd/1", os.O_WRONLY | os.O_APPEND)
    except OSError:
        return
    with os.fdopen(handle, "w") as stream:
        stream.write(f"prestop: {line}\n")
