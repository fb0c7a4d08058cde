# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The playbook's word to the start guard: it has asked every host, also those where nothing runs yet."""

from __future__ import annotations

import os
import time
from contextlib import suppress

PATH = "/run/pgherd-start-permit"
# Seconds for which it holds: it is given right before the start that it is for.
LIFE = 60.0


def give() -> None:
    """Permit the next start as it is."""
    with open(PATH, "w", encoding="ascii") as stream:
        stream.write(f"{time.time():.0f}\n")


def take() -> bool:
    """Whether there is a permit that still holds; it is used up."""
    try:
        age = time.time() - os.stat(PATH).st_mtime
    except FileNotFoundError:
        return False
    with suppress(FileNotFoundError):
        os.unlink(PATH)
    return 0 <= age <= LIFE
