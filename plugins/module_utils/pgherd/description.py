# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The description of the cluster as a file: read with its digest, by which whoever wrote it and whoever goes by it mean the same.

The file is replaced as a whole, never written to, so what is read is one description or none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from .errors import PgherdError
from .model import CLUSTER_FILE, Cluster

# Hexadecimal digits of a digest: they tell descriptions apart, and protect nothing.
DIGITS = 16
# What Told.line() writes.
_LINE = re.compile(
    f"goes by description (?P<digest>[0-9a-f]{{{DIGITS}}})(?:; refuses (?P<refused>[0-9a-f]{{{DIGITS}}}|what cannot be read))?"
    "(?:; waits for (?P<waits>.+))?"
)
UNREADABLE = "what cannot be read"


@dataclass(frozen=True)
class Description:
    """A *cluster*, and the *digest* of the text that it was read from."""

    cluster: Cluster
    digest: str


@dataclass(frozen=True)
class Told:
    """By which description an agent goes: its *digest*. *refused*: the digest of the one that is there and will not do,
    UNREADABLE where there is none; '' for none. *waits*: what has to end before it goes by another one; '' for nothing."""

    digest: str
    refused: str = ""
    waits: str = ""

    def line(self) -> str:
        """All of it for a person, on one line."""
        refused = f"; refuses {self.refused}" if self.refused else ""
        return f"goes by description {self.digest}{refused}{f'; waits for {self.waits}' if self.waits else ''}"


# Of who does not say.
UNKNOWN = Told("")


def parse_told(line: str) -> Told | None:
    """What Told.line() wrote; None for anything else, such as the silence of an agent that cannot re-read."""
    found = _LINE.fullmatch(line.strip())
    return Told(**found.groupdict(default="")) if found else None


def digest(content: bytes) -> str:
    """The digest of a description's text."""
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def read(path: str = CLUSTER_FILE) -> Description:
    """The description in the file *path*. Raises PgherdError when it is missing or not one."""
    return _parsed(path, _content(path)[1])


def digest_of(path: str) -> str:
    """The digest of what the file *path* has now. Raises PgherdError when it cannot be read."""
    return digest(_content(path)[1])


class DescriptionWatch:
    """The description in the file *path*: gone by from when this is made, until another one is taken. *say* gets a line for each
    change. Raises PgherdError where there is none."""

    def __init__(self, path: str, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self._seen, content = _content(path)
        self._found = self._seen
        self._by = _parsed(path, content)
        self._fault = ""
        self.told = Told(self._by.digest)

    @property
    def by(self) -> Description:
        """The one that is gone by."""
        return self._by

    def look(self) -> Description | None:
        """The description that is there, where it is another one than is gone by and has not been refused yet; the same again
        until it is taken or refused. Costs one stat() while nothing is written. Raises nothing."""
        try:
            if _signature(os.stat(self._path)) == self._seen:
                return None
            self._found, content = _content(self._path)
        except (OSError, PgherdError) as error:
            self._seen = ()
            self._refused(UNREADABLE, error)
            return None
        there = digest(content)
        if there == self._by.digest:
            self._seen, self._fault, self.told = self._found, "", Told(there)
            return None
        try:
            return _parsed(self._path, content)
        except Exception as error:  # whatever is in it, the one before is still good
            self._seen = self._found
            self._refused(there, error)
            return None

    def again(self) -> None:
        """Have the next look try one that was refused: what it was refused for may be gone."""
        if self.told.refused:
            self._seen = ()

    def still(self) -> bool:
        """Whether what the last look found is there still."""
        try:
            return _signature(os.stat(self._path)) == self._found
        except OSError:
            return False

    def wait(self, found: Description, what: str) -> None:
        """*found* is not taken before *what* has ended."""
        if self.told.waits != what:
            self._say(f"description: {found.digest} is there, and taken up when this has ended: {what}")
        self.told = Told(self._by.digest, waits=what)

    def refuse(self, found: Description, error: Exception) -> None:
        """Stay with the one before, as *found* will not do."""
        self._seen = self._found
        self._refused(found.digest, error)

    def take(self, found: Description) -> None:
        """Go by *found*. What has been written since is found by the next look."""
        self._say(f"description: goes by {found.digest} now, and by {self._by.digest} before")
        self._seen, self._by, self._fault, self.told = self._found, found, "", Told(found.digest)

    def _refused(self, there: str, error: Exception) -> None:
        said = " ".join(str(error).split()) or type(error).__name__
        if said != self._fault:
            self._say(f"description: goes by {self._by.digest} still: {said}")
        self._fault, self.told = said, Told(self._by.digest, refused=there)


def _signature(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _content(path: str) -> tuple[tuple[int, ...], bytes]:
    """What tells this file from another one of that name, and what is in it. Raises PgherdError."""
    try:
        with open(path, "rb") as stream:
            return _signature(os.fstat(stream.fileno())), stream.read()
    except OSError as error:
        raise PgherdError(
            f"read {path}: {error.strerror}.", "The site playbook writes it on every host of a cluster."
        ) from error


def _parsed(path: str, content: bytes) -> Description:
    try:
        return Description(Cluster.from_dict(json.loads(content.decode())), digest(content))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PgherdError(
            f"read {path}: it does not describe a cluster ({error}).", "Run the site playbook."
        ) from error
