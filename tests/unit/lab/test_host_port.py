# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Tests break, mend and ask nodes through one port, so that the same faults run wherever nodes live."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))

import kubernetes_pods
import machine
import place
import systemd_hosts

TESTS = Path(__file__).resolve().parents[2]
PORT = {name: item for name, item in vars(place.Place).items() if inspect.isfunction(item) and not name.startswith("_")}
# Whoever writes one of these knows that nodes are containers of this machine with systemd in them.
HOSTS_OWN = re.compile(r"systemctl|journalctl|\bpodman\b|nsenter")
NEUTRAL = [*TESTS.glob("faults/suite/*.py"), *TESTS.glob("faults/checker/*.py"), *TESTS.glob("upgrade/*.py")]
NEUTRAL += [
    TESTS / f"faults/{name}.py" for name in ("chaos", "cluster", "compare", "endstate", "mend", "records", "trial")
]


@pytest.mark.parametrize("kind", [systemd_hosts.SystemdHosts, kubernetes_pods.Pods])
@pytest.mark.parametrize("name", PORT)
def test_all_kinds_of_nodes_have_the_whole_port(name: str, kind: type) -> None:
    ours = inspect.signature(getattr(kind, name, lambda: None))
    assert list(ours.parameters) == list(inspect.signature(PORT[name]).parameters)


@pytest.mark.parametrize("path", NEUTRAL, ids=lambda path: str(path.relative_to(TESTS)))
def test_nothing_else_knows_where_nodes_live(path: Path) -> None:
    assert [line for line in path.read_text(encoding="utf-8").splitlines() if HOSTS_OWN.search(line)] == []


def answers(*given: object) -> Callable[[], object]:
    """Each answer once; an exception is raised."""
    left = list(given)

    def ask() -> object:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


def test_the_first_answer_that_counts_is_taken() -> None:
    assert machine.until("it", answers(0, "", "yes", "no"), 5, 0) == "yes"


def test_an_answer_that_could_not_be_had_is_asked_for_again() -> None:
    assert machine.until("it", answers(LookupError("off"), 1), 5, 0, (LookupError,)) == 1
    with pytest.raises(LookupError):
        machine.until("it", answers(LookupError("off"), 1), 5, 0)


@pytest.mark.parametrize(("last", "said"), [(0, "last seen: 0"), (LookupError("off"), "last seen: LookupError: off")])
def test_in_vain_is_said_with_what_was_last_seen(last: object, said: str) -> None:
    with pytest.raises(AssertionError, match=f"waited -1 s in vain for it; {said}"):
        machine.until("it", answers(last), -1, 0, (LookupError,))


def test_one_that_waited_in_vain_is_no_answer_that_could_not_be_had() -> None:
    with pytest.raises(machine.Late, match="inner"):
        machine.until("it", answers(machine.Late("inner"), 1), 5, 0, (machine.LabError,))
