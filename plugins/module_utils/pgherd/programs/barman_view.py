# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a Barman host says of itself: checks, backups, reception. A value, and its JSON that the agent serves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import ProtocolError
from ..model import build

VIEW_VERSION = 1

# Barman writes these into backup.info. A backup whose process died stays STARTED for ever.
DONE, FAILED, WAITING = "DONE", "FAILED", "WAITING_FOR_WALS"
UNFINISHED = ("EMPTY", "STARTED", "SYNCING")


@dataclass(frozen=True)
class Check:
    """One line of ``barman check``: *name* is Barman's key, *hint* what it says besides."""

    name: str
    ok: bool
    hint: str = ""

    def __str__(self) -> str:
        said = f": {self.hint}" if self.hint else ""
        return f"{self.name.replace('_', ' ')}{said}"


@dataclass(frozen=True)
class Backup:
    """One backup of the catalogue. Times are seconds since the epoch, sizes bytes; None where Barman does not say.

    A backup that runs or failed has only *id*, *type* and *status*; of a failed one ``show-backup`` adds *error*.
    """

    id: str
    status: str
    type: str = ""
    begin: float | None = None
    end: float | None = None
    size: int | None = None
    wal_size: int | None = None
    retention: str = ""
    timeline: int | None = None
    begin_wal: str = ""
    end_wal: str = ""
    error: str = ""

    @property
    def finished(self) -> bool:
        """Whether it can be restored: copied, and all WAL that makes it consistent is here."""
        return self.status == DONE


def remains(backups: Iterable[Backup], backing_up: bool) -> tuple[Backup, ...]:
    """What of *backups* failed, or nobody takes any more, where *backing_up* says whether one is taken now; it can never be
    restored."""
    dead = (FAILED,) if backing_up else (FAILED, *UNFINISHED)
    return tuple(backup for backup in backups if backup.status in dead)


@dataclass(frozen=True)
class BarmanView:
    """What one Barman host says of itself, as served by its agent. Times are seconds since the epoch.

    *checks* are None until the first has run; they were made at *checked_at*. *backups* are newest first, None when the
    catalogue could not be read. *receiving* says whether pg_receivewal runs; *receiver* is the process of receive-wal that
    has it, or will or had; 0 for none. *not_receiving_since* is when that was first seen to be over, None where it is not, or
    was never seen. *receiving_wal* is the segment that is being received, last written at *receiving_at*. *last_wal* is the
    newest archived segment, written at *last_wal_at*; an idle primary writes nothing, so age alone is no alarm while
    *receiving*. *unread* says why a source could not be read: ``config``, ``check``, ``catalogue`` or ``archive``.
    """

    host: str
    server: str
    collected_at: float
    version: str = ""
    checks: tuple[Check, ...] | None = None
    checked_at: float | None = None
    backups: tuple[Backup, ...] | None = None
    receiving: bool | None = None
    receiving_wal: str = ""
    receiving_at: float | None = None
    last_wal: str = ""
    last_wal_at: float | None = None
    unread: Mapping[str, str] = field(default_factory=dict)
    receiver: int = 0
    not_receiving_since: float | None = None

    @property
    def failed_checks(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks or () if not check.ok)

    @property
    def last_backup(self) -> Backup | None:
        """The newest finished backup."""
        return next((backup for backup in self.backups or () if backup.finished), None)

    @property
    def first_recoverable(self) -> float | None:
        """The earliest moment that can be restored: the end of the oldest finished backup."""
        ends = [backup.end for backup in self.backups or () if backup.finished and backup.end is not None]
        return min(ends) if ends else None

    @property
    def wal_timeline(self) -> int | None:
        """The timeline of the newest WAL that is here, complete or not."""
        newest = max(self.receiving_wal, self.last_wal)
        return int(newest[:8], 16) if newest else None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BarmanView:
        """Build from ``to_dict`` output; keys that a later version added are left out."""
        rows: dict[str, Any] = {}
        for key, kind in (("checks", Check), ("backups", Backup)):
            if data.get(key) is not None:
                rows[key] = tuple(build(kind, item) for item in data[key])
        return build(cls, {**data, **rows})

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the schema's version."""
        return {"schema": VIEW_VERSION, **asdict(self)}


def parse_view(text: str) -> BarmanView:
    """The view from the agent's JSON. Raises ProtocolError for anything else, or a version that is not known."""
    try:
        data = json.loads(text)
        if data["schema"] != VIEW_VERSION:
            raise ProtocolError(
                f"read the barman agent's view: version {data['schema']} is not known here (known: {VIEW_VERSION}).",
                "Run the site playbook on all hosts.",
            )
        return BarmanView.from_dict(data)
    except (ValueError, TypeError, KeyError) as error:
        raise ProtocolError(f"read the barman agent's view: this is not one: {text[:200]!r}") from error
