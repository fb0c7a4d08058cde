# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What each ``cluster_*`` variable is, and its value as that: whoever reads one reads it here. **PRIVATE**.

INI inventories and ``-e name=value`` give texts. What was checked and what is used must be one value: ``false`` counts as true
in Python, and ``pg1`` is in ``pg12``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.values import shape_problem, shown

FILE = os.path.join(os.path.dirname(__file__), "../../roles/cluster/meta/argument_specs.yml")


@cache
def specification() -> dict[str, dict[str, Any]]:
    """Every variable with what it should be, as role cluster's argument specification has it. Read by libyaml where it is
    there: each worker reads it anew, and yaml's own loader takes a tenth of a second."""
    with open(FILE, encoding="utf-8") as stream:
        return yaml_load(stream)["argument_specs"]["main"]["options"]


def plain(value: Any) -> Any:
    """*value* without Ansible's tags, which YAML writers refuse; dates become text."""
    return json.loads(json.dumps(value, default=str))


def given(variables: Mapping[str, Any], name: str) -> Any:
    """The value of *name* among a host's *variables*, converted; its default where it is not set. Raises ConfigError."""
    spec = specification()[name]
    value = plain(variables.get(name))
    if value is None:
        return spec.get("default")
    wrong = misfits(name, spec, value)
    if wrong:
        raise ConfigError([f"{message.rstrip('.')}; mend {name} where it is set." for message in wrong])
    return converted(name, spec, value)


def converted(name: str, spec: Mapping[str, Any], value: Any) -> Any:
    """A *value* in which misfits() finds nothing, as what it should be; without the keys that only the specification has."""
    value = written(name, spec, value)
    if value is None:
        return None
    return _only_given(
        ArgumentSpecValidator({name: dict(spec)}).validate({name: value}).validated_parameters[name], value
    )


def _only_given(found: Any, value: Any) -> Any:
    if isinstance(found, Mapping) and isinstance(value, Mapping):
        return {key: _only_given(item, value[key]) for key, item in found.items() if key in value}
    if isinstance(found, list) and isinstance(value, list):
        return [_only_given(item, one) for item, one in zip(found, value)]
    return found


def written(variable: str, spec: Mapping[str, Any], value: Any) -> Any:
    """A list or dictionary that was written as text, as INI inventories and ``-e`` have it: by its brackets, or a list of
    texts by commas. Anything else, and what is no such text, stays as it is. *spec*: Ansible's, with type and elements."""
    kind = {"list": list, "dict": dict}.get(str(spec.get("type")))
    if kind is None or not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("[" if kind is list else "{"):
        try:
            found = yaml.safe_load(text)
        except yaml.YAMLError:
            return value
        return found if isinstance(found, kind) else value
    # Lines of pg_hba.conf have commas of their own.
    if kind is list and spec.get("elements") == "str" and variable != "cluster_hba":
        return [part.strip() for part in text.split(",") if part.strip()]
    return value


def misfits(name: str, spec: Mapping[str, Any], value: Any) -> list[str]:
    """What Ansible's own check says of a *value*, where it does not show one that may be secret."""
    if value is None:
        return []
    value = written(name, spec, value)
    shape = shape_problem(name, str(spec["type"]), value)
    if shape:
        return [shape.partition(";")[0]]
    said = ArgumentSpecValidator({name: dict(spec)}).validate({name: value}).error_messages
    if shown(name, value):
        return list(said)
    # What is missing or too much is told by its name; every other message may show the value.
    telling = ("missing required arguments", f"{name}.")
    return list(
        dict.fromkeys(one if one.startswith(telling) else f"{name} is not as docs/variables.md has it" for one in said)
    )
