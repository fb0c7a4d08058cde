# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The cluster that test_small.py makes gets its first pgpool and its Barman, on hosts with nothing on them: nobody restarts."""

from __future__ import annotations

import pytest
from living import MISSED, Living, until


@pytest.mark.more
def test_a_pgpool_and_a_barman_are_added(running: Living) -> None:
    before = running.look()
    for group, name in (("pgpool", "pool1"), ("barman", "backup1")):
        running.add(name)
        running.inventory[group] = {"hosts": {name: {}}}
    run = running.site()
    assert run.rc == 0, run
    running.until_as(before)
    up = dict.fromkeys(running.nodes, "up")
    until("every node to be up in pool1", lambda: running.backends("pool1") == up, 90, missed=MISSED)
    check = f"runuser -u barman -- barman check {running.variables['cluster_name']}"

    def good() -> bool:
        said = running.shell("backup1", check, check=False)
        return "receive-wal running: OK" in said and "FAILED" not in said

    until("barman check to be content", good, 90)
    running.until_well()
