# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Every play becomes root by the variable cluster_become, host by host; without it by the default that is documented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.template import Templar, trust_as_template

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"
# It only sees which hosts answer, as whoever Ansible is there.
NOBODY = "reachable"
ALL = {
    f"{path.stem}: {play['name']}": play
    for path in sorted(PLAYBOOKS.glob("*.yml"))
    for play in yaml.safe_load(path.read_text(encoding="utf-8"))
    if "hosts" in play and path.stem != NOBODY
}
# What is done on the control machine needs no root there.
LOCAL = {name: play for name, play in ALL.items() if play.get("connection") == "local"}
PLAYS = {name: play for name, play in ALL.items() if name not in LOCAL}


def becomes(play: dict[str, Any], variables: dict[str, Any]) -> Any:
    """What a task of the *play* would have on a host with these *variables*."""
    task = Task.load({"ansible.builtin.ping": {}, "become": trust_as_template(play["become"])})
    return task.post_validate_attribute("become", templar=Templar(loader=DataLoader(), variables=variables))


@pytest.mark.parametrize("play", PLAYS.values(), ids=list(PLAYS))
@pytest.mark.parametrize(
    ("variables", "root"),
    [
        ({"cluster_become": True}, True),
        ({"cluster_become": False}, False),
        # As INI inventories and -e have it.
        ({"cluster_become": "false"}, False),
        ({"cluster_become": trust_as_template("{{ not pod }}"), "pod": True}, False),
    ],
    ids=["true", "false", "text", "template"],
)
def test_a_host_says_whether_tasks_become_root(play: dict[str, Any], variables: dict[str, Any], root: bool) -> None:
    assert becomes(play, variables) is root


@pytest.mark.parametrize("play", PLAYS.values(), ids=list(PLAYS))
def test_the_default_is_the_documented_one(play: dict[str, Any], specification: dict[str, Any]) -> None:
    """Tasks outside of roles know no role's defaults, so each play has it too."""
    assert becomes(play, {}) is specification["cluster_become"]["default"]


@pytest.mark.parametrize("play", LOCAL.values(), ids=list(LOCAL))
def test_nobody_becomes_root_on_the_control_machine(play: dict[str, Any]) -> None:
    assert play["become"] is False
    assert play["hosts"] == "localhost" or "'localhost'" in play["hosts"]


def test_reaching_a_host_becomes_nobody() -> None:
    (play,) = yaml.safe_load((PLAYBOOKS / f"{NOBODY}.yml").read_text(encoding="utf-8"))
    assert "become" not in play
