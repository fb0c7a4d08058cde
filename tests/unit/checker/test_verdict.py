# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The judge is judged: on histories made up here, it has to find what is wrong with each."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

from faults.checker.history import FAIL, INFO, OK, WRITER, Log, Op, Tail, load, read
from faults.checker.observer import Sight, two_primaries
from faults.checker.verdict import gaps, judge, stale

A, B = "10.0.0.11", "10.0.0.12"


def op(
    k: int, at: float, outcome: str = OK, node: str = A, timeline: int = 1, took: float = 0.01, writer: int = 1
) -> Op:
    """Row *k* of a writer, sent at *at*."""
    node, timeline = (node, timeline) if outcome == OK else ("", 0)
    return Op(writer * WRITER + k, at, at + took, outcome, node, timeline)


CLEAN = [op(1, 0.0), op(2, 0.1), op(3, 0.2, FAIL), op(4, 0.3, INFO), op(5, 0.4, node=B, timeline=2)]


def ids(*ks: int) -> set[int]:
    return {WRITER + k for k in ks}


def test_a_clean_history_has_no_problems() -> None:
    found = judge(CLEAN, ids(1, 2, 5))
    assert found.problems == []
    assert found.counts == {OK: 3, FAIL: 1, INFO: 1}
    assert found.timelines == (1, 2)
    assert found.recovered == 0


def test_an_unknown_row_may_be_there_or_not() -> None:
    found = judge(CLEAN, ids(1, 2, 4, 5))
    assert (found.problems, found.recovered) == ([], 1)


@pytest.mark.parametrize(
    ("rows", "field", "row"),
    [
        (ids(1, 5), "lost", 2),
        (ids(1, 2, 5, 77), "unexpected", 77),
        (ids(1, 2, 3, 5), "refused", 3),
    ],
)
def test_a_row_too_few_or_too_many_is_found(rows: set[int], field: str, row: int) -> None:
    found = judge(CLEAN, rows)
    assert getattr(found, field) == frozenset(ids(row))
    assert len(found.problems) == 1
    assert str(WRITER + row) in found.problems[0]


def test_nothing_acknowledged_is_a_problem() -> None:
    assert judge([op(1, 0.0, FAIL)], set()).problems == ["nothing was ever acknowledged"]
    assert judge([], set()).problems == ["nothing was ever acknowledged"]


@pytest.mark.parametrize(
    ("last", "problems"),
    [
        (op(9, 0.5, node=A, timeline=1), 1),  # sent after an answer on timeline 2
        (op(9, 0.405, node=A, timeline=1), 0),  # sent before that answer came
        (op(9, 0.5, node=B, timeline=2), 0),
        (op(9, 0.5, node=A, timeline=2), 1),  # the timeline is the other node's
        (op(9, 0.5, INFO), 0),
        (op(9, 0.5, FAIL), 0),
    ],
)
def test_an_acknowledgement_by_another_primary_is_found_even_if_the_row_survived(last: Op, problems: int) -> None:
    history = [*CLEAN, last]
    assert len(stale(o for o in history if o.outcome == OK)) == problems
    assert len(judge(history, {o.id for o in history if o.outcome == OK}).stale) == problems


def test_a_gap_is_measured_between_acknowledgements() -> None:
    found = gaps([op(1, 0.0), op(2, 1.0), op(3, 2.0, FAIL), op(4, 3.0, INFO), op(5, 6.0), op(6, 6.5)])
    assert found.overall == pytest.approx(5.0)
    assert (found.began, found.ended) == (pytest.approx(1.01), pytest.approx(6.01))
    assert found.first_failure_to_ok == pytest.approx(4.0)


def test_a_gap_that_never_ends_counts() -> None:
    assert gaps([op(1, 0.0), op(2, 1.0, FAIL), op(3, 9.0, FAIL)]).overall == pytest.approx(9.0)


def test_a_gap_of_one_writer_is_told_from_one_of_all() -> None:
    busy = [op(k, k * 0.1, writer=2) for k in range(1, 101)]
    found = gaps(sorted([op(1, 0.0), op(2, 8.0), *busy], key=lambda o: o.invoked))
    assert found.overall < 0.2
    assert found.worst_writer == pytest.approx(8.0)


def test_a_history_is_read_back_as_it_was_logged(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    log = Log(path, "pgpool")
    for number in range(1, 5):
        log.invoke(WRITER + number)
    log.answer(WRITER + 1, OK, A, 7)
    log.answer(WRITER + 2, FAIL, why="read-only")
    log.answer(WRITER + 3, INFO, why="lost")
    log.close()
    with path.open("a") as file:
        file.write('{"at": 1, "id"')  # killed while writing
    found = load(path)
    assert [o.outcome for o in found] == [OK, FAIL, INFO, INFO]
    assert (found[0].node, found[0].timeline, found[0].via) == (A, 7, "pgpool")
    assert found[3].answered is None
    assert found[0].writer == 1


def test_a_history_can_be_followed_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    tail = Tail(path)
    assert tail.ops() == []
    log = Log(path)
    log.invoke(WRITER + 1)
    with path.open("a") as file:
        file.write('{"at": 1, "id": 1000000001, ')
        file.flush()
        assert [o.outcome for o in tail.ops()] == [INFO]
        file.write('"is": "ok", "node": "n", "tli": 3}\n')
    assert [(o.outcome, o.timeline) for o in tail.ops()] == [(OK, 3)]


def test_an_answer_without_a_question_is_an_error() -> None:
    with pytest.raises(KeyError):
        read([json.dumps({"at": 1, "id": 5, "is": "ok"}) + "\n"])


def sight(at: float, node: str, writable: bool, view: str = "client") -> Sight:
    return Sight(at, view, node, writable)


def test_two_writable_nodes_are_found_with_their_time() -> None:
    sights = [sight(0.0, A, True), sight(0.1, B, False), sight(0.2, B, True), sight(0.4, A, True), sight(0.9, A, False)]
    (found,) = two_primaries(sights)
    assert (found.grade, found.nodes) == ("B", (A, B))
    assert (found.began, found.seconds) == (0.2, pytest.approx(0.7, abs=0.21))


def test_one_that_only_an_observer_inside_sees_is_the_lesser_grade() -> None:
    sights = [sight(0.0, A, False), sight(0.0, A, True, "inside"), sight(0.1, B, True), sight(0.3, A, False, "inside")]
    (found,) = two_primaries(sights)
    assert found.grade == "C"


def test_an_old_answer_is_no_second_primary() -> None:
    sights = [sight(0.0, A, True), sight(5.0, B, True), sight(6.0, B, True)]
    assert two_primaries(sights) == []


def test_one_primary_seen_from_both_sides_is_one() -> None:
    assert two_primaries([sight(0.0, A, True), sight(0.1, A, True, "inside")]) == []
