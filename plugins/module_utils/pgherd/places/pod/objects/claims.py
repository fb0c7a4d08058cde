# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What claims that are there are to become: they grow, where their storage class lets them, and never shrink, and a StatefulSet
cannot be told another size of them. So the claims themselves are told, and the StatefulSet is made anew above its pods, which
live on. Pure."""

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


def growth(
    wanted: Iterable[Object], sets: Sequence[Object], claims: Sequence[Object], classes: Sequence[Object] | None = None
) -> Growth:
    """What of the *claims* and the StatefulSets *sets* that are there is to change for the StatefulSets *wanted*. *classes*: all
    StorageClasses that there are; None where nobody says, and the API server will."""
    there = {str(one["metadata"]["name"]): one for one in sets}
    known = {str(one["metadata"]["name"]): one for one in claims}
    held = {name: _size(one["spec"]) for name, one in known.items()}
    let = None if classes is None else {str(one["metadata"]["name"]): one for one in classes}
    grown: dict[str, str] = {}
    anew: list[str] = []
    refused: list[str] = []
    for item in wanted:
        name, old = str(item["metadata"]["name"]), there.get(str(item["metadata"]["name"]))
        given_up = _given_up(old or item, known.values())
        for claim in item["spec"].get("volumeClaimTemplates") or ():
            volume, size = str(claim["metadata"]["name"]), _size(claim["spec"])
            # Those of nodes that left stay as they are.
            names = [f"{volume}-{name}-{number}" for number in range(int(item["spec"].get("replicas", 0)))]
            mine = {one: held[one] for one in names if one in held}
            less = [one for one, found in mine.items() if quantity(found) > quantity(size)]
            if less:
                refused.append(_shrinks(volume, item, less[0], mine[less[0]], size, given_up))
            more = {one: size for one, found in mine.items() if quantity(found) < quantity(size)}
            refused += _cannot(volume, item, [known[one] for one in more], size, let, given_up)
            grown.update(more)
        if old is not None:
            refused += _otherwise(name, _templates(old), _templates(item), given_up)
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


def _shrinks(volume: str, item: Object, claim: str, found: str, size: str, given_up: str) -> str:
    return f"{_variable(volume, item)} is {size}, and the claim {claim} has {found}: claims cannot shrink; set {found}{given_up}."


def _cannot(
    volume: str, item: Object, claims: Sequence[Object], size: str, let: Mapping[str, Object] | None, given_up: str
) -> Iterable[str]:
    """Why *claims* of a *volume* of the StatefulSet *item* cannot get that *size*, each reason once. *let*: classes by name."""
    found: dict[str, str] = {}
    for claim in claims:
        known = str(claim["spec"].get("storageClassName") or "")
        if _is_unbound(claim):
            why = "it has no volume yet, and none such can be told another size"
            cure = f"set {_size(claim['spec'])} until it has one{given_up}"
        elif not known:
            why, cure = "it has no storage class, and only one of a class can grow", f"set {_size(claim['spec'])}"
        elif let is not None and known not in let:
            why, cure = f"its storage class {known} is not there", "make that class again"
        elif let is not None and let[known].get("allowVolumeExpansion") is not True:
            why = f"its storage class {known} lets none grow"
            cure = (
                f"set {_size(claim['spec'])} or, where its storage can do it, allowVolumeExpansion: true in that class"
            )
        else:
            continue
        name = claim["metadata"]["name"]
        found.setdefault(why, f"{_variable(volume, item)} is {size}, and the claim {name} cannot grow: {why}; {cure}.")
    return found.values()


def _is_unbound(claim: Object) -> bool:
    return (claim.get("status") or {}).get("phase") == "Pending"


def _comes_with_data(spec: Object) -> bool:
    """Whether what a claim is to be of is there already: a volume, a snapshot, another claim."""
    return any(spec.get(key) for key in ("volumeName", "dataSource", "dataSourceRef"))


def _given_up(one: Object, claims: Iterable[Object]) -> str:
    """What else there is to do about a StatefulSet where none of its own among the *claims* has got a volume: no pod of it ever
    ran. '' where one has."""
    name = str(one["metadata"]["name"])
    own = re.compile(f"(?:{'|'.join(map(re.escape, _templates(one)))})-{re.escape(name)}-[0-9]+")
    mine = {str(claim["metadata"]["name"]): claim for claim in claims if own.fullmatch(str(claim["metadata"]["name"]))}
    if not mine or not all(_is_unbound(claim) and not _comes_with_data(claim["spec"]) for claim in mine.values()):
        return ""
    there = f"kubectl -n {one['metadata']['namespace']} delete"
    return (
        f" or, since no claim of {name} has a volume and so none holds anything, {there} statefulset {name} and then "
        f"{there} pvc {' '.join(sorted(mine))}"
    )


def _otherwise(name: str, old: Mapping[str, Object], new: Mapping[str, Object], given_up: str) -> Iterable[str]:
    if set(old) != set(new):
        more = ", ".join(sorted(set(old) ^ set(new)))
        yield (
            f"{name}: its pods would have other claims ({more}), and WAL is not moved from one to another: set "
            f"cluster_wal_storage_size as it was{given_up}."
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
                yield f"{name}: claims cannot get another {variable}; set it to {said} again{given_up}."
