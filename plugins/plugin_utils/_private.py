# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A directory of files that nobody but their owner reads, and nobody but the owner could have put there. **PRIVATE**."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import secrets
import stat
from collections.abc import Iterator

from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError, PgherdError

VARIABLE = "cluster_secrets_directory"
# What everybody may read; all else is the owner's alone.
PUBLIC = (".crt", ".pub")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class PrivateDirectory:
    """The directory at *path*, made with the first write. With *forecast* nothing is written and nothing mended.

    Every call raises ConfigError where others could change what stands in it: they own it, one of its parents, or a file in
    it, or have the right to write there. Others' right to read is taken away. A directory such as /tmp, where everybody may
    write and nobody can take away what is another's, may be a parent.
    """

    def __init__(self, path: str, forecast: bool = False) -> None:
        self._path = os.path.abspath(os.path.expanduser(path))
        self._forecast = forecast

    def read(self, name: str) -> str:
        """The text of the file called *name*, which may be in a folder; '' where there is none."""
        folder, base = os.path.split(name)
        try:
            with self._opened(folder) as place:
                handle = os.open(base, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
                with os.fdopen(handle, encoding="utf-8") as stream:
                    self._own_file(name, stream.fileno())
                    return stream.read()
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError as error:
            raise ConfigError(
                [f"{self._at(name)} is no text; put there what belongs there, or take it away."]
            ) from error
        except OSError as error:
            raise self._refusal("read", name, error) from error

    def write(self, name: str, text: str) -> None:
        """Put *text* into the file called *name*: whole or not at all, with its final rights from the beginning."""
        folder, base = os.path.split(name)
        mode = 0o644 if base.endswith(PUBLIC) else 0o600
        try:
            self._make(folder)
            with self._opened(folder) as place:
                _write(place, base, text, mode)
        except OSError as error:
            raise self._refusal("write", name, error) from error

    def _at(self, name: str) -> str:
        return os.path.join(self._path, name)

    def _refusal(self, verb: str, name: str, error: OSError) -> PgherdError:
        path = self._at(name)
        if os.path.islink(path):
            return ConfigError([f"{path} is a link, and what it leads to may be anybody's; put the file itself there."])
        return PgherdError(
            f"{verb} {path}: {error.strerror}.", f"Run as the user whose cluster it is, or set {VARIABLE}."
        )

    def _make(self, folder: str) -> None:
        """The directories there have to be, each for its owner alone; and git is told to keep away."""
        self._check_way()
        for path in (self._path, os.path.join(self._path, folder)):
            missing = []
            while not os.path.lexists(path):
                missing.append(path)
                path = os.path.dirname(path)
            for one in reversed(missing):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(one, 0o700)
        with self._opened("") as place, contextlib.suppress(FileExistsError):
            _write(place, ".gitignore", "*\n", 0o600, anew=True)

    def _check_way(self) -> None:
        """All that leads to the directory, as far as it is there: by its name, and past links."""
        for path in (*_way(self._path), *_way(os.path.realpath(self._path))):
            if os.path.lexists(path):
                _trusted(path, os.lstat(path), parent=path != self._path)

    @contextlib.contextmanager
    def _opened(self, folder: str) -> Iterator[int]:
        """A handle on the directory, or on a *folder* in it, that others cannot change. Raises FileNotFoundError."""
        self._check_way()
        path = os.path.realpath(self._path)
        handle = os.open(path, _DIRECTORY)
        try:
            self._own_directory(path, handle)
            if folder:
                inner = os.open(folder, _DIRECTORY, dir_fd=handle)
                os.close(handle)
                handle = inner
                self._own_directory(os.path.join(path, folder), handle)
            yield handle
        finally:
            os.close(handle)

    def _own_directory(self, path: str, handle: int) -> None:
        found = os.fstat(handle)
        _trusted(path, found, parent=False)
        self._close_to_others(handle, found, 0o700)

    def _own_file(self, name: str, handle: int) -> None:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError([f"{self._at(name)} is no file; put the file itself there."])
        _trusted(self._at(name), found, parent=False)
        if not name.endswith(PUBLIC):
            self._close_to_others(handle, found, 0o600)

    def _close_to_others(self, handle: int, found: os.stat_result, mode: int) -> None:
        if stat.S_IMODE(found.st_mode) & 0o077 and not self._forecast and os.geteuid() in (0, found.st_uid):
            os.fchmod(handle, mode)


def _write(place: int, base: str, text: str, mode: int, anew: bool = False) -> None:
    """A file in the directory *place*. *anew*: raises FileExistsError where there is one."""
    temporary = f".{base}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(temporary, flags, 0o600, dir_fd=place)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if anew:
            os.link(temporary, base, src_dir_fd=place, dst_dir_fd=place, follow_symlinks=False)
        else:
            os.rename(temporary, base, src_dir_fd=place, dst_dir_fd=place)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=place)


def _way(path: str) -> list[str]:
    """All directories from the root to *path*, itself the last."""
    steps = [path]
    while steps[-1] != os.path.dirname(steps[-1]):
        steps.append(os.path.dirname(steps[-1]))
    return steps[::-1]


def _trusted(path: str, found: os.stat_result, parent: bool) -> None:
    """Raise ConfigError where others than root and who runs this could change what is at *path*."""
    mode = stat.S_IMODE(found.st_mode)
    what = f"owner {_user(found.st_uid)}, mode {mode:04o}"
    away = f"or set {VARIABLE} to a directory of yours"
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError([f"{path} is another user's ({what}), who could change the secrets; make it yours, {away}."])
    if stat.S_ISLNK(found.st_mode) or (parent and mode & stat.S_ISVTX):
        return
    if mode & 0o002 or (mode & 0o020 and not _alone(found.st_gid, found.st_uid)):
        raise ConfigError(
            [f"{path} can be changed by others ({what}), and so could the secrets; chmod go-w {path}, {away}."]
        )


def _alone(group: int, owner: int) -> bool:
    """Whether a group is its user's own: called as the user, with no other member (useradd's USERGROUPS_ENAB)."""
    try:
        found, user = grp.getgrgid(group), pwd.getpwuid(owner)
    except KeyError:
        return False
    return found.gr_name == user.pw_name and user.pw_gid == group and set(found.gr_mem) <= {user.pw_name}


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
