# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Every fault begins on a whole cluster and ends on one; what it cost is written down for the table of results.

LAB_CLUSTER names the test hosts, PGHERD_TEST_INVENTORY what they are (default: molecule/faults/inventory.yml).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from faults import endstate, inject
from faults.cluster import CHECKOUT, LAB, Cluster, Impossible, in_pods
from faults.mend import mend
from faults.records import Record, collect, last_lines
from faults.trial import Trial

T_FENCE = 10.0  # seconds: two nodes may look writable to clients for no longer
Breaking = Callable[..., AbstractContextManager[Trial]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """What cannot be done to nodes where they live is skipped, and why is said."""
    try:
        yield
    except Impossible as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that is broken."""
    default = CHECKOUT / "molecule/faults/inventory.yml"
    try:
        return Cluster(os.environ.get("LAB_CLUSTER", "faults"), Path(os.environ.get("PGHERD_TEST_INVENTORY", default)))
    except Impossible as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def left() -> dict[str, bool]:
    """*whole*: the last fault ended on a whole cluster, as was just seen, and nothing has been done to it since."""
    return {"whole": False}


@pytest.fixture(autouse=True)
def _whole(cluster: Cluster, request: pytest.FixtureRequest, left: dict[str, bool]) -> Iterator[None]:
    """All is well before a fault; whatever happens, it is healed after it."""
    if request.node.get_closest_marker("tree") and len(cluster.nodes) < 5:
        pytest.skip("needs the tree of five nodes")
    if request.node.get_closest_marker("pods") and not in_pods(cluster.described):
        pytest.skip("needs a cluster in pods")
    if not left["whole"]:
        healed = inject.sweep(cluster)
        mend(cluster, seconds=180 if healed else 90)
    left["whole"] = False
    yield
    if inject.sweep(cluster):
        left["whole"] = False


@pytest.fixture
def breaking(cluster: Cluster, request: pytest.FixtureRequest, left: dict[str, bool]) -> Breaking:
    """``with breaking() as trial``: writers run; the test breaks something and says what must hold. Then everything is
    healed, the end state is waited for, and the history is judged. *settle*: seconds that may take."""
    fault, title = request.node.get_closest_marker("fault").args
    directory = LAB / cluster.name / "trials" / request.node.name.replace("/", "_")

    @contextmanager
    def broken(settle: float = 180.0, fence: float = T_FENCE, **how: object) -> Iterator[Trial]:
        trial = Trial(cluster, directory, **how)  # type: ignore[arg-type]
        record: Record | None = Record(fault, title, time.time())
        try:
            unwell = ""
            with trial:
                yield trial
                inject.sweep(cluster)
                try:
                    record.settled = round(endstate.gate(cluster, settle), 1)
                    trial.until_written(30)
                except AssertionError as error:  # the rows are judged all the same
                    unwell = str(error)
                    print(f"\n{fault}: not whole again: {unwell}")
                    collect(cluster, directory, trial.began)
                    print(last_lines(directory, cluster.nodes))
                    mend(cluster, 5)
            found = trial.judge()
            record.judged(trial)
            slow = [overlap for overlap in trial.overlaps if overlap.grade == "B" and overlap.seconds > fence]
            wrong = [
                *found.problems,
                *(f"two nodes took writes from clients: {one}" for one in slow),
                *trial.misled(),
                *filter(None, [unwell]),
            ]
            assert not wrong, "; ".join(wrong)
            record.verdict = "ok"
            left["whole"] = True
        except (pytest.skip.Exception, Impossible):
            record = None  # nothing was done
            raise
        except BaseException as error:
            record.verdict = f"{type(error).__name__}: {str(error)[:500]}"
            collect(cluster, directory, trial.began)
            raise
        finally:
            if record:
                record.save(LAB / cluster.name / "results.jsonl")
                print(f"\n{fault}: {json.dumps(record.__dict__)}")

    return broken
