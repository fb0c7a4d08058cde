# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Backends as a user writes them down, and as they stand in pgpool.conf. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, Conflict
from ..model import PGPOOL_BACKENDS
from ..plan import Plan, Step
from ..programs.pgpool import NodeInfo
from ..programs.pgpool_settings import parse_configuration, setting

DATA_DIRECTORY = "/var/lib/postgresql/data"
FLAG = "ALLOW_TO_FAILOVER"
FLAGS = (FLAG, "DISALLOW_TO_FAILOVER", "ALWAYS_PRIMARY")
FIELDS = ("number", "host", "port", "weight", "data_directory", "flag")


@dataclass(frozen=True)
class Backend:
    """One backend of a pgpool. *name* is the application_name that its WAL receiver shows, '' where it is not known."""

    number: int
    host: str
    port: int = 5432
    weight: float = 1.0
    data_directory: str = DATA_DIRECTORY
    flag: str = FLAG
    name: str = ""

    def settings(self) -> dict[str, Any]:
        """Its lines in pgpool.conf."""
        values = {
            "hostname": self.host,
            "port": self.port,
            "weight": self.weight,
            "data_directory": self.data_directory,
            "flag": self.flag,
        }
        if self.name:
            values["application_name"] = self.name
        return {f"backend_{key}{self.number}": value for key, value in values.items()}


def parse_backends(given: str | Iterable[str | Mapping[str, Any]]) -> list[Backend]:
    """Backends from ``num:host:port:weight:dir:flag[,...]``, or from a list of such texts or of dictionaries.

    Empty fields and fields left out at the end have their defaults; numbers may have gaps and come in any order. An IPv6
    address stands in brackets. Raises ConfigError with one sentence per mistake.
    """
    problems: list[str] = []
    found: dict[int, Backend] = {}
    items = given.split(",") if isinstance(given, str) else list(given)
    for item in items:
        if isinstance(item, str) and not item.strip():
            continue
        try:
            backend = _backend(_fields(item) if isinstance(item, str) else item)
        except ValueError as error:
            problems.append(f"Backend {item!r}: {error}")
            continue
        if backend.number in found:
            problems.append(f"Backend {item!r}: number {backend.number} is {found[backend.number].host}'s already.")
        found[backend.number] = backend
    if problems:
        raise ConfigError(problems)
    return [found[number] for number in sorted(found)]


def _fields(text: str) -> dict[str, str]:
    parts = [part.strip("[]") for part in re.findall(r"(?:^|:)(\[[^\]]*\]|[^:]*)", text.strip())]
    if len(parts) > len(FIELDS):
        raise ValueError(f"it has {len(parts)} fields, and there are {len(FIELDS)}: {':'.join(FIELDS)}.")
    return dict(zip(FIELDS, parts))


def _backend(given: Mapping[str, Any]) -> Backend:
    unknown = sorted(set(given) - {*FIELDS, "name"})
    if unknown:
        raise ValueError(f"there is no field {unknown[0]}; the fields are {', '.join((*FIELDS, 'name'))}.")
    values = {key: value for key, value in given.items() if value is not None and str(value) != ""}
    number, host = str(values.get("number", "")), str(values.get("host", ""))
    if not re.fullmatch(r"\d+", number) or int(number) >= PGPOOL_BACKENDS:
        raise ValueError(f"its number must be 0 to {PGPOOL_BACKENDS - 1}, not {number!r}.")
    if not host:
        raise ValueError("it has no host.")
    port, weight = str(values.get("port", 5432)), str(values.get("weight", 1))
    if not re.fullmatch(r"\d+", port) or not 0 < int(port) < 65536:
        raise ValueError(f"its port must be 1 to 65535, not {port!r}.")
    if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", weight):
        raise ValueError(f"its weight must be a number from 0 up, not {weight!r}.")
    flag = str(values.get("flag", FLAG))
    if not set(flag.split("|")) <= set(FLAGS):
        raise ValueError(f"its flag is one of {', '.join(FLAGS)}, or some joined by |, not {flag!r}.")
    directory = str(values.get("data_directory", DATA_DIRECTORY))
    return Backend(int(number), host, int(port), float(weight), directory, flag, str(values.get("name", "")))


def number_of(node_id: int) -> int:
    """A node's backend number: its own for ever, whatever nodes come and go. Gaps (witnesses) are allowed."""
    return node_id - 1


def label(number: int, node: str) -> str:
    """A backend in a sentence."""
    return f"backend {number} ({node})"


def rewrite(text: str, wanted: Iterable[Backend], absent: Iterable[int] = ()) -> str:
    """A pgpool.conf with the lines of the *wanted* backends made so and those of *absent* numbers taken out.

    Text of other settings, and a backend whose lines say what is wanted, stay as they are; values that a Backend leaves
    open (its application_name) keep what is there.
    """
    lines = text.splitlines(keepends=True)
    found = parse_configuration(text)
    for number in absent:
        lines = [line for line in lines if not re.match(rf"\s*backend_[a-z_]+{number}\b", line)]
    for backend in wanted:
        settings = backend.settings()
        for key, value in settings.items():
            line = setting(key, value)
            if parse_configuration(line)[key] == found.get(key) or _equal(value, found.get(key)):
                continue
            lines = [other for other in lines if not re.match(rf"\s*{key}\b", other)]
            if lines and not lines[-1].endswith("\n"):
                lines.append("\n")
            lines.append(line)
    return "".join(lines)


def _equal(value: Any, found: str | None) -> bool:
    """Whether numbers are the same: pgpool writes a weight as 1 or 1.0."""
    try:
        return isinstance(value, (int, float)) and found is not None and float(found) == value
    except ValueError:
        return False


def configure(table: Mapping[int, NodeInfo], text: str, path: str, wanted: Sequence[Backend], restart: bool) -> Plan:
    """What makes pgpool have the *wanted* backends, by writing *path* (whose *text* this is) and a reload.

    Raises Conflict for a number that another server has: pgpool changes one in use only at a restart, which *restart*
    allows.
    """
    others = {
        item.number: f"{table[item.number].host}:{table[item.number].port}"
        for item in wanted
        if item.number in table and (table[item.number].host, table[item.number].port) != (item.host, item.port)
    }
    for item in wanted:
        if item.number in others and not restart:
            raise Conflict(
                f"backend {item.number} of pgpool is another server",
                f"{item.host}:{item.port}",
                others[item.number],
                "Give the new server another number, or allow the restart that pgpool needs for it.",
            )
    numbers = tuple(item.number for item in wanted)
    new = rewrite(text, wanted)
    missing = [item.number for item in wanted if item.number not in table]
    steps = []
    if new != text:
        steps.append(
            Step("write", f"write the backends {', '.join(map(str, numbers))} to {path}", {"path": path, "text": new})
        )
    if others:
        steps.append(
            Step("restart", f"restart pgpool: it has others as {', '.join(map(str, others))}", {"numbers": numbers})
        )
    elif new != text or missing:
        steps.append(Step("reload", "reload pgpool", {"numbers": numbers}))
    changed = [item for item in wanted if item.number in missing or item.number in others] if steps else []
    before = {label(item.number, item.host): others.get(item.number, "absent") for item in changed}
    after = {label(item.number, item.host): f"{item.host}:{item.port}" for item in changed}
    if steps and not changed:
        before, after = {path: "other values"}, {path: "as wanted"}
    return Plan("pgpool.conf", before, after, tuple(steps))
