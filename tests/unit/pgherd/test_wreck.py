# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A pgpool without its sockets is restarted, once, and only when it still serves."""

from __future__ import annotations

from pathlib import Path

import pytest
from pgherd.pools.wreck import AGAIN, LASTING, Wreck


class World:
    """The pgpool as it is, and how often its restart was asked for."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.socket.touch()
        self.serves = True
        self.restarts = 0
        self.denied = False
        self.wreck = Wreck(str(socket), 9999, self.restart, lambda port: self.serves and port == 9999)

    def restart(self) -> None:
        self.restarts += 1
        if self.denied:
            raise PermissionError(13, "Permission denied")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / ".s.PGSQL.9898")


def test_one_that_has_its_socket_is_left_alone(world: World) -> None:
    assert [world.wreck.look(float(at)) for at in range(100)] == [""] * 100


def test_one_that_does_not_serve_is_left_alone(world: World) -> None:
    world.socket.unlink()
    world.serves = False
    assert [world.wreck.look(float(at)) for at in range(100)] == [""] * 100


def test_a_moment_without_is_no_wreck(world: World) -> None:
    world.socket.unlink()
    assert world.wreck.look(0.0) == ""
    assert world.wreck.look(LASTING - 0.1) == ""
    world.socket.touch()
    assert world.wreck.look(LASTING) == ""
    world.socket.unlink()
    assert world.wreck.look(LASTING + 0.5) == ""


def test_it_is_asked_for_once_and_again_when_nothing_came_of_it(world: World) -> None:
    world.socket.unlink()
    said = [world.wreck.look(at / 2) for at in range(int(2 * (LASTING + AGAIN)) + 1)]
    assert world.restarts == 2
    assert [line for line in said if line] == [
        f"restart: pgpool serves, but {world.socket} has been gone for {lasting:.0f} s"
        for lasting in (LASTING, LASTING + AGAIN)
    ]


def test_a_restart_that_cannot_be_asked_for_is_said(world: World) -> None:
    world.socket.unlink()
    world.denied = True
    world.wreck.look(0.0)
    assert world.wreck.look(LASTING).endswith("; failed: [Errno 13] Permission denied")
