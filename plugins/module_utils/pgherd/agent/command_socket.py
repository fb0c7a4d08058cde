# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The socket at which an agent takes commands, for as long as it runs: which part answers may change, and the socket stays."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

T = TypeVar("T")
# Seconds until it listens again, where something that it takes was not to be had.
AGAIN = 0.1


class CommandSocket(Generic[T]):
    """Listens at the socket *path* once it is opened. What is begun is begun for the part that there is *now*."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._free = threading.Condition()
        self._now: T | None = None
        self._paused = False
        self._running: list[str] = []
        #: By command when it last ended, in seconds since the epoch, and with which exit code.
        self.ended: dict[str, tuple[float, int]] = {}

    def open(self, now: T, serve: Callable[[socket.socket], None]) -> None:
        """Listen for *now*, where nobody listens yet; *serve* takes each connection, in a thread of its own. Raises OSError."""
        if self._socket is not None:
            return
        self._now = now
        with suppress(FileNotFoundError):
            os.unlink(self._path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(self._path)
        os.chmod(self._path, 0o600)
        self._socket.listen(16)
        threading.Thread(target=_listen, args=(self._socket, serve), daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            self._socket.close()
            with suppress(OSError):
                os.unlink(self._path)

    @contextmanager
    def at_work(self, name: str) -> Iterator[T]:
        """For a block that does *name*, as the part that it gets; while that is being replaced, the block waits."""
        with self._free:
            self._free.wait_for(lambda: not self._paused)
            if self._now is None:
                raise AssertionError("opened before anybody can ask")
            now = self._now
            self._running.append(name)
        try:
            yield now
        finally:
            with self._free:
                self._running.remove(name)

    def pause(self) -> str:
        """Have nothing begun until resume(); what runs all the same, '' for nothing."""
        with self._free:
            self._paused = True
            return ", ".join(self._running)

    def resume(self, now: T | None = None) -> None:
        """Have it go on, for *now* where another one is given."""
        with self._free:
            self._now = self._now if now is None else now
            self._paused = False
            self._free.notify_all()


def _listen(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    while True:
        try:
            connection, _address = listener.accept()
        except OSError:  # there are no more descriptors, or who asked has gone
            if listener.fileno() < 0:
                return
            time.sleep(AGAIN)
            continue
        try:
            threading.Thread(target=serve, args=(connection,), daemon=True).start()
        except RuntimeError:  # there are no more threads
            connection.close()
            time.sleep(AGAIN)
