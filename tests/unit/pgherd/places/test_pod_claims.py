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
HELD = [claim("10Gi", "data-pg-0"), claim("10Gi", "data-pg-1"), claim("10Gi", "data-pg-x-0"), claim("1Gi", "mine")]


@pytest.mark.parametrize(
    ("what", "wanted", "sets", "claims", "grown", "anew", "refused"),
    [
        ("a new cluster", [TEN], [], [], {}, (), ""),
        ("nothing changes", [TEN], [TEN], HELD, {}, (), ""),
        ("the same in other words", [a_set(claim("10240Mi"))], [TEN], HELD, {}, (), ""),
        ("they grow", [TWENTY], [TEN], HELD, {"data-pg-0": "20Gi", "data-pg-1": "20Gi"}, ("pg",), ""),
        # Broken off after any of the steps.
        ("one has grown", [TWENTY], [TEN], [claim("20Gi", "data-pg-0"), HELD[1]], {"data-pg-1": "20Gi"}, ("pg",), ""),
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
