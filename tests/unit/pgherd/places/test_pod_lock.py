# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The lock of a volume: what follows from what it says, and the file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from pgherd.errors import PgherdError
from pgherd.places.pod import lock_file
from pgherd.places.pod.first import locked, main
from pgherd.places.pod.keeper import AGAIN, Claim, Keeper, lock_of
from pgherd.places.pod.lock import (
    BEAT,
    INHERIT,
    LENGTH,
    LOOK,
    MAKE,
    MOST,
    SETTLE,
    STILL,
    TAKE,
    WAIT,
    Lock,
    Settling,
    Watched,
    look,
    parse,
)
from pgherd.places.pod.lock_file import NAME, LockFile, machine
from world import CLUSTER

MINE = Lock("a" * 32, "pg-0", "11-22", "one")
THEIRS = Lock("b" * 32, "pg-0", "33-44", "two", "another machine", 7)
SAID, LATER = THEIRS.text(), replace(THEIRS, beat=8).text()


@pytest.mark.parametrize(
    ("what", "seen", "dead", "before", "now", "action", "still"),
    [
        ("there is none", None, False, Watched(), 0.0, MAKE, 0.0),
        ("the holder has given it up", None, False, Watched(SAID, 9.0, 4.0), 9.5, MAKE, 0.0),
        ("its holder has ended here", SAID, True, Watched(), 0.0, INHERIT, 0.0),
        ("seen for the first time", SAID, False, Watched(), 100.0, WAIT, 0.0),
        ("still for a look", SAID, False, Watched(SAID, 9.0, 0.0), 9.5, WAIT, 0.5),
        ("it beats", LATER, False, Watched(SAID, 9.0, 4.9), 9.5, WAIT, 0.0),
        ("another has taken it", MINE.text(), False, Watched(SAID, 9.0, 4.9), 9.5, WAIT, 0.0),
        ("almost", SAID, False, Watched(SAID, 9.0, STILL - 0.6), 9.5, WAIT, STILL - 0.1),
        ("for long enough", SAID, False, Watched(SAID, 9.0, STILL - 0.5), 9.5, TAKE, STILL),
        # The volume answered nobody meanwhile, or this one stood still itself.
        ("a look that took a minute", SAID, False, Watched(SAID, 9.0, 0.0), 69.0, WAIT, MOST),
        ("two of them", SAID, False, Watched(SAID, 69.0, MOST), 129.0, WAIT, 2 * MOST),
        ("cut off when it was made", b"", False, Watched(), 9.0, WAIT, 0.0),
        ("and nobody writes it", b"", False, Watched(b"", 9.0, STILL), 9.5, TAKE, STILL + 0.5),
        ("cannot be read, and is another each time", b"x", False, Watched(b"y", 9.0, STILL), 9.5, WAIT, 0.0),
    ],
)  # fmt: skip
def test_what_is_done(
    what: str, seen: bytes | None, dead: bool, before: Watched, now: float, action: str, still: float
) -> None:
    found, remembered = look(seen, dead, before, now)
    assert (found, remembered.still) == (action, pytest.approx(still)), what


def test_no_clock_but_ones_own_counts() -> None:
    """Whatever the holder's clock says is not in the lock at all."""
    assert set(Lock.__dataclass_fields__) == {"life", "pod", "uid", "node", "machine", "beat"}


def test_it_settles_by_looks() -> None:
    """As long as a holder that lives needs to see it, and however long a single look takes."""
    settling = Settling(100.0)
    looks = 0
    while not settling.over:
        looks += 1
        settling = settling.again(settling.at + LOOK)
    assert looks == SETTLE / LOOK
    assert not Settling(100.0).again(1000.0).over
    # The holder looks each BEAT, and has more than as long again to kill.
    assert SETTLE >= 2 * BEAT + 1.0


def test_what_is_written_is_always_as_long() -> None:
    long = Lock("c" * 32, "p" * 253, "u" * 36, "n" * 253, "b" * 36 + " 12345678", 10**12)
    for one in (MINE, THEIRS, long):
        assert len(one.text()) == LENGTH
        assert parse(one.text()) == one


@pytest.mark.parametrize("said", [b"", b"{", b"[1]", b"\xff\xfe", b'{"pod": "pg-0"}', b'{"life": "x"'])
def test_what_cannot_be_read_is_nobodys(said: bytes) -> None:
    assert parse(said).life == ""
    assert "cannot be read" in parse(said).holder


def test_the_holder_is_named() -> None:
    assert THEIRS.holder == "pod pg-0 (on two, UID 33-44)"
    assert Lock("x", "pg-0").holder == "pod pg-0"


def test_each_start_is_another_life() -> None:
    """Two containers of one pod may run at once, which has been seen: its UID does not tell them apart."""
    given = {"POD_UID": "11-22", "POD_NODE": "one"}
    first, second = lock_of(given, "pg-0"), lock_of(given, "pg-0")
    assert first.life != second.life
    assert (first.pod, first.uid, first.node) == ("pg-0", "11-22", "one")


def test_which_volumes_have_one() -> None:
    assert locked(CLUSTER, "pg1") == ["/var/lib/postgresql"]
    assert locked(CLUSTER, "backup1") == ["/var/lib/barman"]
    assert locked(CLUSTER, "pool1") == []
    own = replace(CLUSTER, options=replace(CLUSTER.options, wal_directory="/var/lib/postgresql-wal/17"))
    assert locked(own, "pg1") == ["/var/lib/postgresql", "/var/lib/postgresql-wal"]
    below = replace(CLUSTER, options=replace(CLUSTER.options, wal_directory="/var/lib/postgresql/wal"))
    assert locked(below, "pg1") == ["/var/lib/postgresql"]
    with pytest.raises(PgherdError):
        locked(CLUSTER, "pg-17")


def test_nothing_is_touched_before_it_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(Keeper, "hold", lambda _self: bool(done.append("hold")))
    for name in ("write", "serve", "Supervisor"):
        monkeypatch.setattr(f"pgherd.places.pod.first.{name}", lambda *_, name=name: done.append(name))
    assert main(CLUSTER, "pg1", 5.0) == 0
    assert done == ["hold"]


# The file.


def test_it_is_made_once(tmp_path: Path) -> None:
    one, other = LockFile(str(tmp_path), MINE), LockFile(str(tmp_path), THEIRS)
    assert one.read() is None
    assert not one.beat()
    assert one.make()
    assert not other.make()
    assert parse(one.read() or b"").life == MINE.life


def test_it_beats_for_its_holder_alone(tmp_path: Path) -> None:
    one, other = LockFile(str(tmp_path), MINE), LockFile(str(tmp_path), THEIRS)
    one.make()
    assert [one.beat(), one.beat(), one.beat()] == [True, True, True]
    said = one.read()
    assert parse(said or b"").beat == 3
    assert not other.beat()
    other.end()
    assert one.read() == said
    one.end()
    assert os.listdir(tmp_path) == []


def test_a_holder_that_goes_on_does_not_take_it_back(tmp_path: Path) -> None:
    """It stood still right between its look and its write."""
    one, other = LockFile(str(tmp_path), MINE), LockFile(str(tmp_path), THEIRS)
    one.make()
    handle = os.open(tmp_path / NAME, os.O_RDWR)
    other.take()
    os.pwrite(handle, replace(MINE, beat=1).text(), 0)
    os.close(handle)
    assert parse(one.read() or b"").life == THEIRS.life
    assert not one.beat()
    one.end()
    assert other.beat()
    assert os.listdir(tmp_path) == [NAME]


def test_one_that_is_gone_is_not_ones_own(tmp_path: Path) -> None:
    """Another may have taken it, worked there, and given it up meanwhile."""
    one = LockFile(str(tmp_path), MINE)
    one.make()
    (tmp_path / NAME).unlink()
    assert not one.beat()
    assert os.listdir(tmp_path) == []


HOLDS = """
import os, sys, subprocess
sys.path.insert(0, sys.argv[1])
from pgherd.places.pod.lock_file import LockFile
from pgherd.places.pod.lock import Lock
LockFile(sys.argv[2], Lock("b" * 32, "pg-0")).make()
child = os.posix_spawn("/bin/sleep", ["sleep", "1000"], os.environ)
print(child, flush=True)
os.read(0, 1)
"""


@contextmanager
def holding(place: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that has the lock, and one that it has started."""
    root = str(Path(__file__).resolve().parents[4] / "plugins/module_utils")
    argv = [sys.executable, "-c", HOLDS, root, str(place)]
    holder = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    child = int(holder.stdout.readline())
    try:
        yield holder, child
    finally:
        for pid in (holder.pid, child):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        holder.communicate()


def test_on_one_machine_an_end_is_seen(tmp_path: Path) -> None:
    """Of the holder, and of all that it has started."""
    file = LockFile(str(tmp_path), MINE)
    with holding(tmp_path) as (holder, child):
        seen = file.read() or b""
        assert not file.dead(seen)
        holder.kill()
        holder.wait()
        assert not file.dead(seen), "what it has started lives"
        assert not file.inherit(seen)
        os.kill(child, signal.SIGKILL)
        until(lambda: file.dead(seen))
        assert file.inherit(seen)
        assert file.beat()


def test_of_another_machine_nothing_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor of another mount: what it locks may not be seen in this one."""
    file = LockFile(str(tmp_path), MINE)
    with holding(tmp_path):
        pass
    seen = file.read() or b""
    assert file.dead(seen)
    (tmp_path / "boot").write_text("another")
    monkeypatch.setattr(lock_file, "BOOT", str(tmp_path / "boot"))
    assert not file.dead(seen)
    assert machine("/proc") != machine(str(tmp_path))


def test_only_what_was_seen_is_inherited(tmp_path: Path) -> None:
    with holding(tmp_path):
        pass
    file, third = LockFile(str(tmp_path), MINE), LockFile(str(tmp_path), Lock("c" * 32))
    seen = file.read() or b""
    assert file.dead(seen)
    third.take()
    assert not file.inherit(seen)
    assert third.beat()


# Until it is held.


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A volume; whoever holds it from now on does so on another machine."""
    (tmp_path / "boot").write_text("this")
    monkeypatch.setattr(lock_file, "BOOT", str(tmp_path / "boot"))
    place = tmp_path / "volume"
    place.mkdir()
    return place


class Clock:
    """Stands in for the time of keeper.py."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("pgherd.places.pod.keeper.time", found)
    return found


def turns(clock: Clock, claim: Claim, seconds: float, also: Callable[[], object] = bool) -> bool:
    """Whether it is held after looks for so many seconds."""
    for _look in range(round(seconds / LOOK)):
        clock.now += LOOK
        also()
        if claim.turn():
            return True
    return False


def test_it_waits_while_the_holder_beats(elsewhere: Path, clock: Clock) -> None:
    said: list[str] = []
    other, claim = LockFile(str(elsewhere), THEIRS), Claim(LockFile(str(elsewhere), MINE), said.append)
    other.make()
    path = f"{elsewhere}/{NAME}"
    (elsewhere.parent / "boot").write_text("that")
    assert not turns(clock, claim, AGAIN + 1.0, other.beat)
    holder = "pod pg-0 (on two, UID 33-44)"
    assert said == [
        f"waits: {path} is held by {holder}; it is taken when it has not beaten for 5 s",
        f"waits: {path} is held by {holder}, and beats: that pod lives, and this one starts nothing beside it",
    ]
    other.end()
    assert turns(clock, claim, LOOK), "it was given up"


def test_it_takes_what_does_not_beat(elsewhere: Path, clock: Clock) -> None:
    said: list[str] = []
    other, claim = LockFile(str(elsewhere), THEIRS), Claim(LockFile(str(elsewhere), MINE), said.append)
    other.make()
    (elsewhere.parent / "boot").write_text("that")
    assert not turns(clock, claim, STILL)
    assert other.beat()
    assert not turns(clock, claim, STILL)
    assert other.beat(), "a late beat counts as any"
    assert not turns(clock, claim, STILL + LOOK)
    assert not other.beat()
    assert "takes" in said[-1]
    assert not turns(clock, claim, SETTLE - LOOK), "the holder may not have seen it yet"
    assert turns(clock, claim, LOOK)


def test_of_two_who_take_it_the_later_one_has_it(
    elsewhere: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have seen that it is still, and the one takes it right before the other does."""
    said: list[str] = []
    one, two = (Claim(LockFile(str(elsewhere), Lock(life * 32, life)), said.append) for life in "xy")
    LockFile(str(elsewhere), THEIRS).make()
    (elsewhere.parent / "boot").write_text("that")
    take = one.file.take

    def late() -> None:
        two.turn()
        take()

    monkeypatch.setattr(one.file, "take", late)
    assert not turns(clock, one, STILL, two.turn)
    clock.now += LOOK
    assert not one.turn()
    assert sum("takes" in line for line in said) == 2
    held: set[str] = set()

    def second() -> None:
        if two.turn():
            held.add("two")

    # What they lock for one machine says nothing here.
    (elsewhere.parent / "boot").write_text("these")
    if turns(clock, one, SETTLE, second):
        held.add("one")
    assert held == {"one"}
    assert f"{elsewhere}/{NAME} was taken by another while this pod took it" in said
    assert not turns(clock, two, 60.0, one.turn)


def test_one_that_stood_still_while_it_inherits_settles(
    elsewhere: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding(elsewhere):
        pass
    file = LockFile(str(elsewhere), MINE)
    said: list[str] = []
    claim = Claim(file, said.append)
    monkeypatch.setattr(LockFile, "dead", lambda *_: True)
    inherit = LockFile.inherit

    def late(self: LockFile, seen: bytes) -> bool:
        clock.now += 60.0
        return inherit(self, seen)

    monkeypatch.setattr(LockFile, "inherit", late)
    assert not claim.turn()
    assert not turns(clock, claim, SETTLE - LOOK)
    assert turns(clock, claim, LOOK)


def test_nothing_starts_in_one_that_does_not_know(elsewhere: Path, clock: Clock) -> None:
    keeper = Keeper([str(elsewhere)], MINE, print)
    assert keeper.hold()
    file = keeper._claims[0].file
    file.seen = clock.now
    assert keeper.barred() == ""
    clock.now += STILL + 1.0
    assert "not seen for 6 s" in keeper.barred()
    assert Keeper([], MINE, print).barred() == ""


def test_a_disk_that_writes_nothing_hides_no_other_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A beat may take long on it, and another take the lock for that."""
    never, killed = threading.Event(), threading.Event()
    monkeypatch.setattr(LockFile, "beat", lambda _self: never.wait(60.0))
    said: list[str] = []
    keeper = Keeper([str(tmp_path)], MINE, said.append)
    assert keeper.hold()
    left: list[int] = []
    keeper.keep(killed.set, left.append)
    try:
        assert not killed.wait(2 * BEAT), "it is its own"
        LockFile(str(tmp_path), THEIRS).take()
        assert killed.wait(BEAT + 5.0)
        until(lambda: left == [1])
        assert said[-1].endswith(
            "is held by pod pg-0 (on two, UID 33-44) now: all that this pod ran was killed at once"
        )
    finally:
        keeper._over.set()
        never.set()


def test_two_volumes_are_taken_in_order(tmp_path: Path, clock: Clock) -> None:
    """Of two who want both, none waits for what the other has while the other waits for it."""
    places = []
    for name in ("data", "wal"):
        (tmp_path / name).mkdir()
        places.append(str(tmp_path / name))
    one = Keeper(places, MINE, print)
    assert one.hold()
    two = Keeper(places, Lock("y" * 32), print)
    assert not two._turn(two._claims[0])
    one.end()
    assert [os.listdir(place) for place in places] == [[], []]
    assert two.hold()


def test_what_is_wrong_with_a_volume_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    keeper = Keeper([f"{tmp_path}/none"], MINE, said.append)
    for _look in range(3):
        assert not keeper._turn(keeper._claims[0])
    assert said == [f"{tmp_path}/none/{NAME}: No such file or directory"]


def until(done: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "not within its time"
        time.sleep(0.02)
