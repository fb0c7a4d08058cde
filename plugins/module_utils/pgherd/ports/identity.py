# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""With whose rights this process acts. Root must not trust what a user may change, so it works there as that user.

The effective identity is changed, and not that of a child process: results and errors come back as they are, and a process
with threads must not fork. The whole process acts so meanwhile: what else runs in it can do less for that while, never more.
What is imported, codecs too, has to be so before: its files may be root's alone. Programs are not to be run in between: a
Runner has *user* for that.
"""

from __future__ import annotations

import os
import pwd
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import PgherdError, Unreachable

# Whose PostgreSQL's data are, and as whom Pgpool-II runs.
POSTGRES = "postgres"
_ONE = threading.RLock()
# prctl(2)
_PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True)
class Identity:
    """A user of this host, as credentials(7) has it."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str = ""
    home: str = "/"


def of_user(name: str) -> Identity:
    """The user called *name*. Raises Unreachable when there is none."""
    try:
        return _of(pwd.getpwnam(name))
    except KeyError as error:
        raise Unreachable(f"run as {name}: there is no such user here.") from error


def of_owner(uid: int, gid: int) -> Identity:
    """Who owns something; a number without a name is in the group *gid* alone."""
    try:
        return _of(pwd.getpwuid(uid))
    except KeyError:
        return Identity(uid, gid, (gid,))


def _of(entry: pwd.struct_passwd) -> Identity:
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Identity(entry.pw_uid, entry.pw_gid, groups, entry.pw_name, entry.pw_dir)


@contextmanager
def acting_as(who: Identity) -> Iterator[None]:
    """Act as *who* for a while, where this process is root's. Changes nothing in another's, and nothing within another such
    while: nobody becomes root again in the middle of it."""
    if 0 not in os.getresuid():
        yield
        return
    with _ONE:
        if os.geteuid() != 0 or who.uid == 0:
            yield
            return
        groups, gid = os.getgroups(), os.getegid()
        try:
            os.setgroups(who.groups)
            os.setegid(who.gid)
            os.seteuid(who.uid)
            yield
        finally:
            os.seteuid(0)
            os.setegid(gid)
            os.setgroups(groups)


def become(name: str) -> None:
    """Be the user called *name* from now on, with no way back, also by no program that is run. Does nothing where this
    process is not root's. Raises PgherdError."""
    if os.geteuid() != 0:
        return
    # Nothing else needs it, and it takes a while to load.
    import ctypes

    who = of_user(name)
    os.setgroups(who.groups)
    os.setgid(who.gid)
    os.setuid(who.uid)
    if 0 in (*os.getresuid(), *os.getresgid()):
        raise PgherdError(f"run as {name}: this process is still root's.")
    # libpq looks there for certificates, and takes one that it may not read for a mistake.
    os.environ.update(HOME=who.home, USER=who.name, LOGNAME=who.name)
    if ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))):
        raise PgherdError(f"run as {name}: programs that it runs could become root again.")
