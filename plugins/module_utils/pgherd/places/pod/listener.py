# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Where a process of a pod answers the others: a socket in a directory that they share."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

# Answers one connection, in a thread of its own, and closes it.
Answer = Callable[[socket.socket], None]


def listen(path: str, mode: int, answer: Answer) -> socket.socket:
    """Have each connection to *path*, which gets *mode*, answered beside the caller, until the socket is closed."""
    new = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(new)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(new)
    os.chmod(new, mode)
    listener.listen(16)
    # Who finds it there is answered.
    os.rename(new, path)
    threading.Thread(target=_accept, args=(listener, answer), daemon=True).start()
    return listener


def _accept(listener: socket.socket, answer: Answer) -> None:
    while True:
        try:
            connection, _address = listener.accept()
        except OSError:
            return
        threading.Thread(target=answer, args=(connection,), daemon=True).start()
