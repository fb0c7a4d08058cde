# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What failover reads and writes in a data directory while its server is down."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import PgherdError
from ..layout import Layout
from ..model import lsn_to_int
from ..objects.identity import SETTING
from ..ports.directories import around, as_owner
from ..ports.run import Runner
from ..ports.sql import parse_conninfo
from ..programs.postgres import RECOVERING, control_data, newest_timeline
from ..render.quoting import single_quoted, unquoted
from . import incarnation

# What is in a data directory: nothing, files that are no cluster, a cluster, or one that is not whole, see unfinished.py.
NONE, OTHER, CLUSTER, BROKEN = "none", "other", "cluster", "broken"
SIGNAL, RESTORE, OWN = "standby.signal", "recovery.signal", "postgresql.auto.conf"
# Which of the settings there fences a primary.
FENCE = "default_transaction_read_only"


@dataclass(frozen=True)
class Local:
    """The data directory by pg_control: *standby* says whether standby.signal is there, *redo* is where recovery begins, in
    bytes, *state* the "Database cluster state", *checkpoint* where the record of the last one is, on the timeline
    *checkpoint_timeline*. *restoring*: whether recovery.signal is there, as a restored backup has it: its recovery ends by
    itself, unless there is a standby.signal too. *fresh*: no server has run on them since initdb has made them, see
    incarnation.py. *data*: what there is at all; of what is no whole cluster the rest says nothing, but *system_id*, of which
    cluster it is a backup that never ended."""

    standby: bool
    system_id: str
    timeline: int
    redo: int = 0
    state: str = ""
    checkpoint: int = 0
    checkpoint_timeline: int = 0
    restoring: bool = False
    fresh: bool = False
    data: str = CLUSTER

    @property
    def recovering(self) -> bool:
        """Whether the data are a standby's, whatever files say: only a promotion ends a recovery."""
        return self.state in RECOVERING

    @property
    def clean(self) -> bool:
        """Whether it was shut down, so that no recovery is due before its data can be rewound."""
        return self.state in ("shut down", "shut down in recovery")


def local(layout: Layout, runner: Runner) -> Local:
    """Who the data directory of *layout* says it is."""
    return judged(layout, control_data(layout, runner))


def judged(layout: Layout, found: Mapping[str, str]) -> Local:
    """The same, by what control_data() has *found*."""
    signals = [os.path.exists(os.path.join(layout.data, name)) for name in (SIGNAL, RESTORE)]
    return Local(
        signals[0],
        found["Database system identifier"],
        newest_timeline(found),
        lsn_to_int(found["Latest checkpoint's REDO location"]),
        found["Database cluster state"],
        lsn_to_int(found["Latest checkpoint location"]),
        int(found["Latest checkpoint's TimeLineID"]),
        signals[1],
        not any(signals) and incarnation.fresh(layout.data, made(found)),
    )


def made(found: Mapping[str, str]) -> str:
    """What pg_control, as control_data() has *found* it, says as long as no server has run on what initdb has made: a start
    makes another state of it before anybody is let in, and each shutdown writes a checkpoint."""
    said = (found["Database system identifier"], found["Database cluster state"], found["Latest checkpoint location"])
    return " ".join(said)


def write_settings(directory: str, settings: Mapping[str, str | None]) -> None:
    """Put *settings* into postgresql.auto.conf in the place of what is there; None takes one out. Raises PgherdError."""
    kept = [line for line in _text(directory).decode().splitlines() if _name(line) not in settings]
    kept += lines({name: value for name, value in settings.items() if value is not None})
    write(os.path.join(directory, OWN), "".join(f"{line}\n" for line in kept))


def lines(settings: Mapping[str, str]) -> list[str]:
    """*settings* as they stand in postgresql.auto.conf."""
    return [f"{name} = {single_quoted(value)}" for name, value in settings.items()]


def written(directory: str) -> dict[str, str]:
    """The settings that a server has written for itself, by name; the last line counts, as for PostgreSQL. Raises PgherdError."""
    text = _text(directory).decode(errors="replace")
    return {_name(line): unquoted(line.partition("=")[2].strip()) for line in text.splitlines() if _name(line)}


def _text(directory: str) -> bytes:
    """What is in the file of written(); nothing where there is none."""
    path = os.path.join(directory, OWN)
    try:
        with as_owner(directory), around(path) as (place, name):
            return place.read(name)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise PgherdError(f"read {path}: {error.strerror}.") from error


def _name(line: str) -> str:
    match = re.match(r"\s*([\w.]+)", line)
    return match.group(1) if match else ""


def write(path: str, text: str) -> None:
    """Write a file of the directory's owner, whole or not at all. Raises PgherdError."""
    try:
        with as_owner(os.path.dirname(path)), around(path) as (place, name):
            place.replace(name, text.encode(), 0o600)
    except OSError as error:
        raise PgherdError(f"write {path}: {error.strerror}.", "Make room on its file system.") from error


def follows(directory: str, name: str) -> str:
    """The host in the primary_conninfo by which the standby called *name* streams; '' where there is none, where a seal has
    emptied it, and where it calls itself otherwise, as one that is new under its name does. Raises PgherdError."""
    given = parse_conninfo(written(directory).get("primary_conninfo", ""))
    return given.get("host", "") if given.get("application_name") == name else ""


def make_standby(directory: str, conninfo: str, slot: str, shown: str = "") -> None:
    """Have the server start as a standby that follows *conninfo* ('' for nobody) through *slot*, and shows the incarnation
    *shown*, where that is said: what was copied shows another's."""
    settings: dict[str, str | None] = {
        "primary_conninfo": conninfo,
        "primary_slot_name": slot,
        FENCE: None,
        **({SETTING: shown} if shown else {}),
    }
    write_settings(directory, settings)
    write(os.path.join(directory, SIGNAL), "")
    # PostgreSQL does not look at it beside the other, and a promotion takes that one away alone.
    _remove(os.path.join(directory, RESTORE))


def _remove(path: str) -> None:
    try:
        with as_owner(os.path.dirname(path)), around(path) as (place, name):
            place.remove(name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise PgherdError(f"remove {path}: {error.strerror}.") from error
