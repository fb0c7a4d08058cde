# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Why a server does not start, or a standby does not stream, in PostgreSQL's own words, and whether they say that its data
are broken.

What is wrong with a setting, a certificate, a port or memory is mended by a person, and the data are as good as before.
"""

from __future__ import annotations

import os
import re
import time

from ..layout import Layout
from ..ports.directories import as_owner

# Bytes of a log's end that are read, and characters of it that are shown; seconds after which words are not about now.
TAIL, SHOWN, FRESH = 65536, 400, 120.0
_LINE = re.compile(r"(?:^|[\s\]:>,@'\")])(LOG|WARNING|ERROR|FATAL|PANIC|DETAIL|HINT):\s+(.*)$")
# A server that starts or stops says these to its clients.
_TO_CLIENTS = re.compile(
    r"the database system is |terminating |password authentication|no pg_hba|pg_hba.conf rejects|remaining connection"
    r"|too many (clients|connections)|replication slot .* is active|role .* does not exist|database .* does not exist"
)
# Said as LOG right before the FATAL that only sums it up (guc-file.l, pqcomm.c, xlogreader.c).
_CAUSE = re.compile(r"could not|cannot|unrecognized|invalid|syntax error|out of range|required|requires|must ")
# xlog.c, xlogrecovery.c, bufmgr.c, slru.c, miscinit.c: what a start says about data that no start will mend.
_BROKEN = re.compile(
    r"could not locate a valid checkpoint record|could not locate required checkpoint record"
    r"|could not find redo location|incorrect checksum in control file|WAL ends before (end of online backup|consistent)"
    r"|is not a child of this server's history|does not contain minimum recovery point"
    r"|WAL contains references to invalid pages|invalid page in block|could not access status of transaction"
    r"|is not a valid data directory|required WAL directory .* does not exist"
    r"|could not open (file|directory) \"(global|base|pg_xact|pg_multixact|pg_wal)\b[^\"]*\": No such file"
)


def said(layout: Layout, now: float | None = None) -> str:
    """Why the server of *layout* did not start or does not stream, by the end of its logs; '' where they say nothing that
    is fresh."""
    # What the server calls its log may be any file of the host's.
    with as_owner(layout.data):
        found = [words for path in _logs(layout) if (words := last(_tail(path, now or time.time())))]
    return found[-1] if found else ""


def last(text: str) -> str:
    """The last fatal message of a server's log *text*, with what explains it; '' for none."""
    lines = [match.groups() for match in map(_LINE.search, text.splitlines()) if match]
    fatal = [
        at for at, (kind, words) in enumerate(lines) if kind in ("FATAL", "PANIC") and not _TO_CLIENTS.search(words)
    ]
    if not fatal:
        return ""
    at = fatal[-1]
    before: list[str] = []
    while at - len(before) - 1 >= 0 and len(before) < 3:
        kind, words = lines[at - len(before) - 1]
        if kind not in ("LOG", "DETAIL", "HINT") or (kind == "LOG" and not _CAUSE.search(words)):
            break
        before.insert(0, f"{words}")
    after = []
    for kind, words in lines[at + 1 :]:
        if kind not in ("DETAIL", "HINT"):
            break
        after.append(words)
    kind, words = lines[at]
    return "; ".join([*before, f"{kind}: {words}", *after])[:SHOWN]


def broken(words: str) -> bool:
    """Whether the *words* of said() tell of data that no start will mend."""
    return bool(_BROKEN.search(words))


def _logs(layout: Layout) -> list[str]:
    """The server's logs, the one that a collector writes last."""
    paths = [layout.log]
    try:
        with open(os.path.join(layout.data, "current_logfiles"), encoding="utf-8") as stream:
            named = [line.split(" ", 1)[1].strip() for line in stream if line.startswith("stderr ")]
    except (OSError, ValueError):
        named = []
    return paths + [os.path.join(layout.data, name) for name in named]


def _tail(path: str, now: float) -> str:
    try:
        with open(path, "rb") as stream:
            found = os.fstat(stream.fileno())
            if now - found.st_mtime > FRESH:
                return ""
            stream.seek(max(0, found.st_size - TAIL))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""
