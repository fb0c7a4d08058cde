# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The service for reads answers while there is no primary: in a failover, and for as long as nobody may be promoted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
import pytest

from faults import inject
from faults.cluster import Cluster, until
from faults.suite.conftest import Breaking
from faults.suite.steps import fails_over, others
from faults.suite.test_pods import place
from faults.suite.test_pods_serving import kubectl
from faults.suite.test_pods_whole import led_to

fault = pytest.mark.fault
pytestmark = pytest.mark.pods
EVERY = 0.2  # seconds from one question to the next


@dataclass
class Reader:
    """A client that asks the service for reads again and again, each time anew. *failed*: what went wrong, each time."""

    line: str
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> bool:
        """Once."""
        try:
            with psycopg.connect(self.line, connect_timeout=3) as session:
                session.execute("SELECT count(*) FROM ha_log")
        except psycopg.Error as error:
            self.failed.append(str(error).strip()[:200])
            return False
        self.answered += 1
        return True

    def run(self) -> None:
        """Until it is done."""
        while not self.done.wait(EVERY):
            self.ask()


def reader(cluster: Cluster) -> Reader:
    """A client of this machine."""
    name = f"{place(cluster).cluster}-read"
    address = kubectl(cluster, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}").strip()
    return Reader(f"{cluster.dsn('nodes')} host={name} hostaddr={address} target_session_attrs=any")


@contextmanager
def reading(cluster: Cluster) -> Iterator[Reader]:
    """One that reads meanwhile."""
    one = reader(cluster)
    thread = threading.Thread(target=one.run, name="reader")
    thread.start()
    try:
        yield one
    finally:
        one.done.set()
        thread.join(30)


@fault("C48", "reads in a failover")
def test_nobody_who_reads_sees_a_failover(breaking: Breaking, cluster: Cluster) -> None:
    """The service leads to standbys alone, and each of them serves all the time, the one that is promoted too."""
    with breaking() as trial, reading(cluster) as client:
        trial.now()
        inject.freeze(cluster, trial.first_primary)
        fails_over(trial, trial.first_primary)
        assert client.answered
        assert not client.failed, client.failed[:5]


@fault("C48", "reads while nobody may be promoted")
def test_reads_go_on_without_a_primary(breaking: Breaking, cluster: Cluster) -> None:
    with breaking(settle=240) as trial:
        left = cluster.standbys(trial.first_primary)[-1]
        client = reader(cluster)
        trial.now()
        for node in others(cluster, left):
            inject.freeze(cluster, node)
        until(
            "the service to lead to who is left",
            lambda: led_to(cluster, f"{place(cluster).cluster}-read") == {left},
            60,
        )
        trial.hold(10, client.ask, f"{left} answers who reads")
