# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Small files on this host, many in one plan: configuration, keys, units, the package itself."""

from __future__ import annotations

import base64
import grp
import hashlib
import os
import pwd
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import PgherdError
from ..plan import Plan, Step
from .directories import Directory, around, directory

HIDDEN = "(secret)"


@dataclass(frozen=True)
class File:
    """One file, directory or link that should be so.

    *kind*: ``file``, ``directory``, ``link`` (content is its target) or ``absent``. *content* is text, or base64 where
    *binary*. *secret_content* stands in its place where it must never be shown. A directory is made with its missing
    parents (0755, whatever the umask). *once*: only if nothing is there yet. *own*: the file is shared with others; a regular
    expression for the lines that are ours. Those that are there and do not match it stay, behind ours. *only*: in a directory of
    root's, nothing but what the same list names may be, see leftovers().
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
    own: str = ""
    only: bool = False

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> File:
        """Build from plain data, with the defaults above."""
        return cls(**data)

    def beside(self, found: bytes) -> File:
        """The whole file where it is shared and holds *found*: our lines, then those of others."""
        if not self.own:
            return self
        # Byte by byte the same, whatever somebody has written there.
        lines = found.decode(errors="surrogateescape").split("\n")
        others = "".join(f"{line}\n" for line in lines if line and not re.search(self.own, line))
        if self.secret_content:
            return replace(self, secret_content=self.secret_content + others)
        return replace(self, content=self.content + others)

    def data(self) -> bytes:
        """The bytes that the file should hold."""
        text = self.secret_content or self.content
        return base64.b64decode(text) if self.binary else text.encode(errors="surrogateescape")

    @property
    def secret(self) -> bool:
        """Whether what the file holds must not be shown."""
        return bool(self.secret_content)


def observe(path: str) -> dict[str, Any]:
    """What is at *path*: kind, owner, group, mode and, of a file, its bytes. What is none of the kinds of File, a pipe say,
    is ``other``, and not opened. Raises PgherdError for a way there by a link that root may not follow."""
    try:
        with around(path) as (place, name):
            found = place.status(name)
            if stat.S_ISLNK(found.st_mode):
                return {"kind": "link", "target": os.readlink(name, dir_fd=place.handle)}
            state = {
                "owner": _user(found.st_uid),
                "group": _group(found.st_gid),
                "mode": f"{stat.S_IMODE(found.st_mode):04o}",
            }
            if stat.S_ISDIR(found.st_mode):
                return {"kind": "directory", **state}
            if not stat.S_ISREG(found.st_mode):
                return {"kind": "other", **state}
            return {"kind": "file", **state, "data": _data(place, name)}
    except (FileNotFoundError, NotADirectoryError):
        return {"kind": "absent"}


def _data(place: Directory, name: str) -> bytes:
    try:
        return place.read(name)
    except PermissionError:
        # Its directory's owner may not read it: it is somebody else's, and is replaced.
        return b""


def leftovers(items: Iterable[File]) -> list[File]:
    """What is in directories that hold *only* what *items* name, and is named by none of them, to be removed in this order.
    Byte code beside files that stay is left alone: Python looks whether it is out of date."""
    stated = list(items)
    named = {item.path for item in stated}
    found = []
    for item in stated:
        for here, folders, names in (
            os.walk(item.path, topdown=False) if item.only and not os.path.islink(item.path) else ()
        ):
            if os.path.basename(here) == "__pycache__" and os.path.dirname(here) in named:
                continue
            keep = {"__pycache__"} if here in named else set()
            others = (os.path.join(here, name) for name in sorted({*names, *folders} - keep))
            found += [File(path, kind="absent") for path in others if path not in named]
    return found


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
    for stated in items:
        is_now = found[stated.path]
        item = stated.beside(is_now.get("data", b""))
        should_be = wanted(item)
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
    """Executor of the plan on this machine. Files appear whole, with their final owner and mode, or not at all; each by way
    of its directory's owner (see ports/directories.py)."""

    def write(self, item: File) -> None:
        """Make *item* so. Raises PgherdError when a directory stands where a file should, a link where a directory should and
        not only root could have put it there, or an owner is unknown."""
        user, group = _numbers(item)
        mode = int(item.mode, 8)
        with _saying(f"write {item.path}"):
            if item.kind == "directory":
                with directory(item.path, 0o700) as (place, above):
                    place.own(above, user, group, mode)
                return
            with around(item.path, make=True) as (place, name):
                if item.kind == "link":
                    place.link(name, item.content)
                else:
                    place.replace(name, item.data(), mode, (user, group))

    def remove(self, path: str) -> None:
        """Remove the file, link or empty directory at *path*."""
        with _saying(f"remove {path}"), around(path) as (place, name):
            place.remove(name)


@contextmanager
def _saying(attempted: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PgherdError(f"{attempted}: {error.strerror}.", "Look at what stands there.") from error


def _numbers(item: File) -> tuple[int, int]:
    """Whose *item* is to be."""
    try:
        return pwd.getpwnam(item.owner).pw_uid, grp.getgrnam(item.group).gr_gid
    except KeyError as error:
        raise PgherdError(
            f"give {item.path} to {item.owner}:{item.group}: there is no such user or group here.",
            "Install the package that brings it.",
        ) from error


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
