# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The libpq line of the demo: ``dsn.py`` through its pgpools, ``dsn.py nodes`` to the nodes themselves."""

from __future__ import annotations

import sys
from pathlib import Path

import hosts
import yaml
from machine import CHECKOUT, LAB, LabError

SECRETS = CHECKOUT / "examples/demo/.pgherd/demo"
USER = "app"


def _passfile() -> Path:
    """A password file for libpq, readable by its owner only."""
    passwords = SECRETS / "passwords.yml"
    if not passwords.exists():
        raise LabError(f"{passwords} is not there: `make demo` makes it")
    secret = yaml.safe_load(passwords.read_text(encoding="utf-8"))[USER]
    escaped = secret.replace("\\", "\\\\").replace(":", "\\:")
    path = LAB / hosts.DEMO / "pgpass"
    path.touch(mode=0o600)
    path.write_text(f"*:*:*:{USER}:{escaped}\n", encoding="utf-8")
    return path


def dsn(via: str = "pgpool") -> str:
    """The connection line of the running demo.

    ``via``: "pgpool", or "nodes" for the list of PostgreSQL nodes with target_session_attrs=read-write.
    Raises LabError when the demo is not there.
    """
    prefix, port, more = {
        "pgpool": ("pool", 9999, ""),
        "nodes": ("pg", 5432, " target_session_attrs=read-write"),
    }[via]
    to = [host for host in hosts.hosts(hosts.DEMO) if host.name.startswith(prefix)]
    if not to:
        raise LabError("the demo is not running: `make demo` starts it")
    names, addresses = ",".join(h.name for h in to), ",".join(h.address for h in to)
    return (
        f"host={names} hostaddr={addresses} port={port} dbname={USER} user={USER} connect_timeout=3 "
        f"sslmode=verify-full sslrootcert={SECRETS / 'ca.crt'} passfile={_passfile()}{more}"
    )


if __name__ == "__main__":
    try:
        print(dsn(*sys.argv[1:2]))
    except LabError as error:
        sys.exit(f"lab: {error}")
    except KeyError:
        sys.exit("lab: VIA is pgpool or nodes")
