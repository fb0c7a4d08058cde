# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What stands before each start of PostgreSQL: asks the node's running agent, and otherwise becomes ``pgherd guard``.

PostgreSQL does not start before this has ended, so it is a file of its own that imports next to nothing: run it by ``python3 -I
-S``, with the agent's socket and the options of ``pgherd guard``. It decides nothing and changes nothing. It ends with 0 only
where the agent says in so many words that this server starts as it is, with nothing to be done before. Whatever else there is, a
refusal, another answer, no agent, an old one or one that hangs, is left to ``pgherd guard``, which asks no agent.
"""

# Half of signal and of socket, without what those import: as much as the whole start of this program.
import _signal  # type: ignore[import-not-found]
import _socket
import os
import sys
import time

COMMAND = "/usr/bin/pgherd"
# What root alone can take; see nodes/evidence.py.
PERMIT = "/run/pgherd-start-permit"
# Seconds that the agent has for its answer, and bytes.
PATIENCE, LONGEST = 10.0, 65536


def main(path: str, *words: str) -> int:
    """Ask the agent at the socket *path* about the start that *words* describe. Returns 0, or does not return."""
    # Whoever stops PostgreSQL meanwhile signals what stands before it. It ends in its own words, here and in what it becomes: by
    # the signal it would be a start that failed, which the agent makes again, and by the word of a signal none may begin.
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    try:
        line = "" if os.path.lexists(PERMIT) else _said(path, words)
    except Exception:  # whatever it was: the guard is there
        line = ""
    if not line:
        os.execv(COMMAND, [COMMAND, "guard", *words])  # noqa: S606
    os.write(2, f"{line}\n".encode())
    return 0


def _said(path: str, words: tuple[str, ...]) -> str:
    """The agent's line that the server starts as it is; '' or an error where it does not say just that."""
    if not all(word.isprintable() and not {'"', "\\"} & set(word) for word in words):
        return ""
    asked = ", ".join(f'"{word}"' for word in words)
    request = f'{{"command": "guard", "arguments": {{"words": [{asked}]}}}}\n'
    line, code, rest = _answer(path, request.encode()).decode().split("\n")
    whole = (code, rest) == ("0", "") and line.isprintable()
    return line if whole and line.startswith(f"guard: {words[1]} starts as it is: ") else ""


def _answer(path: str, request: bytes) -> bytes:
    """All that the agent sends. As root, with no more rights than the agent's: its directory is not root's, and what stands
    there could lead to another's socket. Raises OSError."""
    owner, groups, gid = os.stat(os.path.dirname(path)), os.getgroups(), os.getegid()
    root = os.geteuid() == 0
    try:
        if root:
            os.setgroups([])
            os.setegid(owner.st_gid)
            os.seteuid(owner.st_uid)
        return _exchange(path, request)
    finally:
        if root:
            os.seteuid(0)
            os.setegid(gid)
            os.setgroups(groups)


def _exchange(path: str, request: bytes) -> bytes:
    ends = time.monotonic() + PATIENCE
    stream = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    stream.settimeout(PATIENCE)
    stream.connect(path)
    stream.sendall(request)
    found = b""
    while len(found) < LONGEST:
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        stream.settimeout(left)
        part = stream.recv(LONGEST)
        if not part:
            return found
        found += part
    raise ValueError


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
