# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The core's options have the names, types and defaults of the role's variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from pgherd.inventory.build import CONTROL_ONLY, FIELDS, OF_ONE_RUN, PER_HOST
from pgherd.options import Options
from pgherd.places.pod.objects.wishes import IMAGE, Wishes

ROOT = Path(__file__).resolve().parents[3]
SPECIFIED = yaml.safe_load((ROOT / "roles/cluster/meta/argument_specs.yml").read_text(encoding="utf-8"))[
    "argument_specs"
]["main"]["options"]
# What the hosts are told beside the fields of Cluster and of its hosts.
TOLD = {
    name[len("cluster_") :]: spec
    for name, spec in SPECIFIED.items()
    if name not in {*FIELDS.values(), *PER_HOST.values(), *CONTROL_ONLY, *OF_ONE_RUN}
}
KINDS = {"str": str, "int": int, "bool": bool, "float": float, "list": tuple, "dict": dict, "raw": str}


def test_options_are_what_the_role_takes() -> None:
    assert {item.name for item in fields(Options)} == set(TOLD)


@pytest.mark.parametrize(("name", "spec"), TOLD.items(), ids=list(TOLD))
def test_an_option_has_the_roles_type_and_default(name: str, spec: Mapping[str, Any]) -> None:
    value = getattr(Options(), name)
    assert isinstance(value, KINDS[spec["type"]])
    assert (list(value) if isinstance(value, tuple) else value) == spec["default"]
    kind = next(item.type for item in fields(Options) if item.name == name)
    inside = {"str": "tuple[str, ...]", "dict": "tuple[Mapping[str, Any], ...]"}
    plain = {"dict": "Mapping[str, Any]", "raw": "str"}.get(spec["type"], spec["type"])
    assert kind == (inside[spec["elements"]] if spec["type"] == "list" else plain)


@pytest.mark.parametrize("name", [item.name for item in fields(Wishes)])
def test_what_shapes_objects_has_the_roles_default(name: str) -> None:
    value = getattr(Wishes(), name)
    assert (list(value) if isinstance(value, tuple) else value) == SPECIFIED[f"cluster_{name}"]["default"]


def test_the_image_is_of_this_release() -> None:
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    assert f"localhost/pgherd:{version}-trixie" == IMAGE
    assert Wishes.of({"cluster_name": "demo", "cluster_image": ""}).image == IMAGE
