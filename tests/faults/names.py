# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whose address an acknowledgement came from: a pod that is made anew has another one, and is the same node."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from faults.checker.history import Op

LOOK = 0.5  # seconds


class Names:
    """By address the node that has or had it, as *address* says, from start() until stop()."""

    def __init__(self, nodes: Iterable[str], address: Callable[[str], str]) -> None:
        self._nodes, self._address = list(nodes), address
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.found: dict[str, str] = {}

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            for node in self._nodes:
                # It may be off.
                with suppress(LookupError, OSError):
                    self.found[self._address(node)] = node
            if self._over.wait(LOOK):
                return


def named(ops: Iterable[Op], names: Mapping[str, str]) -> Sequence[Op]:
    """*ops* with nodes in the place of their addresses."""
    return [replace(op, node=names.get(op.node, op.node)) for op in ops]
