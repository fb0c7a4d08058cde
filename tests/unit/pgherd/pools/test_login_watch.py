# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""When it is tried whether pgpool lets anybody in, and which answers say that its main node is another."""

from __future__ import annotations

import threading

import pytest
from pgherd.pools.login_watch import SELDOM, SOON, STIRRED, TIMES, LoginWatch, login

ASTRAY = (
    'connect to pgpool: connection failed: connection to server at "127.0.0.1", port 9999 failed: ERROR:  unable to read message '
    "kind DETAIL:  kind does not match between main(0) slot[0] (52)"
)


class Door:
    """A pgpool's port, at which each who tries is told *said*; and the watch of it."""

    def __init__(self, said: str = "") -> None:
        self.said = said
        self.tried = 0
        self.done = threading.Event()
        self.watch = LoginWatch(self._try)

    def _try(self) -> str:
        self.tried += 1
        try:
            return self.said
        finally:
            self.done.set()

    def login(self, now: float, stirred: bool = False) -> int | None:
        """One that begins *now*, and what follows from its end."""
        self.done.clear()
        assert self.watch.look(now, stirred) is None
        assert self.done.wait(10)
        while self.watch._attempt and self.watch._attempt.is_alive():
            self.watch._attempt.join()
        return self.watch.look(now, False)


def test_it_is_tried_seldom_while_all_is_calm() -> None:
    door = Door()
    door.login(0.0)
    for second in range(1, int(SELDOM)):
        door.watch.look(float(second), False)
    assert door.tried == 1
    door.login(SELDOM)
    assert door.tried == 2


def test_and_often_after_a_change() -> None:
    door = Door()
    for turn in range(5):
        door.login(turn * SOON, stirred=turn == 0)
    assert door.tried == 5
    later = STIRRED + 4 * SOON
    door.login(later)
    door.watch.look(later + SOON, False)
    assert door.tried == 6


def test_one_that_is_astray_each_time_names_its_backend() -> None:
    door = Door(ASTRAY)
    found = [door.login(turn * SOON, stirred=True) for turn in range(TIMES)]
    assert found == [None] * (TIMES - 1) + [0]


def test_one_refusal_is_no_sign() -> None:
    door = Door(ASTRAY)
    assert door.login(0.0, stirred=True) is None
    door.said = ""
    assert door.login(SOON) is None
    door.said = ASTRAY
    assert door.login(STIRRED + SOON) is None


def test_a_process_that_has_its_sessions_lets_in_between() -> None:
    door = Door(ASTRAY)
    door.login(0.0)
    door.said = ""
    assert door.login(SOON) is None
    door.said = ASTRAY
    assert door.login(2 * SOON) == 0


@pytest.mark.parametrize(
    "said",
    [
        "",
        "kind does not match between main(52) slot[1] (45)",  # one refuses by itself, for a moment
        "FATAL: sorry, too many clients already",
        "no answer in time",
    ],
)
def test_other_answers_are_none(said: str) -> None:
    door = Door(said)
    assert [door.login(turn * SOON, stirred=True) for turn in range(5)] == [None] * 5


def test_nothing_that_a_login_does_ends_the_watch() -> None:
    def fails() -> str:
        raise RuntimeError("unforeseen")

    watch = LoginWatch(fails)
    for turn in range(4):
        assert watch.look(turn * SELDOM, False) is None
        while watch._attempt and watch._attempt.is_alive():
            watch._attempt.join()


def test_a_port_at_which_nobody_listens_is_said() -> None:
    assert "connect to pgpool" in login({"host": "localhost", "hostaddr": "127.0.0.1", "port": 1, "dbname": "postgres"})
