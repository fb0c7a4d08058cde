# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What is to be seen of data that run elsewhere, of real servers: one that streams, one that stands still, one that has ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from pgherd.model import Cluster, Node
from pgherd.nodes.elsewhere import Sign, living, shown, signs, undecided
from pgherd.observe.node_state import Survey
from pgherd.places.pod.processes import below
from real_servers import installed
from test_statements import Pair, pair

pytestmark = installed
_ = pair


def found(pair: Pair, me: str, by: str) -> dict[str, str]:
    """What the node *by* shows of *me*, whose incarnation is admitted."""
    nodes = (Node("a", 1, "postgres", str(pair.place)), Node("b", 2, "postgres", "elsewhere", "a"))
    state = replace(pair.agent(by), members={me: "mine"})
    return shown(Cluster("demo", nodes), me, "mine", Survey({by: state}))


def lives(pair: Pair, me: str, by: str) -> bool:
    """Whether *me* is seen to live by *by*, once that is decided."""
    known: dict[str, Sign] = {}
    deadline = time.monotonic() + 30.0
    while True:
        known = signs(found(pair, me, by), known, time.monotonic())
        now = time.monotonic()
        if living(known, now) or not undecided(known, now):
            return bool(living(known, now))
        assert now < deadline, "not decided"
        time.sleep(0.1)


@contextmanager
def still(pair: Pair, name: str) -> Iterator[None]:
    """The server *name* stands still."""
    postmaster = int((pair.place / name / "postmaster.pid").read_text().splitlines()[0])
    all_ = [postmaster, *below(postmaster)]
    for pid in all_:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in all_:
            os.kill(pid, signal.SIGCONT)


def test_a_standby_in_the_eyes_of_its_primary(pair: Pair) -> None:
    # As the cluster's configuration has it.
    pair.sql("b", "ALTER SYSTEM SET wal_receiver_status_interval = '1s'")
    pair.sql("b", "SELECT pg_reload_conf()")
    assert lives(pair, "b", "a")
    with still(pair, "b"):
        assert found(pair, "b", "a"), "its stream is there, and nobody answers on it"
        assert not lives(pair, "b", "a")
    assert lives(pair, "b", "a")
    pair.stop("b", "immediate")
    assert not lives(pair, "b", "a")
    pair.start("b")


def test_a_primary_in_the_eyes_of_its_standby(pair: Pair) -> None:
    pair.until(lambda: found(pair, "a", "b"))
    assert lives(pair, "a", "b")
    pair.stop("a", "immediate")
    began = time.monotonic()
    assert not lives(pair, "a", "b")
    assert time.monotonic() - began < 3.0
    pair.start("a")
