# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""No check of the inventory shows a value that may be a secret: a canary in every variable, in every wrong shape."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.build import PER_HOST
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.values import HIDDEN, value_problems
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.variables import Host, one_value
from ansible_collections.pgherd.cluster.plugins.plugin_utils._specification import converted, misfits

CANARY = "canary-8d1c"
SHAPES: list[Any] = [
    CANARY,
    f'it\'s "{CANARY}"\n',
    [CANARY],
    [[CANARY]],
    [f"{CANARY}\n", f"{CANARY} \\"],
    {"app": CANARY, "also": [CANARY, {"password": CANARY}]},
    {"name": {"password": CANARY}},
    {"password": f"{CANARY}\x1b", "archive_command": [f"{CANARY}\n"], "primary_conninfo": CANARY},
    {"URIs": f"https://user:{CANARY}@example.org", "Signed-By": CANARY},
    [{"name": "app", "password": CANARY}],
    [{"name": "app", "password": [CANARY], "createdb": CANARY, "connection_limit": CANARY, "settings": CANARY}],
    [{"name": "app", "password": f"{CANARY}\n", "unknown": CANARY}],
    [{"password": CANARY}],
]


def test_every_default_is_good(specification: dict[str, Any]) -> None:
    for variable, spec in specification.items():
        if variable != "cluster_secrets_directory":  # a template
            assert misfits(variable, spec, spec.get("default")) == [], variable
            assert value_problems(variable, spec.get("default")) == [], variable


def test_hidden_are_variables(specification: dict[str, Any]) -> None:
    assert set(HIDDEN) <= set(specification)


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_no_message_shows_a_secret(specification: dict[str, Any], shape: int) -> None:
    said: list[str] = []
    for variable, spec in specification.items():
        if spec["type"] not in ("list", "dict"):
            continue
        wrong = misfits(variable, spec, SHAPES[shape])
        said += wrong
        if wrong:  # as in a run: the other checks are of what has passed this one
            continue
        value = converted(variable, spec, SHAPES[shape])
        said += value_problems(variable, value) if variable in HIDDEN else []
        for other in SHAPES if variable not in PER_HOST.values() else ():
            hosts = [Host("a", ("postgres",), {variable: value}), Host("b", ("postgres",), {variable: other})]
            said += one_value(variable, None, hosts)[1]
    assert len(said) > 10
    assert [sentence for sentence in said if CANARY in sentence] == []


def test_what_is_no_secret_is_told(specification: dict[str, Any]) -> None:
    """A message is of use: it names what is wrong, and a value that everybody may see."""
    assert "paranoid" in "".join(misfits("cluster_durability", specification["cluster_durability"], "paranoid"))
    assert "'five'" in "".join(misfits("cluster_port", specification["cluster_port"], "five"))
    users = specification["cluster_users"]
    assert "cluster_users.pasword" in "".join(misfits("cluster_users", users, [{"name": "app", "pasword": CANARY}]))
    assert misfits("cluster_users", users, "app") == ["cluster_users is a list"]
