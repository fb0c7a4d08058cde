# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""How far a host's clock may be from the control machine's."""

from __future__ import annotations

import pytest
from pgherd.inventory.clocks import far_off


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (0, ""),
        (1799, ""),
        (-1799, ""),
        (1800, "pg1: its clock is 1800 s ahead of this machine's, and with that certificates made here may not"),
        (-7200, "pg1: its clock is 7200 s behind this machine's, and with that certificates made here may not"),
    ],
)
def test_half_an_hour(ahead: int, said: str) -> None:
    sentence = far_off("pg1", 1_700_000_000 + ahead, 1_700_000_000)
    assert sentence.startswith(said)
    assert bool(sentence) == bool(said)
