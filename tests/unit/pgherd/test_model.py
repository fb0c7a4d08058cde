# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The cluster's description is read back as it was written, and only where it is understood."""

from __future__ import annotations

import json

import pytest
from pgherd.errors import PgherdError
from pgherd.model import SCHEMA_VERSION, Cluster
from pgherd.options import Options
from pgherd.status.report import read_cluster
from world import CLUSTER


def test_it_is_read_back_as_it_was_written() -> None:
    assert Cluster.from_dict(json.loads(json.dumps(CLUSTER.to_dict()))) == CLUSTER


@pytest.mark.parametrize("schema", [0, SCHEMA_VERSION + 1, "2", None])
def test_another_schema_is_refused(schema: object, tmp_path: pytest.TempPathFactory) -> None:
    """What it does not know of it may be what it must not decide without."""
    with pytest.raises(
        PgherdError, match=rf"its schema is {schema}, and {SCHEMA_VERSION} is known here\. Run the site"
    ):
        Cluster.from_dict({**CLUSTER.to_dict(), "schema": schema})
    path = f"{tmp_path}/cluster.json"
    with open(path, "w", encoding="utf-8") as stream:
        json.dump({**CLUSTER.to_dict(), "schema": schema}, stream)
    with pytest.raises(PgherdError, match="its schema is"):
        read_cluster(path)


def test_what_a_later_release_may_say_is_left_out() -> None:
    assert Options.of({"locale": "C", "hba": ["local all all peer"], "later": 1, "encoding": None}) == Options(
        locale="C", hba=("local all all peer",)
    )
