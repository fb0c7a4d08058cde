# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A stage is over in a pod when its file, its agent and all commands go by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pgherd.errors import PgherdError, Unreachable
from pgherd.places.pod import taken_up
from pgherd.places.pod.taken_up import agent_says, wait
from pgherd.ports.services import AGENT

OLD, NEW = "0" * 16, "1" * 16


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taken_up, "AGAIN", 0.0)


class Pod:
    """Says one thing after the other, and the last one for ever."""

    def __init__(
        self, files: list[str], agents: list[Mapping[str, Any]], after: Mapping[str, Any] | None = None
    ) -> None:
        self.files, self.agents, self.after = files, agents, after
        self.did: list[str] = []

    def there(self) -> str:
        found = self.files.pop(0) if len(self.files) > 1 else self.files[0]
        if not found:
            raise PgherdError("it cannot be read now.")
        return found

    def says(self) -> Mapping[str, Any]:
        return self.agents.pop(0) if len(self.agents) > 1 else self.agents[0]

    def restart(self, service: str) -> None:
        self.did.append(f"restart {service}")
        if self.after:
            self.agents = [self.after]

    def wait(self, mounted: float, limit: float) -> None:
        limits = {"mounted": mounted, "limit": limit}
        wait("pg-1", NEW, self.there, self.says, self, lambda: self.did.append("commands"), **limits)  # type: ignore[arg-type]


GOES = {"digest": NEW, "refused": False, "waits": ""}


@pytest.mark.parametrize(
    ("pod", "did"),
    [
        (Pod([NEW], [GOES]), ["commands"]),
        (Pod([OLD, "", NEW], [{"digest": OLD}, {}, GOES]), ["commands"]),
        (Pod([NEW], [{"digest": OLD, "waits": "a clone"}], after=GOES), [f"restart {AGENT}", "commands"]),
    ],
)
def test_it_is_waited_for(pod: Pod, did: list[str]) -> None:
    pod.wait(60.0, 0.0 if pod.after else 60.0)
    assert pod.did == did


@pytest.mark.parametrize(
    ("pod", "why"),
    [
        (Pod([OLD], [GOES]), "the pod has not seen it"),
        (Pod([NEW], [{}]), "its agent does not answer"),
        (Pod([NEW], [{"digest": OLD, "waits": "a clone"}]), f"goes by {OLD}, and waits for a clone"),
        (Pod([NEW], [{**GOES, "refused": True}]), f"goes by {NEW} and refuses what is there"),
        # What has come meanwhile is another stage, or another run's.
        (Pod([NEW, OLD], [GOES]), "replaced by another"),
    ],
)
def test_what_does_not_come_is_said(pod: Pod, why: str) -> None:
    with pytest.raises(Unreachable, match=f"have pg-1 go by the description {NEW}: .*{why}"):
        pod.wait(0.0, 0.0)


def test_an_agent_that_is_not_there_says_nothing() -> None:
    assert agent_says("127.0.0.1", 1) == {}
