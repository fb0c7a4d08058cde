# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether a host's clock is near enough to that of the machine which makes its certificate. Pure."""

from __future__ import annotations

# Seconds. A certificate begins an hour back.
MOST = 1800


def far_off(name: str, theirs: int, mine: int) -> str:
    """What is wrong with the clock of the host called *name*, in a sentence; '' where nothing is. *theirs*, *mine*: what time it
    is there and on this machine, in seconds since the epoch."""
    ahead = theirs - mine
    if abs(ahead) < MOST:
        return ""
    return (
        f"{name}: its clock is {abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} this machine's, and with that certificates "
        "made here may not be valid there; set the wrong one of the two (timedatectl set-ntp true)."
    )
