# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Who once answered is found again while nobody looks up names."""

from __future__ import annotations

import pytest
from pgherd.ports.addresses import Addresses, is_name


def test_an_address_is_tried_and_left_out_once_where_that_failed() -> None:
    known = Addresses()
    assert known.of("pg-0.pg") == ""
    known.reached("pg-0.pg", "10.0.0.1")
    assert known.of("pg-0.pg") == "10.0.0.1"
    known.failed("pg-0.pg", "10.0.0.1")
    # By its name now: it may have come back elsewhere.
    assert known.of("pg-0.pg") == ""
    # Which nobody could look up.
    known.failed("pg-0.pg", "")
    assert known.of("pg-0.pg") == "10.0.0.1"
    known.failed("pg-0.pg", "10.0.0.1")
    known.reached("pg-0.pg", "10.0.0.2")
    assert known.of("pg-0.pg") == "10.0.0.2"
    assert known.of("pg-1.pg") == ""


@pytest.mark.parametrize(
    ("host", "expected"),
    [("pg1", True), ("pg-0.pg.db.svc.k8s", True), ("10.0.0.1", False), ("fd00::1", False)]
    + [(host, False) for host in ("", "/run/postgresql", "pg1,pg2", "@socket")],
)
def test_what_is_a_name(host: str, expected: bool) -> None:
    assert is_name(host) is expected
