# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Another Kubernetes is known by the UIDs of two namespaces, as far as those may be read."""

from __future__ import annotations

from typing import Any

import pytest
from pgherd.places.pod.objects.whereabouts import Whereabouts, is_told, moved, remembered

HERE = Whereabouts("s-1", "db", "n-1", "mine")


def seen(system: str | None = None, uid: str | None = None, namespace: str = "db", context: str = "") -> Whereabouts:
    return Whereabouts(system, namespace, uid, context)


@pytest.mark.parametrize(
    ("what", "before", "now", "told", "why"),
    [
        ("the first time", None, seen("s-2"), True, ""),
        ("the same", HERE, seen("s-1"), True, ""),
        ("another", HERE, seen("s-2"), True, "its namespace kube-system has the UID s-2, and that of the last time"),
        # Whose namespace was made anew, or is another, is in the same Kubernetes.
        ("another namespace there", HERE, seen("s-1", "n-2"), True, ""),
        ("one of another name", HERE, seen("s-1", namespace="other"), True, ""),
        # With rights in the namespace alone.
        ("the same namespace", HERE, seen(uid="n-1"), False, ""),
        ("another one", HERE, seen(uid="n-2"), False, "its namespace db has the UID n-2, and that of the last time"),
        ("none", HERE, seen(uid=""), False, "it has no namespace db, and that of the last time"),
        ("one that was not asked for before", HERE, seen(uid="n-2", namespace="other"), False, ""),
        ("kube-system was not read before", seen(uid="n-1"), seen("s-1", "n-1"), False, ""),
        ("nor was another's", seen(uid="n-1"), seen("s-2", "n-2"), False, ", or the namespace was made anew: its"),
        # Nobody says anything.
        ("no rights", HERE, seen(), False, ""),
        ("only one was known", Whereabouts("s-1", "db", None), seen(uid="n-1"), False, ""),
    ],
)
def test_whether_it_is_another(what: str, before: Any, now: Whereabouts, told: bool, why: str) -> None:
    assert is_told(before, now) is told, what
    found = moved(before, now, "demo", "/kept.json")
    assert (why in found) if why else found == "", what


def test_the_sentence() -> None:
    assert moved(HERE, seen("s-2", context="theirs"), "demo", "/kept.json") == (
        "The context theirs leads to another Kubernetes than the one that the cluster demo is in: its namespace kube-system has "
        "the UID s-2, and that of the last time (the context mine) was s-1. Nothing was done there. Set cluster_kube_context, "
        "cluster_kubeconfig or KUBECONFIG to the one that is meant; where this one is, take /kept.json away."
    )
    assert moved(HERE, seen("s-2"), "demo", "/kept.json").startswith("Kubectl without a context leads to another")


@pytest.mark.parametrize(
    ("what", "before", "now", "kept"),
    [
        ("the first time", None, HERE, HERE),
        ("the same by another name", HERE, seen("s-1", "n-1", context="other"), HERE),
        ("kube-system may not be read", HERE, seen(uid="n-1"), HERE),
        ("nor the namespace", HERE, seen("s-1"), HERE),
        ("a namespace that was made anew", HERE, seen("s-1", "n-2", context="x"), seen("s-1", "n-2", context="x")),
        ("another namespace", HERE, seen("s-1", namespace="other"), seen("s-1", namespace="other")),
        ("more is known", seen(uid="n-1"), HERE, HERE),
    ],
)
def test_what_is_remembered(what: str, before: Any, now: Whereabouts, kept: Whereabouts) -> None:
    assert remembered(before, now) == kept, what
    assert remembered(kept, now) == kept, what


def test_what_is_kept_is_read_again() -> None:
    for one in (HERE, seen(), seen(uid="")):
        assert Whereabouts.from_dict(one.to_dict()) == one


@pytest.mark.parametrize("wrong", [{}, [], {**HERE.to_dict(), "uid": 1}, {**HERE.to_dict(), "namespace": None}])
def test_what_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Whereabouts.from_dict(wrong)
