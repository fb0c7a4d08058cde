# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Writes docs/variables.md from the argument specification of role cluster."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

# ruff: noqa: E501 - a row of a table is one line
ROOT = Path(__file__).resolve().parents[2]
HEAD = """# Variables

Written by `tests/tools/variables_doc.py` from `roles/cluster/meta/argument_specs.yml`; the same text is in
`ansible-doc -t role pgherd.cluster.cluster`. A name that is not here is refused, with the one that was probably meant.

## Of a host

| variable | default | what it means |
|---|---|---|
| `node_id` | none | repmgr's number of a node in the groups `postgres` and `witness`: from 1 up, its own, for ever |
| `upstream` | none | whom a standby is cloned from, and follows while that streams too (else the primary); the first primary has none |
| `priority` | 100 | among standbys that have the same WAL, the higher one is promoted; 0 is never promoted |
| `location` | `default` | repmgr's location; only nodes in the first primary's location take part in automatic failover |
| `address` | the inventory name | the name that other hosts and clients connect to, and that the certificate carries |
| `ip` | `ansible_host`, if it is an address | the address that others see it come from, for pg_hba.conf |

What they say of roles is true for the first day only: after a failover the site playbook leaves the new primary where it is.

## Of the cluster

Each holds for the whole cluster, unless it says that it may differ by host: set it for all hosts, for the group `postgres`,
or, of `cluster_pgpool_*` and `cluster_barman_*`, for the group `pgpool` or `barman`. At some hosts only it is refused.

"""


def plain(text: str) -> str:
    """Ansible's markup as Markdown."""
    return re.sub(r"\b[A-Z]\(([^)]*)\)", r"`\1`", " ".join(text.split())).replace("|", "\\|")


def kind(spec: dict[str, Any]) -> str:
    """The type, with the elements' type of a list."""
    return f"list of {spec['elements']}" if spec.get("elements") else str(spec["type"])


def render(options: dict[str, Any]) -> str:
    """The whole page."""
    lines = [HEAD + "| variable | type | default | what it means |\n|---|---|---|---|\n"]
    for name, spec in options.items():
        default = f"`{json.dumps(spec['default'])}`" if "default" in spec else "the distribution's"
        lines.append(f"| `{name}` | {kind(spec)} | {default} | {plain(spec['description'])} |\n")
    for name, spec in options.items():
        if "options" in spec:
            lines.append(f"\n### Each of `{name}`\n\n| key | type | what it means |\n|---|---|---|\n")
            for key, entry in spec["options"].items():
                required = " (required)" if entry.get("required") else ""
                lines.append(f"| `{key}` | {kind(entry)} | {plain(entry['description'])}{required} |\n")
    return "".join(lines)


if __name__ == "__main__":
    specification = yaml.safe_load((ROOT / "roles/cluster/meta/argument_specs.yml").read_text())
    (ROOT / "docs/variables.md").write_text(render(specification["argument_specs"]["main"]["options"]))
