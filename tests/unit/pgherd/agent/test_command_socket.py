# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The socket for commands goes on being listened at, whatever runs out for a while."""

from __future__ import annotations

import errno
import socket
import threading
from typing import Any

import pytest
from pgherd.agent import command_socket


class Listener:
    """A socket at which *happens* happens, one after the other; then it is closed."""

    def __init__(self, *happens: OSError | socket.socket) -> None:
        self.happens = list(happens)

    def accept(self) -> tuple[socket.socket, str]:
        if not self.happens:
            raise OSError(errno.EBADF, "Bad file descriptor")
        found = self.happens.pop(0)
        if isinstance(found, OSError):
            raise found
        return found, ""

    def fileno(self) -> int:
        return 3 if self.happens else -1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ECONNABORTED, errno.ENOMEM])
def test_it_listens_on_after_an_error(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(command_socket, "AGAIN", 0.0)
    mine, theirs = socket.socketpair()
    served = threading.Event()
    listener: Any = Listener(OSError(number, "for a while"), mine)
    command_socket._listen(listener, lambda _connection: served.set())
    assert served.wait(5)
    mine.close()
    theirs.close()


def test_one_for_whom_there_is_no_thread_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks again, or fails; it does not wait for ever."""
    monkeypatch.setattr(command_socket, "AGAIN", 0.0)
    starts, start = [], threading.Thread.start

    def sometimes(thread: threading.Thread) -> None:
        starts.append(thread)
        if len(starts) == 1:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", sometimes)
    (first, asks), (second, theirs) = socket.socketpair(), socket.socketpair()
    served = threading.Event()
    listener: Any = Listener(first, second)
    command_socket._listen(listener, lambda _connection: served.set())
    assert served.wait(5)
    asks.settimeout(5)
    assert asks.recv(1) == b""
    for one in (asks, second, theirs):
        one.close()
