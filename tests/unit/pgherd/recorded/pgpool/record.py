# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Records what the real programs answer: run as root on a pgpool host of a cluster with data nodes 1, 2 and 4.

    record.py healthy|errors|detached|promoted|delayed >4.6/healthy.jsonl

``healthy`` and ``errors`` change nothing (backend 1 is the primary); the others change what pgpool uses (stop the agent
first). ``delayed`` is recorded with ``sr_check_period = 1``, on 4.6 ``delay_threshold_by_time = 1000`` too, and a standby
whose replay is paused. Each line is one command with its exit code and outputs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import psycopg
from psycopg.rows import dict_row

PASSFILE = "/etc/pgherd/pcp.pass"
PCP = "-h /var/run/postgresql -p 9898 -U pgherd -w"
SQL = "host=/var/run/postgresql port=9999 dbname=postgres user=pgherd_monitor passfile=/etc/pgherd/monitor.pgpass"


def record(command: str, **environment: str) -> None:
    """Run one command and print it with what it answered."""
    env = {**os.environ, "LC_ALL": "C.UTF-8", "PCPPASSFILE": PASSFILE, **environment}
    done = subprocess.run(command.split(), capture_output=True, text=True, env=env, check=False)
    print(json.dumps({"command": command, "rc": done.returncode, "out": done.stdout, "err": done.stderr}))


def look() -> None:
    """Record the table in every form."""
    record("pgpool --version")
    record(f"pcp_node_count {PCP}")
    record(f"pcp_node_info {PCP} --all --verbose")
    record(f"pcp_node_info {PCP} --all")
    record("cat /run/pgpool2/pgpool_status")
    with psycopg.connect(SQL, autocommit=True, row_factory=dict_row, prepare_threshold=None) as connection:
        rows = connection.execute("SHOW POOL_NODES").fetchall()
    print(json.dumps({"command": "SHOW POOL_NODES", "rows": rows}))


def change(*commands: str) -> None:
    """Record commands that change something, each with time to take effect."""
    for command in commands:
        record(command)
        time.sleep(3)


def errors() -> None:
    """Record what is said to nonsense and to strangers."""
    record(f"pcp_node_info {PCP} -n 77")
    record(f"pcp_attach_node {PCP} -n 777")
    record(f"pcp_reload_config {PCP} -s local")
    record(f"pcp_detach_node {PCP} -n 2")
    record(f"pcp_promote_node {PCP} -n 1")
    record("pcp_node_info -h /nowhere -p 9898 -U pgherd -w")
    record("pcp_node_info -h localhost -p 1024 -U pgherd -w")
    record(f"pcp_node_info {PCP}", PCPPASSFILE="/dev/null")


if __name__ == "__main__":
    scenario = sys.argv[1]
    if scenario == "errors":
        errors()
    elif scenario == "detached":
        change(f"pcp_detach_node {PCP} -n 3")
    elif scenario == "promoted":
        change(f"pcp_promote_node {PCP} -n 3")
    if scenario != "errors":
        look()
    if scenario == "detached":
        change(f"pcp_attach_node {PCP} -n 3")
