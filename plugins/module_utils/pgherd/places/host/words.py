# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a person types on a host to end a problem."""

from __future__ import annotations

from ...layout import debian
from ...ports.services import POSTGRES
from ...status.problem import LOG, RUN, STOP, Cure
from .units import units


def words(cure: Cure) -> str:
    """*cure* as a command of the root of its host, or of who has the inventory."""
    if cure.do == RUN:
        return f"sudo -u {cure.user} {cure.what}" if cure.user else cure.what
    if cure.do == LOG:
        if cure.what == POSTGRES:
            # The journal has of it only that it was started. A log of any version where no node told which it is.
            path = debian(int(cure.version)).log if cure.version else "/var/log/postgresql/*.log"
            return f"tail -n {cure.lines} {path}" if cure.lines else f"tail -n 0 -F {path}"
        return f"journalctl -u {_short(cure.what)} " + (f"-n {cure.lines}" if cure.lines else "-f")
    if cure.what == POSTGRES and not cure.version:
        # Debian's, for all clusters of a host.
        return f"systemctl {cure.do} postgresql"
    if cure.what == POSTGRES and cure.do == STOP:
        # Who went round the start guard by pg_ctlcluster or pg_ctl has a server that is not its unit's: systemctl would say that
        # all is well, and leave it. This asks systemd where it is the unit's (pg_ctlcluster of postgresql-common).
        return f"pg_ctlcluster {cure.version} main stop"
    return f"systemctl {cure.do} {_short(cure.what, int(cure.version or 0))}"


def _short(name: str, version: int = 0) -> str:
    unit = units(version)[name]
    # Barman's backups have a timer of the same name.
    return unit if unit.startswith("barman-") else unit.removesuffix(".service")
