# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A task that fails because Ansible has not become root says so."""

from __future__ import annotations

import os
import pwd
from typing import Any

import pytest
from ansible_collections.pgherd.cluster.plugins.module_utils import _ansible
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import CommandError, PgherdError


class Module:
    """A module that fails."""

    msg = ""

    def fail_json(self, msg: str, **_more: Any) -> None:
        self.msg = msg


@pytest.mark.parametrize(
    "error",
    [PgherdError("write /etc/x."), PermissionError("write /etc/x."), CommandError("write /etc/x.", ["ls"], 1, "", "")],
)
@pytest.mark.parametrize("who", [0, 65534])
def test_who_it_was(monkeypatch: pytest.MonkeyPatch, error: Exception, who: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: who)
    module = Module()
    with _ansible.reporting_errors(module):  # type: ignore[arg-type]
        raise error
    assert module.msg.startswith("write /etc/x.")
    name = pwd.getpwuid(65534).pw_name
    said = f"This ran as user {name}, and the playbooks of pgherd.cluster work as root: let ansible_become be true"
    assert (said in module.msg) == (who != 0)
