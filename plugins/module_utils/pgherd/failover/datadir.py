# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What failover reads and writes in a data directory while its server is down."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ..errors import PgherdError
from ..model import lsn_to_int
from ..ports.run import Runner
from ..ports.sql import literal
from ..programs.postgres import control_data
from .guard import Local

SIGNAL = "standby.signal"


def local(directory: str, version: int, runner: Runner) -> Local:
    """Who this data directory says it is."""
    found = control_data(directory, version, runner)
    signal = any(os.path.exists(os.path.join(directory, name)) for name in (SIGNAL, "recovery.signal"))
    timelines = [found.get("Latest checkpoint's TimeLineID"), found.get("Min recovery ending loc's timeline")]
    newest = max(int(timeline) for timeline in timelines if timeline)
    return Local(
        signal, found["Database system identifier"], newest, lsn_to_int(found["Latest checkpoint's REDO location"])
    )


def write_settings(directory: str, settings: Mapping[str, str | None]) -> None:
    """Put *settings* into postgresql.auto.conf in the place of what is there; None takes one out. Raises PgherdError."""
    path = os.path.join(directory, "postgresql.auto.conf")
    try:
        with open(path, encoding="utf-8") as stream:
            lines = stream.read().splitlines()
    except FileNotFoundError:
        lines = []
    except OSError as error:
        raise PgherdError(f"read {path}: {error.strerror}.") from error
    kept = [line for line in lines if _name(line) not in settings]
    kept += [f"{name} = {literal(value).strip()}" for name, value in settings.items() if value is not None]
    write(path, "".join(f"{line}\n" for line in kept))


def _name(line: str) -> str:
    match = re.match(r"\s*([\w.]+)", line)
    return match.group(1) if match else ""


def write(path: str, text: str) -> None:
    """Write a file of the data directory's owner, whole or not at all. Raises PgherdError."""
    owner = os.stat(os.path.dirname(path))
    try:
        with open(path + ".new", "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), 0o600)
            if os.geteuid() == 0:
                os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
            os.fsync(stream.fileno())
        os.rename(path + ".new", path)
        handle = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise PgherdError(f"write {path}: {error.strerror}.", "Make room on its file system.") from error


def make_standby(directory: str, conninfo: str, slot: str) -> None:
    """Have the server start as a standby that follows *conninfo* ('' for nobody) through *slot*."""
    settings = {"primary_conninfo": conninfo, "primary_slot_name": slot, "default_transaction_read_only": None}
    write_settings(directory, settings)
    write(os.path.join(directory, SIGNAL), "")
