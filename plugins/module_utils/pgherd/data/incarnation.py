# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which data directory this is: a random id, kept through restarts and rewinds, another one after each copy.

The note lies outside of the data directory, so that no copy has it, and says of which file's inode and birth it speaks:
pg_control is written in place by the server and by pg_rewind, and made anew by each copy. A directory that the note does not
fit gets another id. It says whom that replaces only where the one before is certainly gone: our own procedure had begun to
empty it; or a second name of its pg_control, beside the note, is the last one that the file has. That cannot be made where the
directory is on another file system.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from ..errors import PgherdError
from ..model import build
from ..objects.identity import Incarnation
from ..ports.directories import around, as_owner

FILE = "/var/lib/postgresql/pgherd-incarnation"
LINK = ".pgherd-control"
# Bytes of it that are read.
LONGEST = 65536
# How many that came before are remembered.
KEPT = 32
_STATX_BTIME, _AT_FDCWD = 0x800, -100


@dataclass(frozen=True)
class Note:
    """*id* is of the *directory* whose pg_control is at *place*. *replaces*: see Incarnation. *emptying*: the directory is being
    emptied by us, so whatever is there next has taken its place. *timeline* and *upstream*: where the last one that counted
    stood when it was emptied, as a standby that followed that node on that timeline; 0 and '' where it was something else.
    *past*: whom it has replaced, and those before them: an old backup of the cluster may still have one of them as admitted.
    *made*: what its pg_control said when initdb had made it, see datadir.made()."""

    id: str
    directory: str
    place: str
    replaces: tuple[str, ...] = ()
    emptying: bool = False
    timeline: int = 0
    upstream: str = ""
    past: tuple[str, ...] = ()
    made: str = ""

    @property
    def shown(self) -> Incarnation:
        """What its server is to show."""
        return Incarnation(self.id, self.replaces)


def place(directory: str) -> str:
    """Inode and birth of the pg_control of a *directory*; '' where there is none. A file system that knows no birth leaves
    the inode."""
    try:
        with as_owner(directory):
            return _at(_control(directory))
    except OSError:
        return ""


def _control(directory: str) -> str:
    return os.path.join(directory, "global", "pg_control")


def _at(path: str) -> str:
    return f"{os.stat(path).st_ino} {_birth(path)}"


def _birth(path: str) -> str:
    """statx(2), which Python does not have: the fields stx_mask, at byte 0, and stx_btime, at 80."""
    buffer = ctypes.create_string_buffer(256)
    try:
        failed = ctypes.CDLL(None).statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, buffer)
    except (OSError, AttributeError):
        return ""
    if failed or not struct.unpack_from("<I", buffer, 0)[0] & _STATX_BTIME:
        return ""
    seconds, nanoseconds = struct.unpack_from("<qI", buffer, 80)
    return f"{seconds}.{nanoseconds:09d}"


def current(directory: str) -> Note:
    """The note on the data *directory*, made anew where there is none that fits. Raises PgherdError when it cannot be read or
    written."""
    found, here = _read(), place(directory)
    if not here:
        raise PgherdError(f"tell which data {directory} holds: it has no global/pg_control now.")
    if found and found.directory == directory and found.place == here:
        if not found.emptying:
            return found
        # It was not emptied after all. An inode alone may have been given to the next file, unless the second name holds it.
        if here.partition(" ")[2] or _kept(found):
            return _written(replace(found, emptying=False))
    return _written(replace(following(directory), place=here))


def following(directory: str) -> Note:
    """The note on what takes the place of the data in the *directory*, for settle(). Raises PgherdError."""
    found = _read()
    made = Note(os.urandom(16).hex(), directory, "")
    if not found or found.directory != directory or not (_gone(found) or (found.emptying and not _kept(found))):
        return made
    before = (found.id, *found.replaces, *found.past)[:KEPT]
    return replace(made, replaces=before, timeline=found.timeline, upstream=found.upstream)


def settle(made: Note) -> None:
    """Write the note that following() made, when the data are in their place. Raises PgherdError."""
    _written(replace(made, place=place(made.directory)))


def known(directory: str) -> bool:
    """Whether there is a note on the data *directory*. Raises PgherdError."""
    found = _read()
    return bool(found and found.directory == directory and (found.emptying or found.place == place(directory)))


def of(directory: str) -> str:
    """The id of the data *directory*, '' where no note fits it. Writes nothing. Raises PgherdError for a note that cannot be
    read."""
    found = _read()
    fits = found and not found.emptying and found.directory == directory and found.place == place(directory)
    return found.id if found and fits else ""


def emptying(directory: str, timeline: int, upstream: str) -> None:
    """Note that we empty the known() data *directory* now, for good. *timeline*, *upstream*: see Note. Raises PgherdError."""
    found = _read()
    if found and known(directory):
        stood = (found.timeline, found.upstream) if found.replaces or found.emptying else (timeline, upstream)
        _written(replace(found, emptying=True, timeline=stood[0], upstream=stood[1]))


def initialized(directory: str, made: str, staged: str = "") -> Note:
    """Note that initdb has made the data *directory* just now, and that its pg_control says *made*. Where the data are in
    *staged* yet, and are moved there next, it fits them when they have been: a rename leaves inode and birth. So there is no
    moment at which they lie there and nobody knows that they are new. Raises PgherdError."""
    if staged:
        return _written(replace(following(directory), place=place(staged), made=made))
    return _written(replace(current(directory), made=made))


def fresh(directory: str, made: str) -> bool:
    """Whether no server has run on the data *directory* since initialized(), where its pg_control says *made* now. A copy of it
    has another pg_control, which the note does not fit. Where the note cannot be read they are not: then the others decide."""
    try:
        found = _read()
    except PgherdError:
        return False
    return bool(found and found.made == made and found.directory == directory and found.place == place(directory))


def taken(directory: str) -> Note:
    """Note that the data *directory* has taken its place under the node's name: it replaces nobody any more. Raises
    PgherdError."""
    found = current(directory)
    past = (*found.replaces, *found.past)[:KEPT]
    return _written(replace(found, replaces=(), timeline=0, upstream="", past=past))


def replaced(directory: str, old: str, timeline: int, upstream: str) -> Note:
    """Note, by a person's word, that the one called *old* is gone for good, and that this one stands where it would, below the
    primary *upstream* on its *timeline*. Raises PgherdError."""
    found = current(directory)
    if old == found.id:
        # Admitted, and waiting for others to know it: that they need not is all that the word adds.
        return _written(replace(found, timeline=timeline, upstream=upstream)) if found.replaces else found
    others = tuple(one for one in found.replaces if one != old)
    return _written(replace(found, replaces=(old, *others)[:KEPT], timeline=timeline, upstream=upstream))


def again(directory: str, old: str) -> Note:
    """Note that the data *directory* has the place of *old* and those after it, whom it has replaced, to take once more. Raises
    PgherdError."""
    found = current(directory)
    if old not in found.past:
        return found
    until = found.past.index(old) + 1
    back, past = (*found.replaces, *found.past[:until])[:KEPT], found.past[until:]
    return _written(replace(found, replaces=back, past=past, timeline=0, upstream=""))


def _read() -> Note | None:
    try:
        with around(FILE) as (folder, name):
            found = json.loads(folder.read(name, LONGEST).decode())
        lists = {name: tuple(found.get(name, ())) for name in ("replaces", "past")}
        return build(Note, {**found, **lists})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError):
        # Half a note says nothing; what counts under the name is in the cluster.
        return None
    except OSError as error:
        raise PgherdError(f"read {FILE}: {error.strerror}.") from error


def _written(note: Note) -> Note:
    try:
        with around(FILE) as (folder, name):
            folder.replace(name, f"{json.dumps(asdict(note))}\n".encode(), 0o644)
    except OSError as error:
        raise PgherdError(f"write {FILE}: {error.strerror}.", "Make room on its file system.") from error
    if not note.emptying:
        _tie(note)
    return note


def _link() -> str:
    return os.path.join(os.path.dirname(FILE), LINK)


def _tie(note: Note) -> None:
    """Give the pg_control of the noted directory its second name; without it nothing is known of what others remove."""
    new = f"{_link()}.{note.id}"
    with suppress(OSError), as_owner(os.path.dirname(FILE)):
        # rename(2) does nothing with two names of one file.
        for name in (_link(), new):  # the second one where this was broken off
            with suppress(FileNotFoundError):
                os.unlink(name)
        os.link(_control(note.directory), new)
        os.rename(new, _link())


def _gone(found: Note) -> bool:
    """Whether the directory that was noted has no pg_control any more, wherever it was moved."""
    return _names(found) == 1


def _kept(found: Note) -> bool:
    """Whether its pg_control certainly is still somewhere: it was moved away before we removed it."""
    return _names(found) > 1


def _names(found: Note) -> int:
    """How many names the noted pg_control has, the one beside the note included; 0 where that is not known."""
    try:
        with as_owner(os.path.dirname(FILE)):
            return os.stat(_link()).st_nlink if _at(_link()) == found.place else 0
    except OSError:
        return 0
