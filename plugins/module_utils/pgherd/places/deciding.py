# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Commands that decide by the description that they read when they began, beside the agent, which takes up another one."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import Unreachable
from ..model import COMMAND
from ..ports import processes
from ..ports.wait import last_look

# Seconds that they have to end, and from one look to the next.
COMMANDS, AGAIN = 60.0, 0.1
DECIDING = ("follow", "guard", "promote", "switchover", "validate")


def wait_for_commands(
    running: Callable[[], dict[int, str]] = lambda: processes.commands(COMMAND, DECIDING), limit: float = COMMANDS
) -> None:
    """Wait until no command that runs now is left; one that begins later reads what there is now. Raises Unreachable."""
    left = running()

    def gone() -> bool:
        nonlocal left
        there = running() if left else {}
        left = {pid: words for pid, words in left.items() if there.get(pid) == words}
        return not left

    if not last_look(gone, bool, limit, AGAIN):
        said = "; ".join(words.partition(" ")[2] for words in left.values())
        raise Unreachable(
            f"have all go by the new description: this still runs after {limit:g} s, and began by the one before: {said}.",
            "Run the playbook again when it has ended.",
        )
