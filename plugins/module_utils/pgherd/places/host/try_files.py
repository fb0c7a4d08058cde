# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Files that a program of this host reads are tried with that program before they are written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from ...errors import PgherdError
from ...layout import debian
from ...nodes.instance_check import wrong_files
from ...nodes.trial import OWNER, scratch
from ...plan import Plan
from ...ports.hostfiles import File
from ...ports.identity import acting_as, of_user
from ...ports.run import Runner
from ...programs import pgpool, pgpool_settings

_POSTGRES = re.compile(r"/etc/postgresql/(\d+)/main/(postgresql\.conf|pg_hba\.conf|pg_ident\.conf)")
_TIMER = re.compile(r"/etc/systemd/system/[^/]+\.timer")


def refuse(todo: Plan, runner: Runner) -> None:
    """Raise PgherdError with the sentences of the programs that cannot take what the plan *todo* of hostfiles.py writes."""
    written = [item for step in todo.steps for item in [step.args.get("item")] if item and item.kind == "file"]
    tried = {
        "cluster_postgres_settings or cluster_hba": _postgres(written, runner),
        "cluster_pgpool_settings": _pgpool(written, runner),
        "cluster_barman_schedule": _timers(written, runner),
    }
    wrong = {variable: found for variable, sentences in tried.items() if (found := list(sentences))}
    if wrong:
        said = "; ".join(sentence for found in wrong.values() for sentence in found)
        raise PgherdError(
            f"This configuration cannot be: {said}. Nothing was written.", f"Correct {' and '.join(wrong)}."
        )


def _postgres(written: list[File], runner: Runner) -> Iterator[str]:
    changed: dict[int, dict[str, str]] = {}
    for item in written:
        found = _POSTGRES.fullmatch(item.path)
        if found:
            changed.setdefault(int(found.group(1)), {})[found.group(2)] = item.data().decode()
    for version, texts in changed.items():
        # A forecast of the first run comes before the packages.
        if os.path.exists(f"{debian(version).programs}/postgres"):
            yield from wrong_files(debian(version, _data_directory(version, texts)), runner, texts)


def _data_directory(version: int, texts: Mapping[str, str]) -> str:
    """By postgresql.conf as conf_postgres.py writes it."""
    name = "postgresql.conf"
    text = texts.get(name)
    if text is None:
        with open(f"{debian(version).configuration}/{name}", encoding="utf-8") as stream:
            text = stream.read()
    found = re.search(r"^data_directory = '(.*)'$", text, re.MULTILINE)
    return found.group(1).replace("''", "'").replace("\\\\", "\\") if found else ""


def _pgpool(written: list[File], runner: Runner) -> Iterator[str]:
    """pgpool has no trial of its own. Asked for a reload, it reads its configuration as for a start, and then whom to signal,
    nobody here (main() of main.c)."""
    for item in written:
        if item.path == pgpool.CONFIGURATION and os.path.exists(pgpool.PROGRAM):
            with scratch(OWNER) as place:
                with acting_as(of_user(OWNER)), open(f"{place}/pgpool.conf", "x", encoding="utf-8") as stream:
                    stream.write(f"{item.data().decode()}pid_file_name = '{place}/nobody'\n")
                done = runner.run([pgpool.PROGRAM, "-f", f"{place}/pgpool.conf", "reload"], user=OWNER)
            if pgpool_settings.NOBODY not in done.err:
                said = pgpool_settings.refusals(done.err) or [f"{pgpool.PROGRAM} exited {done.rc}: {done.err.strip()}"]
                yield from (text.replace(place, os.path.dirname(item.path)) for text in said)


def _timers(written: list[File], runner: Runner) -> Iterator[str]:
    for item in written:
        if _TIMER.fullmatch(item.path):
            for when in re.findall(r"^OnCalendar=(.*)$", item.data().decode(), re.MULTILINE):
                done = runner.run(["systemd-analyze", "calendar", "--", when])
                if done.rc:
                    yield f"{item.path}: OnCalendar={when}: {done.err.strip() or done.out.strip()}"
