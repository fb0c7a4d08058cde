# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Objects of Kubernetes as files for people and for GitOps. **PRIVATE**."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import yaml

# The first line of each file that is written, by which it is known again.
HEAD = "# Written by pgherd's playbook manifests, of cluster {}."


class _Dumper(yaml.SafeDumper):
    """Writes texts of more than one line as they are, so that a change of one line is one line, and no entry as another's."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _text)


def manifests(cluster: str, objects: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """By name the files of the *objects* of the cluster called so. ``kubectl apply`` takes a directory's by their names: the
    namespace is the first."""
    return {_name(item): f"{HEAD.format(cluster)}\n---\n{_yaml(item)}" for item in objects}


def _name(item: Mapping[str, Any]) -> str:
    kind, name = str(item["kind"]), str(item["metadata"]["name"])
    return f"{'0-' if kind == 'Namespace' else ''}{kind.lower()}-{name}.yml"


def _yaml(item: Mapping[str, Any]) -> str:
    return yaml.dump(item, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def stale(directory: str, cluster: str, wanted: Collection[str]) -> list[str]:
    """The files in *directory* that were written there for the cluster and are not *wanted* any more. Raises OSError."""
    if not os.path.isdir(directory):
        return []
    known = [name for name in sorted(os.listdir(directory)) if name.endswith(".yml") and name not in wanted]
    return [name for name in known if _first_line(os.path.join(directory, name)) == HEAD.format(cluster)]


def _first_line(path: str) -> str:
    if not os.path.isfile(path):
        return ""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.readline().rstrip("\n")
