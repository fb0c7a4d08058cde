# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""PostgreSQL's files on a host: the configuration, tablespace directories, what Debian's unit leaves out."""

from __future__ import annotations

from collections.abc import Mapping

from ....layout import layout
from ....model import Cluster
from ....nodes.guard import words
from ....ports.hostfiles import File
from ....render.conf_postgres import INCLUDED, texts
from ....render.quoting import HEADER
from ..runtime import COMMANDS
from ..units import drop_in, postgres_unit
from .base import GUARD
from .facts import HostFacts


def files(cluster: Cluster, name: str, facts: HostFacts, secrets: Mapping[str, str]) -> list[File]:
    """The whole configuration directory, tablespace directories, and the unit's drop-in. The configuration is root's, which
    Debian's pg_ctlcluster takes (validate_cluster_owner() in PgCommon.pm): who is a superuser of the database can read it, and
    neither open the server to others by it nor have root write elsewhere."""
    node, version = cluster.node(name), facts.postgres_version
    there = layout(cluster, version)
    directory = there.configuration
    read = texts(cluster, node, version, facts.limits)
    locations = [item["location"] for item in cluster.options.tablespaces if node.kind == "postgres"]
    path = drop_in(postgres_unit(version))
    return [
        # The package gives it to postgres, with every new version of it.
        File("/etc/postgresql", kind="directory", mode="0755"),
        File(f"/etc/postgresql/{version}", kind="directory", mode="0755"),
        File(directory, kind="directory", mode="0755"),
        File(f"{directory}/{INCLUDED}", kind="directory", mode="0755"),
        *(File(f"{directory}/{file}", text, group="postgres", mode="0640") for file, text in read.items()),
        File(f"{directory}/start.conf", "auto\n"),
        # Recovery may take longer than pg_ctl's minute: it must not be taken for a failed start.
        File(f"{directory}/pg_ctl.conf", "pg_ctl_options = '-t 86400'\n"),
        File(f"{directory}/environment", ""),
        *(File(location, kind="directory", owner="postgres", group="postgres", mode="0700") for location in locations),
        File(path.rpartition("/")[0], kind="directory", mode="0755"),
        File(path, HEADER + unit_text(name, there.data)),
    ]


def unit_text(name: str, data: str) -> str:
    """What Debian's unit leaves out: a failed start is a failure, and a killed postmaster comes back by itself."""
    return (
        "[Unit]\nStartLimitIntervalSec=60\nStartLimitBurst=5\n\n"
        # The start guard: a former primary comes back as a standby unless the others know no newer one.
        f"[Service]\nExecStartPre={GUARD} {COMMANDS} {' '.join(words(name, data))}\nExecStart=\n"
        "ExecStart=/usr/bin/pg_ctlcluster --skip-systemctl-redirect %i start\n"
        "Restart=on-failure\nRestartSec=100ms\n"
        # systemd signals the unit's processes where no ExecStop runs: while the unit starts, and when the postmaster was
        # killed. To all of them that must not be SIGTERM, at which a background writer may end before the postmaster knows,
        # is made anew, and is waited for until TimeoutStopSec, an hour; nor SIGINT, at which a session gives up its wait for
        # standbys and answers COMMIT. The postmaster alone gets its fast shutdown, the rest SIGKILL.
        "KillMode=mixed\nKillSignal=SIGINT\n"
    )
