# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Judges a history against the rows that are there in the end. Pure: histories in, sentences out.

The rules are those of Jepsen's set checker, and one more: once a client was told of timeline t+1, nobody who asks later
may be told of an older one, nor of another node on it. That finds two primaries even where no row was lost.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from faults.checker.history import FAIL, INFO, OK, Op


@dataclass(frozen=True)
class Gaps:
    """How long nobody could write, in seconds."""

    overall: float  # longest time between two acknowledgements, of whichever writers
    worst_writer: float  # the same for the writer that waited longest
    median_writer: float
    first_failure_to_ok: float  # from the first answer that was not "ok" to the first acknowledgement after it
    began: float = 0.0  # monotonic time of the acknowledgement before the longest gap
    ended: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What a history is worth. Every collection of the first five has to be empty."""

    lost: frozenset[int]  # acknowledged and not there
    unexpected: frozenset[int]  # there and never sent
    refused: frozenset[int]  # there although the client was told that they are not
    stale: tuple[str, ...]  # acknowledgements from an old timeline, or from two nodes on one
    counts: dict[str, int]
    gaps: Gaps
    p50: float  # seconds from sending to acknowledgement
    p99: float
    timelines: tuple[int, ...] = ()
    recovered: int = 0  # there, and the client was told nothing
    why: dict[str, int] = field(default_factory=dict)  # what refused and unknown operations were told, with counts

    @property
    def problems(self) -> list[str]:
        """What must not be, in words; empty when all is well."""
        said = []
        for what, ids in (
            ("acknowledged rows are lost", self.lost),
            ("rows are there that nobody sent", self.unexpected),
            ("refused rows are there", self.refused),
        ):
            if ids:
                said.append(f"{len(ids)} {what}: {', '.join(map(str, sorted(ids)[:5]))}{' ...' * (len(ids) > 5)}")
        if self.stale:
            said.append(f"{len(self.stale)} acknowledgements by another primary: {self.stale[0]}")
        if not self.counts.get(OK):
            said.append("nothing was ever acknowledged")
        return said

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items())
        return (
            f"{'; '.join(self.problems) or 'nothing lost'}; {counts}; write gap {self.gaps.overall:.2f} s "
            f"(worst writer {self.gaps.worst_writer:.2f} s); p50 {self.p50 * 1000:.0f} ms, p99 {self.p99 * 1000:.0f} ms; "
            f"timelines {', '.join(map(str, self.timelines))}"
        )


def judge(ops: Sequence[Op], final: Collection[int]) -> Verdict:
    """The verdict on *ops*, given the ids that the primary holds in the end."""
    rows = frozenset(final)
    by = {outcome: [op for op in ops if op.outcome == outcome] for outcome in (OK, FAIL, INFO)}
    latencies = sorted(op.answered - op.invoked for op in by[OK] if op.answered is not None)
    why: dict[str, int] = {}
    for op in (*by[FAIL], *by[INFO]):
        words = op.why.strip().splitlines() or ["no answer in the history"]
        key = f"{op.outcome}: {words[0][:120]}"
        why[key] = why.get(key, 0) + 1
    return Verdict(
        lost=frozenset(op.id for op in by[OK]) - rows,
        unexpected=rows - {op.id for op in ops},
        refused=rows & {op.id for op in by[FAIL]},
        stale=tuple(stale(by[OK])),
        counts={outcome: len(found) for outcome, found in by.items()},
        gaps=gaps(ops),
        p50=quantile(latencies, 0.5),
        p99=quantile(latencies, 0.99),
        timelines=tuple(sorted({op.timeline for op in by[OK]})),
        recovered=len(rows & {op.id for op in by[INFO]}),
        why=why,
    )


def stale(acknowledged: Iterable[Op]) -> list[str]:
    """Acknowledgements that only a second primary can have given."""
    done = sorted(acknowledged, key=lambda op: op.answered or op.invoked)
    first: dict[int, Op] = {}  # the first acknowledgement on each timeline
    for op in done:
        first.setdefault(op.timeline, op)
    found = []
    for op in done:
        newer = [other for timeline, other in first.items() if timeline > op.timeline and _after(op, other)]
        if newer:
            late = op.invoked - (newer[0].answered or 0.0)
            found.append(
                f"{op.id} by {op.node} on timeline {op.timeline}, sent {late:.3f} s after one on {newer[0].timeline}"
            )
        elif first[op.timeline].node != op.node:
            found.append(f"{op.id} by {op.node} on timeline {op.timeline}, which is {first[op.timeline].node}'s")
    return found


def _after(op: Op, other: Op) -> bool:
    """Whether *op* was sent when the answer to *other* was already known."""
    return other.answered is not None and op.invoked > other.answered


def gaps(ops: Sequence[Op]) -> Gaps:
    """The longest times without an acknowledgement; one that lasts to the end of the history counts too."""
    if not ops:
        return Gaps(0.0, 0.0, 0.0, 0.0)
    begin, end = ops[0].invoked, max(op.answered or op.invoked for op in ops)
    overall = longest(begin, _answers(ops), end)
    writers = [
        longest(begin, _answers([op for op in ops if op.writer == writer]), end)
        for writer in sorted({op.writer for op in ops})
    ]
    lengths = [until - since for since, until in writers]
    return Gaps(
        overall=overall[1] - overall[0],
        worst_writer=max(lengths),
        median_writer=statistics.median(lengths),
        first_failure_to_ok=_first_failure_to_ok(ops, end),
        began=overall[0],
        ended=overall[1],
    )


def _answers(ops: Iterable[Op]) -> list[float]:
    return sorted(op.answered for op in ops if op.outcome == OK and op.answered is not None)


def longest(begin: float, times: Sequence[float], end: float) -> tuple[float, float]:
    """The longest interval between neighbours of *begin*, *times* (sorted), *end*."""
    points = [begin, *times, max(end, begin)]
    return max(zip(points, points[1:], strict=False), key=lambda pair: pair[1] - pair[0])


def _first_failure_to_ok(ops: Iterable[Op], end: float) -> float:
    failed = [op.answered for op in ops if op.outcome != OK and op.answered is not None]
    if not failed:
        return 0.0
    first = min(failed)
    return min((at for at in _answers(ops) if at > first), default=end) - first


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which *share* of the sorted values lie; 0 when there is none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
