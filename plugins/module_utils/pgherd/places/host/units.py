# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What systemd calls the services, and what is told by systemctl(1) and journalctl(1)."""

from __future__ import annotations

from collections.abc import Mapping

from ...ports.services import AGENT, BACKUP, CRON, PGPOOL, POSTGRES, RECEIVER, REPMGRD, SCHEDULE

# Where our units and drop-ins are.
DIRECTORY = "/etc/systemd/system"
REPMGRD_UNIT = "repmgrd.service"
AGENT_UNIT = "pgherd-agent.service"
PGPOOL_UNIT = "pgpool2.service"
# What restarts pgpool when its agent asks for that.
RESTART_UNIT = "pgherd-restart-pgpool"
RECEIVER_UNIT = "barman-receive-wal.service"
CRON_TIMER = "barman-cron.timer"
BACKUP_TIMER = "barman-backup.timer"
BACKUP_UNIT = "barman-backup.service"


def postgres_unit(version: int) -> str:
    """The unit of Debian's cluster ``main``."""
    return f"postgresql@{version}-main.service"


def drop_in(unit: str) -> str:
    """The file in which ours says what the package's *unit* leaves out."""
    return f"{DIRECTORY}/{unit}.d/pgherd.conf"


def units(version: int) -> Mapping[str, str]:
    """The unit of each service, with PostgreSQL of major *version* on a node."""
    return {
        POSTGRES: postgres_unit(version),
        REPMGRD: REPMGRD_UNIT,
        AGENT: AGENT_UNIT,
        PGPOOL: PGPOOL_UNIT,
        RECEIVER: RECEIVER_UNIT,
        CRON: CRON_TIMER,
        SCHEDULE: BACKUP_TIMER,
        BACKUP: BACKUP_UNIT,
    }
