# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a writer makes of an error: refused only where the row cannot be there."""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

from faults.checker.history import FAIL, INFO
from faults.checker.workload import judge_error

errors = psycopg.errors


@pytest.mark.parametrize(
    ("error", "sent", "outcome"),
    [
        (psycopg.OperationalError("connection refused"), False, FAIL),
        (errors.ReadOnlySqlTransaction("read-only"), True, FAIL),
        (errors.TooManyConnections("slots"), True, FAIL),
        (errors.AdminShutdown("terminating connection"), True, INFO),  # it may have waited for a standby
        (errors.UniqueViolation("twice"), True, INFO),  # the first one may have been acknowledged to nobody
        (psycopg.OperationalError("server closed the connection"), True, INFO),
        (errors.QueryCanceled("canceled"), True, INFO),
        (TimeoutError(), True, INFO),
    ],
)
def test_an_error_is_a_refusal_only_where_nothing_can_have_happened(
    error: BaseException, sent: bool, outcome: str
) -> None:
    assert judge_error(error, sent) == outcome
