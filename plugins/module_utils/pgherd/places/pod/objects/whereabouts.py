# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether the Kubernetes that is reached is the one that a cluster is in. Pure.

The namespace kube-system is made with a Kubernetes, and lives as long as that does: its UID is the usual identity of one. Who has
rights in the cluster's namespace alone cannot read it, but that namespace itself: its UID is in one Kubernetes too. It is asked
second, since a namespace may be made anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SYSTEM = "kube-system"


@dataclass(frozen=True)
class Whereabouts:
    """*system*: the UID of the namespace kube-system. *namespace*: the cluster's, by name; *uid*: that one's UID, '' where there
    is no such namespace. None: it was not asked, or nobody was told. *context*: how people call it."""

    system: str | None
    namespace: str
    uid: str | None
    context: str = ""

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Whereabouts:
        """Raises KeyError, TypeError, ValueError for anything else than to_dict() gives."""
        found = cls(told["system"], told["namespace"], told["uid"], told["context"])
        if not all(one is None or isinstance(one, str) for one in (found.system, found.uid)):
            raise ValueError("a UID is a text")
        if not isinstance(found.namespace, str) or not isinstance(found.context, str):
            raise ValueError("a name is a text")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"system": self.system, "namespace": self.namespace, "uid": self.uid, "context": self.context}


def is_told(before: Whereabouts | None, now: Whereabouts) -> bool:
    """Whether nothing more has to be asked to compare *now* with *before*: what kube-system says holds, whatever else is so."""
    return before is None or bool(before.system and now.system)


def moved(before: Whereabouts | None, now: Whereabouts, cluster: str, kept: str) -> str:
    """In one sentence or a few, why *now* is not where the *cluster* was *before*, None where nobody knows that; '' where it may
    be. *kept*: the path of the file that says where it was."""
    if before is None:
        return ""
    if before.system and now.system:
        whose, there, here, otherwise = SYSTEM, before.system, now.system, ""
    elif before.uid and now.uid is not None and before.namespace == now.namespace:
        whose, there, here, otherwise = now.namespace, before.uid, now.uid, ", or the namespace was made anew"
    else:
        # There is nothing to compare.
        return ""
    if here == there:
        return ""
    found = f"its namespace {whose} has the UID {here}" if here else f"it has no namespace {whose}"
    way = _way(now)
    return (
        f"{way[0].upper()}{way[1:]} leads to another Kubernetes than the one that the cluster {cluster} is in{otherwise}: "
        f"{found}, and that of the last time ({_way(before)}) was {there}. Nothing was done there. Set cluster_kube_context, "
        f"cluster_kubeconfig or KUBECONFIG to the one that is meant; where this one is, take {kept} away."
    )


def remembered(before: Whereabouts | None, now: Whereabouts) -> Whereabouts:
    """What is to be kept of *now*, where *before* was kept. What nobody was told this time stays as it was."""
    if before is None:
        return now
    same = before.namespace == now.namespace
    found = Whereabouts(
        now.system or before.system, now.namespace, now.uid or (before.uid if same else None), now.context
    )
    # By another name it is the same, and a second run changes nothing.
    return before if (found.system, found.namespace, found.uid) == _identity(before) else found


def _identity(one: Whereabouts) -> tuple[str | None, str, str | None]:
    return one.system, one.namespace, one.uid


def _way(one: Whereabouts) -> str:
    return f"the context {one.context}" if one.context else "kubectl without a context"
