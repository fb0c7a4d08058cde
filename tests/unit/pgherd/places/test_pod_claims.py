# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Claims grow and never shrink; and a StatefulSet is made anew where it has to say another size."""

from __future__ import annotations

from typing import Any

import pytest
from pgherd.errors import ConfigError
from pgherd.places.pod.objects.claims import growth, quantity


def claim(size: str, name: str = "data", **more: Any) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **more}
    return {"metadata": {"name": name}, "spec": spec}


def a_set(*claims: dict[str, Any], name: str = "pg", what: str = "postgres") -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": what}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"replicas": 2, "volumeClaimTemplates": list(claims)}}


TEN, TWENTY = a_set(claim("10Gi")), a_set(claim("20Gi"))


def held(size: str, name: str, phase: str = "Bound", **more: Any) -> dict[str, Any]:
    """As Kubernetes has it, which fills in the class."""
    return {**claim(size, name, **{"storageClassName": "slow", **more}), "status": {"phase": phase}}


HELD = [held("10Gi", "data-pg-0"), held("10Gi", "data-pg-1"), held("10Gi", "data-pg-x-0"), held("1Gi", "mine")]


@pytest.mark.parametrize(
    ("what", "wanted", "sets", "claims", "grown", "anew", "refused"),
    [
        ("a new cluster", [TEN], [], [], {}, (), ""),
        ("nothing changes", [TEN], [TEN], HELD, {}, (), ""),
        ("the same in other words", [a_set(claim("10240Mi"))], [TEN], HELD, {}, (), ""),
        ("they grow", [TWENTY], [TEN], HELD, {"data-pg-0": "20Gi", "data-pg-1": "20Gi"}, ("pg",), ""),
        # Broken off after any of the steps.
        ("one has grown", [TWENTY], [TEN], [held("20Gi", "data-pg-0"), HELD[1]], {"data-pg-1": "20Gi"}, ("pg",), ""),
        ("of nodes that left", [TEN], [TEN], [claim("1Gi", "data-pg-2"), claim("1Ti", "data-pg-3")], {}, (), ""),
        ("all have", [TWENTY], [TEN], [claim("20Gi", "data-pg-0")], {}, ("pg",), ""),
        ("and there is no set", [TWENTY], [], [claim("20Gi", "data-pg-0")], {}, (), ""),
        (
            "they shrink",
            [TEN],
            [TWENTY],
            [claim("20Gi", "data-pg-0")],
            {},
            ("pg",),
            "cluster_storage_size is 10Gi, and the claim",
        ),
        ("one was made larger by hand", [TEN], [TEN], [claim("1Ti", "data-pg-0")], {}, (), "claim data-pg-0 has 1Ti"),
        (
            "Barman's",
            [a_set(claim("1Gi"), name="b", what="barman")],
            [],
            [claim("2Gi", "data-b-0")],
            {},
            (),
            "cluster_barman_storage_size is 1Gi",
        ),
        (
            "of WAL",
            [a_set(claim("1Gi", "wal"))],
            [],
            [claim("2Gi", "wal-pg-0")],
            {},
            (),
            "cluster_wal_storage_size is 1Gi",
        ),
        ("WAL elsewhere", [a_set(claim("10Gi"), claim("1Gi", "wal"))], [TEN], HELD, {}, (), r"other claims \(wal\)"),
        (
            "another class",
            [a_set(claim("10Gi", storageClassName="fast"))],
            [TEN],
            HELD,
            {},
            (),
            "another cluster_storage_class; set it to empty again",
        ),
        (
            "another mode",
            [a_set(claim("10Gi", accessModes=["ReadWriteOncePod"]))],
            [TEN],
            HELD,
            {},
            (),
            "another cluster_storage_access_mode; set it to ReadWriteOnce again",
        ),
    ],
)
def test_what_becomes_of_them(
    what: str, wanted: Any, sets: Any, claims: Any, grown: dict[str, str], anew: tuple[str, ...], refused: str
) -> None:
    found = growth(wanted, sets, claims)
    assert (dict(found.claims), found.anew) == (grown, anew), what
    assert bool(found.refused) == bool(refused)
    if refused:
        with pytest.raises(AssertionError, match=refused):
            raise AssertionError(" ".join(found.refused))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1.5Gi", 3 * 512 * 1024 * 1024),
        ("1e3", 1000),
        ("1E", 10**18),
        ("1Ei", 2**60),
        (".5k", 500),
        ("2000m", 2),
    ],
)
def test_sizes(text: str, number: int) -> None:
    assert quantity(text) == number


@pytest.mark.parametrize("text", ["", "10 GB", "10GB", "ten", "10Gib", "10i", "Gi"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ConfigError, match="is no size that Kubernetes knows"):
        quantity(text)


WAL = [
    held("10Gi", "data-pg-0"),
    held("1Gi", "wal-pg-0"),
    held("10Gi", "data-pg-1"),
    held("1Gi", "wal-pg-1", storageClassName="x"),
]
LETS, SLOW = {"metadata": {"name": "slow"}, "allowVolumeExpansion": True}, {"metadata": {"name": "slow"}}
TWO = a_set(claim("10Gi"), claim("2Gi", "wal"))
PENDING = [held("10Gi", f"data-pg-{number}", "Pending") for number in (0, 1)]
GIVE_UP = (
    " or, since no claim of pg has a volume and so none holds anything, kubectl -n db delete statefulset pg and then "
    "kubectl -n db delete pvc data-pg-0 data-pg-1."
)
CANNOT = "cluster_storage_size is 20Gi, and the claim data-pg-0 cannot grow: "


@pytest.mark.parametrize(
    ("what", "wanted", "claims", "classes", "refused"),
    [
        ("the class lets them", TWENTY, HELD, [LETS], []),
        ("nobody says", TWENTY, HELD, None, []),
        ("nothing is to grow", TEN, HELD, [SLOW], []),
        (
            "it does not",
            TWENTY,
            HELD,
            [SLOW],
            [
                f"{CANNOT}its storage class slow lets none grow; set 10Gi or, where its storage can do it, "
                "allowVolumeExpansion: true in that class."
            ],
        ),
        ("and says so", TWENTY, HELD, [{**SLOW, "allowVolumeExpansion": False}], ["slow lets none grow"]),
        ("it is gone", TWENTY, HELD, [], [f"{CANNOT}its storage class slow is not there; make that class again."]),
        (
            "there was none",
            TWENTY,
            [held("10Gi", "data-pg-0", storageClassName="")],
            None,
            [f"{CANNOT}it has no storage class, and only one of a class can grow; set 10Gi."],
        ),
        (
            "of WAL, of two classes",
            TWO,
            WAL,
            [LETS, {"metadata": {"name": "x"}}],
            ["cluster_wal_storage_size is 2Gi, and the claim wal-pg-1 cannot grow: its storage class x lets none grow"],
        ),
        (
            "Barman's",
            a_set(claim("2Gi"), name="b", what="barman"),
            [held("1Gi", "data-b-0")],
            [SLOW],
            ["cluster_barman_storage_size is 2Gi, and the claim data-b-0 cannot grow"],
        ),
        # A pod that waits for its volume: a volume that is there is told another size, a wish for one is not.
        (
            "one has no volume",
            TWENTY,
            [PENDING[0], HELD[1]],
            [LETS],
            [f"{CANNOT}it has no volume yet, and none such can be told another size; set 10Gi until it has one."],
        ),
        ("none has", TWENTY, PENDING, [LETS], [f"set 10Gi until it has one{GIVE_UP}"]),
        ("they are too large for what there is", a_set(claim("5Gi")), PENDING, None, [f"set 10Gi{GIVE_UP}"]),
        (
            "of a class that is nowhere",
            a_set(claim("10Gi", storageClassName="there")),
            PENDING,
            None,
            [f"pg: claims cannot get another cluster_storage_class; set it to empty again{GIVE_UP}"],
        ),
        # What they hold is only not seen yet.
        (
            "one is made of a snapshot",
            a_set(claim("5Gi")),
            [PENDING[0], held("10Gi", "data-pg-1", "Pending", dataSource={"kind": "VolumeSnapshot", "name": "s"})],
            None,
            ["claims cannot shrink; set 10Gi."],
        ),
        (
            "one is of a volume",
            a_set(claim("5Gi")),
            [PENDING[0], held("10Gi", "data-pg-1", "Pending", volumeName="pv-1")],
            None,
            ["claims cannot shrink; set 10Gi."],
        ),
        (
            "that of a node that left has one",
            a_set(claim("5Gi")),
            [*PENDING, held("10Gi", "data-pg-7")],
            None,
            ["claims cannot shrink; set 10Gi."],
        ),
    ],
)
def test_what_cannot_grow_is_told(what: str, wanted: Any, claims: Any, classes: Any, refused: list[str]) -> None:
    old = {**TEN, "metadata": {**TEN["metadata"], "namespace": "db"}}
    sets = [old] if wanted["metadata"]["name"] == "pg" and len(wanted["spec"]["volumeClaimTemplates"]) == 1 else []
    found = growth([wanted], sets, claims, classes).refused
    assert [why in sentence for why, sentence in zip(refused, found)] == [True] * len(refused), (what, found)
    assert len(found) == len(refused), (what, found)
    assert all(sentence.endswith(".") and ".." not in sentence for sentence in found)
