# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether names and values of an inventory are what they should be, before they stand in files that others read. Pure.

Hosts, addresses, networks, names, paths: each goes into lines that PostgreSQL, systemd, libpq or a shell take apart, where
a space or the end of a line would begin something else. No sentence here shows a value that may be secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..programs import barman_settings, calendar_times, pgpool_settings, postgres_settings, repmgr_settings
from ..programs.own_settings import problems
from . import pod_values
from .fitting import fits, keys
from .hosts import NAME_BYTES, control, is_ip, is_network, safe

# Barman's word for all of its servers, and its own section.
RESERVED = ("all", "barman")
# Lists are one field, with blanks behind their commas too.
_HBA_FIELD = re.compile(r'(?:"(?:[^"]|"")*"|,\s*|[^\s",])+')
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_PATH = re.compile(r"/[A-Za-z0-9._@+/-]*")
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.:~=*_/-]*")

SETTINGS = (
    "cluster_postgres_settings",
    "cluster_repmgr_settings",
    "cluster_pgpool_settings",
    "cluster_barman_settings",
)
# Whose values are never shown: what holds secrets, or may.
HIDDEN = (
    "cluster_passwords",
    "cluster_users",
    "cluster_apt_repository",
    "cluster_hba",
    *SETTINGS,
)
PORTS = (
    "cluster_port",
    "cluster_pgpool_port",
    "cluster_pcp_port",
    "cluster_agent_port",
    "cluster_agent_plain_port",
    "cluster_peer_port",
)
# What cluster_pgpool_read_balancing may be, in the words in which YAML, INI files and the command line say yes and no.
BALANCING = {
    **dict.fromkeys(("false", "no", "off", "0"), "none"),
    "named": "named",
    **dict.fromkeys(("true", "yes", "on", "1"), "sessions"),
    "all": "all",
}
# In Barman's own format lines are folded, and so are those of a key in a package source.
_FOLDED = ("cluster_barman_settings", "cluster_apt_repository")
_TABS = ("cluster_hba", *SETTINGS)


def shown(variable: str, *values: Any) -> bool:
    """Whether the *values* of a variable may stand in a message."""
    return variable not in HIDDEN and all(value is None or isinstance(value, (str, int, float)) for value in values)


def shape_problem(variable: str, kind: str, value: Any) -> str:
    """What is wrong where a *value* has another shape than its *kind*; '' where nothing is. A text in the place of a list
    would be taken letter by letter, a list in the place of a text as Python prints it, and a bare yes or no as a number."""
    for name, wanted, words in (("list", list, "a list"), ("dict", dict, "a dictionary")):
        if kind == name and value is not None and not isinstance(value, wanted):
            return f"{variable} is {words}; write it as one."
    if kind not in ("list", "dict", "raw") and isinstance(value, (list, dict)):
        return f"{variable} is one value and no {'list' if isinstance(value, list) else 'dictionary'}; write it as one."
    if kind in ("int", "float", "str", "path") and isinstance(value, bool):
        return f"{variable} is {'text, so put it into quotes' if kind in ('str', 'path') else 'a number'}; write it as one."
    return ""


def balancing(value: object) -> str:
    """What *value* of cluster_pgpool_read_balancing means: none, named, sessions or all; '' where it means nothing."""
    return BALANCING.get(str(value).lower(), "")


def value_problems(variable: str, value: Any) -> list[str]:
    """One sentence for each thing that is wrong with the *value* of one variable, wherever it was set."""
    found = list(_controls(variable, value))
    if not found and value is not None and variable in _CHECKS:
        found += _CHECKS[variable](variable, value)
    return list(dict.fromkeys(found))


def _texts(where: str, value: Any) -> Iterator[tuple[str, str]]:
    """All texts in a value, keys too, each with where it stands."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield f"a name in {where}", str(key)
            # Not the key itself: what is wrong may be in it.
            yield from _texts(f"{where}.{key}" if str(key).isidentifier() else where, item)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _texts(f"{where}[{number}]", item)
    elif isinstance(value, str):
        yield where, value


def _controls(variable: str, value: Any) -> Iterator[str]:
    allowed = ("\t" if variable in _TABS else "") + ("\t\n" if variable in _FOLDED else "")
    for where, text in _texts(variable, value):
        if character := control(text, "" if where.startswith("a name in ") else allowed):
            yield f"{where} holds a character that is no text ({character}); take it out."


def _cluster_name(variable: str, value: Any) -> Iterator[str]:
    if not re.fullmatch(r"[a-z_][a-z0-9_-]*", str(value)):
        yield f"{variable} {value!r} must be lower-case letters, digits, _ and -."
    elif value in RESERVED:
        yield f"{variable}: {value} is a word of Barman's own; choose another name."
    elif len(value) > NAME_BYTES:
        yield f"{variable} has at most {NAME_BYTES} characters, not {len(value)}; choose a shorter name."


def _port(variable: str, value: Any) -> Iterator[str]:
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,5}", str(value)) or not 1 <= int(value) <= 65535:
        yield f"{variable} is a number from 1 to 65535, not {safe(str(value))}; mend it."


def _balancing(variable: str, value: Any) -> Iterator[str]:
    if not balancing(value):
        yield f"{variable} is false, named, true or all, not {safe(str(value))}; see docs/pgpool.md for what each costs."


def _networks(variable: str, value: Sequence[Any]) -> Iterator[str]:
    for entry in value:
        if not is_network(entry):
            yield (
                f"{variable}: {safe(str(entry))} is no network; write one such as 10.1.0.0/16, or one address such as "
                "10.1.2.3."
            )


def _hba(variable: str, value: Sequence[Any]) -> Iterator[str]:
    for number, line in enumerate(value):
        # A line that ends so goes on in the next one, which is another's.
        if str(line).rstrip().endswith("\\"):
            yield f"{variable}[{number}] ends with a backslash, which would take the next line in; take it out."
        elif not _hba_address(_HBA_FIELD.findall(str(line).partition("#")[0])):
            yield (
                f"{variable}[{number}]: PostgreSQL would not read its address; write a network such as 10.0.0.0/8, a single "
                "address as 10.0.0.1/32, or a host's name."
            )


def _hba_address(fields: Sequence[str]) -> bool:
    """Whether what looks like an address in a line of pg_hba.conf is one: with the length of its mask, or followed by a mask.
    PostgreSQL takes any other text for a host's name (parse_hba_line() in hba.c)."""
    if (
        len(fields) < 5
        or not fields[0].startswith("host")
        or not re.fullmatch(r"[0-9.]+(/.*)?|[0-9a-fA-F:.]*:.*", fields[3])
    ):
        return True
    text = fields[3] if "/" in fields[3] else f"{fields[3]}/{fields[4]}"
    return is_network(text) if ":" not in text else is_network(text) or (is_ip(fields[3]) and is_ip(fields[4]))


def _named(*keys: str) -> Callable[[str, Any], Iterator[str]]:
    """Names that PostgreSQL would cut off."""

    def check(variable: str, value: Sequence[Any]) -> Iterator[str]:
        for number, item in enumerate(value):
            for key in keys if isinstance(item, Mapping) else ():
                name = str(item.get(key) or "")
                if key == "name" and not name:
                    yield f"{variable}[{number}] has no name; give it one."
                elif len(name.encode()) > NAME_BYTES:
                    yield f"{variable}: {key} {name} has more than {NAME_BYTES} bytes; choose a shorter one."

    return check


def _tablespaces(variable: str, value: Sequence[Any]) -> Iterator[str]:
    yield from _named("name", "owner")(variable, value)
    yield from fits(_PATH, "a plain absolute path")(variable, [item.get("location") for item in value])


def _extensions(variable: str, value: Sequence[Any]) -> Iterator[str]:
    yield from _named("name", "database", "schema")(variable, value)
    yield from fits(_PACKAGE, "a package's name")(variable, [item.get("package") for item in value])


def _passwords(variable: str, value: Mapping[str, Any]) -> Iterator[str]:
    for name, password in value.items():
        if isinstance(password, (dict, list)):
            yield f"{variable}: the password of {safe(str(name))} is no text; write it as one."


def _calendar(variable: str, value: Any) -> Iterator[str]:
    if wrong := calendar_times.problem(str(value)):
        yield f"{variable}: {safe(str(value))} {wrong}."


def _settings(check: Callable[[Mapping[str, Any]], Iterator[str]]) -> Callable[[str, Any], Iterator[str]]:
    """A program's settings: names that could be some, and what the program's own *check* says of them."""

    def both(variable: str, value: Mapping[str, Any]) -> Iterator[str]:
        yield from keys(_SETTING, "a setting's name")(variable, value)
        yield from check(value)

    return both


def _repmgr_settings(variable: str, value: Mapping[str, Any]) -> Iterator[str]:
    yield from _settings(lambda given: problems(variable, repmgr_settings.OURS, given, lists=False))(variable, value)


def _barman_settings(variable: str, value: Mapping[str, Any]) -> Iterator[str]:
    yield from _settings(barman_settings.setting_problems)(variable, value)
    for key in ("barman_home", "barman_lock_directory", "log_file"):
        # Units and a shell of theirs are told these.
        if value.get(key) and not _PATH.fullmatch(str(value[key])):
            yield f"{variable}: {key} is not a plain absolute path; mend it."


def _apt(variable: str, value: Mapping[str, Any]) -> Iterator[str]:
    yield from keys(re.compile(r"[A-Za-z][A-Za-z0-9-]*"), "a field of a package source")(variable, value)
    fields = {str(key).lower(): item for key, item in value.items()}
    for key, item in fields.items():
        if key != "signed-by" and any("\n" in text for _where, text in _texts(key, item)):
            yield f"{variable}: only Signed-By may have more than one line; mend {safe(key)}."
    unsigned = [
        key for key in ("trusted", "allow-insecure") if str(fields.get(key, "no")).lower() not in ("no", "false", "0")
    ]
    # Without a key of its own, the package manager takes what any key of the host has signed, over whatever connection it came.
    if unsigned:
        yield f"{variable}: {unsigned[0].title()} takes packages that nobody signed; take it out."
    if value and not fields.get("signed-by"):
        yield (
            f"{variable}: it has no Signed-By; put the repository's key there, or the path of its file on the host, so that "
            "no other key is believed."
        )


_CHECKS: dict[str, Callable[[str, Any], Iterable[str]]] = {
    "cluster_name": _cluster_name,
    **dict.fromkeys(PORTS, _port),
    "cluster_postgres_settings": _settings(postgres_settings.setting_problems),
    "cluster_pgpool_settings": _settings(pgpool_settings.setting_problems),
    "cluster_repmgr_settings": _repmgr_settings,
    "cluster_barman_settings": _barman_settings,
    **dict.fromkeys(("cluster_networks", "cluster_pod_networks"), _networks),
    **pod_values.CHECKS,
    "cluster_pgpool_read_balancing": _balancing,
    "cluster_hba": _hba,
    "cluster_users": _named("name"),
    "cluster_databases": _named("name", "owner", "tablespace"),
    "cluster_tablespaces": _tablespaces,
    "cluster_extensions": _extensions,
    "cluster_passwords": _passwords,
    "cluster_apt_repository": _apt,
    "cluster_packages_extra": fits(_PACKAGE, "a package's name"),
    "cluster_barman_schedule": _calendar,
    "cluster_barman_retention": barman_settings.retention_problems,
    **dict.fromkeys(
        ("cluster_barman_directory", "cluster_data_directory", "cluster_wal_directory"),
        fits(_PATH, "a plain absolute path"),
    ),
}
