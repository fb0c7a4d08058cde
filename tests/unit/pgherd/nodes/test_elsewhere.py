# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether the data here run elsewhere: what others show, for how long, and what the guard makes of that."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from here import here_of
from pgherd.data import incarnation
from pgherd.data.datadir import BROKEN, NONE, OTHER, Local
from pgherd.errors import PgherdError, Unreachable
from pgherd.model import POD, Cluster
from pgherd.nodes import start
from pgherd.nodes.elsewhere import ANSWERS, LASTS, RECEIVES, Sign, living, shown, signs, undecided
from pgherd.nodes.evidence import Evidence
from pgherd.nodes.guard import decide
from pgherd.nodes.verdict import START, WAIT
from pgherd.observe.node_state import Survey
from pgherd.observe.tracker import FRESH
from pgherd.ports.links import Links
from scripted import ScriptedRunner, ScriptedServer
from states import SYSTEM, cluster, primary, standby, streaming, survey
from test_seal import row

THREE = cluster(3)
OWN = {"pg1": "mine"}


@pytest.mark.parametrize(
    ("what", "seen", "expected"),
    [
        ("nobody answers", survey(), {}),
        ("a standby's stream", survey(primary("pg2", members=OWN, senders={"pg1": "12:00"})), {"pg2": "12:00"}),
        ("also below a standby", survey(streaming("pg2", members=OWN, senders={"pg1": "12:00"})), {"pg2": "12:00"}),
        ("of others", survey(primary("pg2", members=OWN, senders={"pg3": "12:00"})), {}),
        ("of one that is not admitted", survey(primary("pg2", members=OWN, senders={"(new) pg1": "12:00"})), {}),
        ("another incarnation", survey(primary("pg2", members={"pg1": "its"}, senders={"pg1": "12:00"})), {}),
        ("nobody is admitted yet", survey(primary("pg2", members={}, senders={"pg1": "12:00"})), {}),
        ("a release before", survey(primary("pg2", senders={"pg1": "12:00"})), {}),
        ("it receives from here", survey(streaming("pg2", members=OWN)), {"pg2": RECEIVES}),
        ("from another", survey(streaming("pg2", members=OWN, follows="pg3")), {}),
        ("it only would", survey(standby("pg2", members=OWN, follows="pg1")), {}),
        ("its own word", survey(primary("pg1", members=OWN, senders={"pg1": "12:00"})), {}),
    ],
)
def test_what_others_show(what: str, seen: Survey, expected: dict[str, str]) -> None:
    assert shown(THREE, "pg1", "mine", seen) == expected, what
    assert shown(THREE, "pg1", "", seen) == {}, "a directory that nobody knows"


def seen(*marks: str | None, every: float = 0.5) -> tuple[dict[str, Sign], float]:
    """What is known after looks at which pg2 showed these marks, None for nothing."""
    known: dict[str, Sign] = {}
    now = 100.0
    for mark in marks:
        now += every
        known = signs({} if mark is None else {"pg2": mark}, known, now)
    return known, now


@pytest.mark.parametrize(
    ("what", "marks", "lives", "open_"),
    [
        ("nothing", [None], False, False),
        ("it is there", ["1"], False, True),
        # One that has died sends nothing, but what it sent last may come after the first look.
        ("an answer more", ["1", "2"], False, True),
        ("that stays its last", ["1", *["2"] * 6], False, False),
        ("none more", ["1"] * 6, False, False),
        ("it goes on answering", ["1", "1", "2", "2", "3"], True, True),
        ("it was ended", ["1", "2", None], False, False),
        ("it came again, as another", ["1", "2", None, "3"], False, True),
        ("it receives", [RECEIVES], False, True),
        ("and ends soon", [RECEIVES, RECEIVES, None], False, False),
        ("and goes on", [RECEIVES] * 7, True, True),
        ("in the other direction", [RECEIVES] * 6 + ["1"], False, True),
    ],
)
def test_what_lives(what: str, marks: list[str | None], lives: bool, open_: bool) -> None:
    known, now = seen(*marks)
    assert (living(known, now), undecided(known, now)) == (("pg2",) if lives else (), open_), what


@pytest.mark.parametrize("first", [RECEIVES, "0"])
def test_it_is_decided_in_any_case(first: str) -> None:
    """Whatever a node shows, so that a start is never waited for without an end."""
    for changes in range(ANSWERS + 1):
        marks: list[str | None] = [first, *(str(number) for number in range(changes))] if first else [RECEIVES]
        marks += [marks[-1]] * 20
        known, now = seen(*marks, every=LASTS / 6)
        assert living(known, now) or not undecided(known, now)


@pytest.mark.parametrize(
    ("local", "done"),
    [
        (Local(True, SYSTEM, 1), WAIT),
        (Local(False, SYSTEM, 1), WAIT),
        (Local(False, SYSTEM, 1, state="in archive recovery"), WAIT),
        (Local(False, SYSTEM, 1, fresh=True), WAIT),
    ],
)
def test_no_data_start_that_run_elsewhere(local: Local, done: str) -> None:
    others = survey(standby("pg2"), standby("pg3"))
    found = decide(THREE, "pg1", local, others, Evidence(elsewhere=("pg2",)))
    assert found.done == done
    assert "as pg2 can see" in found.why
    restored = decide(THREE, "pg1", local, others, Evidence(elsewhere=("pg2",), restored=True))
    assert restored.done == WAIT, "a person's word is about other data"


@pytest.mark.parametrize("data", [NONE, BROKEN, OTHER])
def test_what_is_none_is_decided_as_ever(data: str) -> None:
    local = Local(False, "", 0, data=data)
    seen_ = survey(primary("pg2"), standby("pg3", follows="pg2"))
    found, ever = (decide(THREE, "pg1", local, seen_, one) for one in (Evidence(elsewhere=("pg2",)), Evidence()))
    assert (found.done, found.why) == (ever.done, ever.why)


def test_it_is_kept_as_evidence_is() -> None:
    given = Evidence(elsewhere=("pg2",))
    assert Evidence.of({"elsewhere": ["pg2"]}) == given


# With what asks.

CONTROL = f"""Database system identifier:           {SYSTEM}
Database cluster state:               shut down in recovery
Latest checkpoint location:           0/4000060
Latest checkpoint's TimeLineID:       1
Latest checkpoint's REDO location:    0/4000028
"""


def pods() -> Cluster:
    return replace(THREE, nodes=tuple(replace(node, place=POD) for node in THREE.nodes))


class Other:
    """What pg2, the primary, shows at each look; it takes a second from one to the next."""

    def __init__(self, *times: str | None) -> None:
        self.times = list(times)
        self.asked = 0

    def open_(self, name: str) -> Any:
        if name != "pg2":
            raise Unreachable(f"connect to {name}: refused")
        self.asked += 1
        time = self.times.pop(0) if len(self.times) > 1 else self.times[0]
        senders = json.dumps({} if time is None else {"pg1": time})
        said = row(in_recovery=False, timeline=1, senders=senders, members=MEMBERS, write_lsn="0/5000000")
        return ScriptedServer(name, [("AS in_recovery", [said])])


MEMBERS = ""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A standby's data, which are those that are admitted."""
    place = tmp_path / "main"
    (place / "global").mkdir(parents=True)
    (place / "global/pg_control").touch()
    (place / "PG_VERSION").write_text("17\n")
    (place / "standby.signal").touch()
    own = incarnation.current(str(place)).id
    monkeypatch.setattr(
        "test_elsewhere.MEMBERS",
        f'<table xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><row><m>{{"pg1": "{own}"}}</m></row></table>',
    )
    monkeypatch.setattr(start, "marked", lambda: "")
    return place


def asked(found: Cluster, place: Path, other: Other) -> Any:
    runner = ScriptedRunner([("pg_controldata", CONTROL)])
    return start.decide(here_of(found, "pg1", Links(other.open_, lambda: None), runner, data=str(place)))


def test_a_pod_does_not_start_what_streams_elsewhere(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Other(*(f"12:00:0{second}" for second in range(9)))
    with pytest.raises(PgherdError, match=r"start pg1: a server with the data of pg1 runs elsewhere .* as pg2 can see"):
        asked(pods(), data, other)
    assert other.asked == 1 + ANSWERS


def test_a_pod_starts_when_nothing_is_seen(data: Path) -> None:
    other = Other(None)
    assert asked(pods(), data, other).done == START
    assert other.asked == 1


def test_a_pod_starts_when_what_was_left_is_gone(data: Path) -> None:
    other = Other("12:00:00", "12:00:00", None)
    assert asked(pods(), data, other).done == START
    assert other.asked == 3


def test_a_stream_that_nobody_answers_on_is_none(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine has left that went dark; its other end notices after ten seconds."""
    monkeypatch.setattr("pgherd.nodes.elsewhere.FRESH", 0.3)
    assert asked(pods(), data, Other("12:00:00")).done == START
    assert FRESH == 2.5


def test_a_copy_is_another(data: Path) -> None:
    """Its id is not the admitted one: the identity's rules see to it, and it streams under another name."""
    (data / "global/pg_control").unlink()
    (data / "global/pg_control").touch()
    other = Other("12:00:00")
    assert asked(pods(), data, other).done == START
    assert other.asked == 0


def test_hosts_do_not_ask(data: Path) -> None:
    other = Other("12:00:00", "12:00:01", "12:00:02")
    assert asked(THREE, data, other).done == START
    assert other.asked == 0
