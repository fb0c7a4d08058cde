# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the agent of a data node does about streams that pass themselves off as a standby's: it ends them, at every look."""

from __future__ import annotations

from ..errors import PgherdError
from ..observe.foreign_streams import end, foreign
from ..observe.node_state import NodeState, Stranger
from ..ports.here import Here
from ..ports.links import session


class ForeignDuty:
    """See the module. Each is said once for as long as it is there or comes back."""

    def __init__(self, here: Here) -> None:
        self._here = here
        self._said: frozenset[tuple[str, str]] = frozenset()

    def tick(self, mine: NodeState) -> None:
        """End those that *mine* names. Raises nothing: what fails is said."""
        here, found = self._here, foreign(self._here.cluster, mine)
        for one in found:
            if self._key(one) not in self._said:
                here.say(
                    f"foreign stream: {one.role} streams as {one.name!r}"
                    f"{f' through slot {one.slot}' if one.slot else ''}; it counts for nothing and is ended"
                )
        if found:
            try:
                with session(here.links, here.me) as server:
                    end(server, found)
            except PgherdError as error:
                if not self._said:
                    here.say(f"foreign stream: not ended: {' '.join(str(error).split())}")
        self._said = frozenset(map(self._key, found))

    @staticmethod
    def _key(one: Stranger) -> tuple[str, str]:
        return one.role, one.name
