# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What an agent keeps in its runtime directory, for whoever speaks with it."""

from __future__ import annotations

DIRECTORY = "/run/pgherd-agent"
# Where it listens for repmgrd's commands.
COMMANDS = DIRECTORY + "/command"
# Beside a pgpool the agent may not restart services. Where this file is, systemd does it for pgpool.
RESTART_ASKED = DIRECTORY + "/restart-pgpool"


def ask_for_restart() -> None:
    """Have systemd restart pgpool."""
    with open(RESTART_ASKED, "w", encoding="ascii"):
        pass
