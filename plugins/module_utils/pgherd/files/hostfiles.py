# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Small files on this host, many in one plan: configuration, keys, units, the package itself."""

from __future__ import annotations

import base64
import contextlib
import grp
import hashlib
import os
import pwd
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import PgherdError
from ..plan import Plan, Step

HIDDEN = "(secret)"


@dataclass(frozen=True)
class File:
    """One file, directory or link that should be so.

    *kind*: ``file``, ``directory``, ``link`` (content is its target) or ``absent``. *content* is text, or base64 where
    *binary*. *secret_content* stands in its place where it must never be shown. A directory is made with its missing
    parents. *once*: only if nothing is there yet.
    """

    path: str
    content: str = ""
    secret_content: str = field(default="", repr=False)
    kind: str = "file"
    owner: str = "root"
    group: str = "root"
    mode: str = "0644"
    binary: bool = False
    once: bool = False

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> File:
        """Build from plain data, with the defaults above."""
        return cls(**data)

    def data(self) -> bytes:
        """The bytes that the file should hold."""
        text = self.secret_content or self.content
        return base64.b64decode(text) if self.binary else text.encode()

    @property
    def secret(self) -> bool:
        """Whether what the file holds must not be shown."""
        return bool(self.secret_content)


def observe(path: str) -> dict[str, Any]:
    """What is at *path*: kind, owner, group, mode and, of a file, its bytes."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return {"kind": "absent"}
    state = {"owner": _user(found.st_uid), "group": _group(found.st_gid), "mode": f"{stat.S_IMODE(found.st_mode):04o}"}
    if stat.S_ISLNK(found.st_mode):
        return {"kind": "link", "target": os.readlink(path)}
    if stat.S_ISDIR(found.st_mode):
        return {"kind": "directory", **state}
    with open(path, "rb") as stream:
        return {"kind": "file", **state, "data": stream.read()}


def wanted(item: File) -> dict[str, Any]:
    """The same description of what should be at the path."""
    if item.kind == "absent":
        return {"kind": "absent"}
    if item.kind == "link":
        return {"kind": "link", "target": item.content}
    state: dict[str, Any] = {"kind": item.kind, "owner": item.owner, "group": item.group, "mode": item.mode}
    if item.kind == "file":
        state["data"] = item.data()
    return state


def plan(items: Iterable[File], found: Mapping[str, Mapping[str, Any]]) -> Plan:
    """Compare *items* with what was *found* at their paths; one step per path that differs."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    steps = []
    for item in items:
        is_now, should_be = found[item.path], wanted(item)
        if is_now == should_be or (item.once and is_now["kind"] != "absent"):
            continue
        before[item.path] = _shown(item, is_now)
        after[item.path] = _shown(item, should_be)
        if item.secret and before[item.path] == after[item.path]:
            after[item.path] = {**after[item.path], "content": "(another secret)"}
        verb = "remove" if item.kind == "absent" else "write"
        steps.append(Step(verb, f"{verb} {item.path}", {"item": item} if verb == "write" else {"path": item.path}))
    return Plan("files", before, after, tuple(steps))


def _shown(item: File, state: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in state.items() if key != "data"}
    if "data" in state:
        data: bytes = state["data"]
        digest = hashlib.sha256(data).hexdigest()[:16]
        text = f"({len(data)} bytes, sha256 {digest}...)" if item.binary else data.decode(errors="replace")
        shown["content"] = HIDDEN if item.secret else text
    return shown


def diff(todo: Plan) -> list[dict[str, str]]:
    """One text diff per path, for people: attributes in the first line, then the content."""
    return [
        {
            "before_header": path,
            "after_header": path,
            "before": _text(todo.before[path]),
            "after": _text(todo.after[path]),
        }
        for path in todo.after
    ]


def _text(state: Mapping[str, Any]) -> str:
    attributes = " ".join(str(value) for key, value in state.items() if key != "content")
    return f"({attributes})\n{state.get('content', '')}"


class Disk:
    """Executor of the plan on this machine. Files appear whole, with their final owner and mode, or not at all."""

    def write(self, item: File) -> None:
        """Make *item* so. Raises PgherdError when a directory stands where a file should, or an owner is unknown."""
        if item.kind == "directory":
            os.makedirs(item.path, exist_ok=True)
            self._own(item.path, item)
            return
        os.makedirs(os.path.dirname(item.path), exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(item.path), prefix=".pgherd-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(item.data() if item.kind == "file" else b"")
                stream.flush()
                os.fsync(stream.fileno())
            if item.kind == "link":
                os.unlink(temporary)
                os.symlink(item.content, temporary)
            else:
                self._own(temporary, item)
            os.rename(temporary, item.path)
        except OSError as error:
            raise PgherdError(f"write {item.path}: {error.strerror}.", "Look at what stands there.") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def remove(self, path: str) -> None:
        """Remove the file, link or empty directory at *path*."""
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        else:
            os.unlink(path)

    @staticmethod
    def _own(path: str, item: File) -> None:
        try:
            os.chown(path, pwd.getpwnam(item.owner).pw_uid, grp.getgrnam(item.group).gr_gid)
        except KeyError as error:
            raise PgherdError(
                f"give {item.path} to {item.owner}:{item.group}: there is no such user or group here.",
                "Install the package that brings it.",
            ) from error
        os.chmod(path, int(item.mode, 8))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
