# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a run knows of the nodes, by what its tasks have registered for each: the one reader of everybody's results. **PRIVATE**.

*postgres_found*: what a host held before. *postgres_way*: nodes are brought up in this run, and in which stages who is electable
changes. *postgres_files*: its configuration was written, or was to be. *postgres_state*: its server afterwards. The fact
*repmgr_node*: whether it was left as a member. Each is what one host said of itself, and goes by that host's name, whatever name
it said. Asked from the control machine, *kubernetes_config*: the ConfigMap that pods went by before; *kubernetes_record*,
*kubernetes_claims*, *kubernetes_found*: the record of their cluster, its claims and the pods that there were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.instance import Instance
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.rollout import Rollout
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.objects.begun import begun
from ansible_collections.pgherd.cluster.plugins.plugin_utils._cluster import model, plain


def answers(variables: Mapping[str, Any], registered: str, key: str = "") -> dict[str, Any]:
    """By host that is in the play still, what its task has *registered*, or what that has under *key*; a host without it, or
    whose task was skipped, is left out. *variables*: a task's."""
    hostvars = variables["hostvars"]
    said = {name: hostvars[name].get(registered) or {} for name in variables.get("ansible_play_hosts", ())}
    found = {name: one.get(key) if key else one for name, one in said.items()}
    return {name: plain(one) for name, one in found.items() if one and not said[name].get("skipped")}


def instances(variables: Mapping[str, Any], registered: str = "postgres_found") -> dict[str, dict[str, Any]]:
    """By host that is in the play still, the instance in what its task has *registered*."""
    return answers(variables, registered, "instance")


def rollout(variables: Mapping[str, Any], registered: str = "postgres_state") -> Rollout:
    """What this run knows at a task with *variables*; states are those that *registered* has. Raises ConfigError where the
    cluster was not checked in this run; TypeError, ValueError, AttributeError where a host's answer is none."""
    hostvars, there = variables["hostvars"], list(variables["ansible_play_hosts"])
    mine = hostvars[variables["inventory_hostname"]]
    cluster = model(mine)
    names = [*variables["ansible_play_hosts_all"], *(node.name for node in cluster.nodes)]
    known = {name: hostvars[name] for name in dict.fromkeys(names) if name in hostvars}
    begins = "postgres_files" if "postgres_files" in mine else "postgres_state"
    said = {name: plain(known[name].get(registered) or {}) for name in there}
    places = {name: (one.get("ansible_facts") or {}).get("repmgr_node") or {} for name, one in known.items()}
    return Rollout(
        cluster,
        tuple(there),
        begun=tuple(name for name in variables["ansible_play_hosts_all"] if begins in known[name]),
        states={
            name: Instance.from_dict({**one["instance"], "name": name})
            for name, one in said.items()
            if one.get("instance")
        },
        alone=tuple(name for name, one in said.items() if one.get("left_alone")),
        members=tuple(name for name, place in places.items() if place.get("member")),
        been=any("postgres_way" in known[node.name] for node in cluster.data_nodes if node.name in known),
    )


def told(variables: Mapping[str, Any], names: Iterable[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What this run has begun with where it tells pods of a description, as a list of one or none, and the stages that it has
    gone through since, or is about to. *names*: of the nodes."""
    hostvars = variables["hostvars"]
    seen = [
        plain((hostvars["localhost"].get(f"kubernetes_{name}") or {}).get("resources") or [])
        for name in ("config", "record", "claims", "found")
    ]
    ways = [hostvars[name]["postgres_way"] for name in names if name in hostvars and "postgres_way" in hostvars[name]]
    # Where nothing has begun by it, it may become anything.
    return seen[0] if begun(*seen) else [], plain((ways[0].get("stages") or []) if ways else [])
