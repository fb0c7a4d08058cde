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
| `upstream` | none | the node that a standby is cloned from, and follows while that node streams too, else the primary; the first primary has none |
| `priority` | 100 | among standbys that have the same WAL, the one with the higher priority is promoted; a node with 0 is never promoted |
| `location` | `default` | repmgr's location; only nodes in the first primary's location take part in automatic failover |
| `address` | the inventory name | the name that other hosts and clients connect to, and that the certificate carries |
| `ip` | what the hosts say | the address that others see it come from, or a list of all of them, for pg_hba.conf |
| `place` | `host` | where it runs: `host`, or `pod` in Kubernetes, for all hosts of a cluster alike |
| `replicas` | 1 | of a pgpool that is pods: how many |

**Pods.** A node or a Barman of place `pod` is called `PREFIX-N` with N from 0 up without a gap, as `pg-0`, `pg-1`: all of one prefix
are one StatefulSet. A pgpool is called as its Deployment and its Service. Their addresses follow from their names and are not asked
for; `ip` is not for pods. Playbooks reach them by `kubectl`, and no `ansible_*` variable has to be set for that.

**Names and addresses.** Every host must resolve the `address` of every other, by DNS or `/etc/hosts`, and have a way there.
Before anything is written, each host is asked what the names mean to it, and from which of its addresses it would go there. These
addresses are let in: of both families, of each interface, and a floating address that it goes by. Debian's line `127.0.1.1` for a
host's own name is fine. The same line for another host's name is refused, as is whatever else cannot work, with what to do.
`ansible_host` is only Ansible's way to a host. Set `ip` where addresses are translated between the hosts; it is then taken as it
is. A host that does not answer is still let in from the addresses that it gave before (`addresses.json` beside the secrets, with
`versions.json` for its PostgreSQL), otherwise from what its name means to all others. Run the playbook again when addresses change: they stand in pg_hba.conf.

Names that differ only in case are one name to PostgreSQL and DNS, so they are refused. So are a node's name of more than 63
characters, and a host's name or address that another host has too.

What these variables say of roles is true for the first day only: after a failover the site playbook leaves the new primary where
it is.

## Of the cluster

Each variable holds for the whole cluster, unless it says that it may differ by host. So set it for all hosts or for the group
`postgres`; `cluster_pgpool_*` and `cluster_barman_*` also for the group `pgpool` or `barman`. A variable that is set for some
hosts only is refused.

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
