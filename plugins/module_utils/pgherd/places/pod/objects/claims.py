# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What claims that are there are to become: they grow and never shrink, and a StatefulSet cannot be told another size of them. So
the claims themselves are told, and the StatefulSet is made anew above its pods, which live on. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ....errors import ConfigError
from .naming import BARMAN, COMPONENT

Object = Mapping[str, Any]
# Of Kubernetes' quantities (apimachinery, resource.Quantity).
_SUFFIXES = {
    "": Fraction(1),
    "m": Fraction(1, 1000),
    **{letter: Fraction(1000) ** power for power, letter in enumerate("kMGTPE", 1)},
    **{f"{letter}i": Fraction(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
}
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d{1,2})|([a-zA-Z]{0,2}))")


@dataclass(frozen=True)
class Growth:
    """*claims*: by name the size that each is to have. *anew*: StatefulSets that are deleted without their pods and made again.
    *refused*: in sentences, what cannot be."""

    claims: Mapping[str, str]
    anew: tuple[str, ...]
    refused: tuple[str, ...]


def quantity(text: str) -> Fraction:
    """A size of Kubernetes' in bytes. Raises ConfigError for what is none."""
    found = _QUANTITY.fullmatch(str(text).strip())
    if not found or (found[3] or "") not in _SUFFIXES:
        raise ConfigError([f"{str(text)[:40]!r} is no size that Kubernetes knows, such as 10Gi; mend it."])
    number = Fraction(found[1] if not found[1].endswith(".") else found[1][:-1])
    return number * (Fraction(10) ** int(found[2]) if found[2] else _SUFFIXES[found[3] or ""])


def growth(wanted: Iterable[Object], sets: Sequence[Object], claims: Sequence[Object]) -> Growth:
    """What of the *claims* and the StatefulSets *sets* that are there is to change for the StatefulSets *wanted*."""
    there = {str(one["metadata"]["name"]): one for one in sets}
    held = {str(one["metadata"]["name"]): _size(one["spec"]) for one in claims}
    grown: dict[str, str] = {}
    anew: list[str] = []
    refused: list[str] = []
    for item in wanted:
        name, old = str(item["metadata"]["name"]), there.get(str(item["metadata"]["name"]))
        for claim in item["spec"].get("volumeClaimTemplates") or ():
            volume, size = str(claim["metadata"]["name"]), _size(claim["spec"])
            # Those of nodes that left stay as they are.
            names = [f"{volume}-{name}-{number}" for number in range(int(item["spec"].get("replicas", 0)))]
            mine = {one: held[one] for one in names if one in held}
            less = [one for one, found in mine.items() if quantity(found) > quantity(size)]
            if less:
                refused.append(_shrinks(volume, item, less[0], mine[less[0]], size))
            grown.update({one: size for one, found in mine.items() if quantity(found) < quantity(size)})
        if old is not None:
            refused += _otherwise(name, _templates(old), _templates(item))
            sizes = [{volume: _size(spec) for volume, spec in _templates(one).items()} for one in (old, item)]
            if any(quantity(sizes[0][one]) != quantity(sizes[1][one]) for one in sizes[0] if one in sizes[1]):
                anew.append(name)
    return Growth(grown, tuple(anew), tuple(refused))


def _templates(one: Object) -> dict[str, Object]:
    return {str(claim["metadata"]["name"]): claim["spec"] for claim in one["spec"].get("volumeClaimTemplates") or ()}


def _size(spec: Object) -> str:
    return str(spec["resources"]["requests"]["storage"])


def _variable(volume: str, item: Object) -> str:
    if (item["metadata"].get("labels") or {}).get(COMPONENT) == BARMAN:
        return "cluster_barman_storage_size"
    return "cluster_wal_storage_size" if volume == "wal" else "cluster_storage_size"


def _shrinks(volume: str, item: Object, claim: str, found: str, size: str) -> str:
    return f"{_variable(volume, item)} is {size}, and the claim {claim} has {found}: claims cannot shrink; set {found}."


def _otherwise(name: str, old: Mapping[str, Object], new: Mapping[str, Object]) -> Iterable[str]:
    if set(old) != set(new):
        more = ", ".join(sorted(set(old) ^ set(new)))
        yield (
            f"{name}: its pods would have other claims ({more}), and WAL is not moved from one to another: set "
            "cluster_wal_storage_size as it was."
        )
    for volume in sorted(set(old) & set(new)):
        # Empty is the default of the day on which it was made, which Kubernetes has filled in for the claims alone.
        for key, variable in (
            ("storageClassName", "cluster_storage_class"),
            ("accessModes", "cluster_storage_access_mode"),
        ):
            before, after = old[volume].get(key), new[volume].get(key)
            if after != before:
                said = ", ".join(before) if isinstance(before, list) else before or "empty"
                yield f"{name}: claims cannot get another {variable}; set it to {said} again."
