# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The status is the same everywhere, whole, and in the form that docs/ promises."""

from __future__ import annotations

import json
import re

import jsonschema
from deployed import CHECKOUT, Deployed, until


def ageless(text: str) -> str:
    """A line without ages: the hosts are asked one after the other."""
    return re.sub(r"\b\d+[smhd](\d+[mh])?\b", "AGE", text)


def test_every_host_says_the_same(cluster: Deployed) -> None:
    """Exit code 0 on each, a document by the schema, the same line of health, no problem."""
    cluster.settle()
    schema = json.loads((CHECKOUT / "docs/status.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    lines = set()
    for name, host in cluster.hosts.items():
        # One at a time, and again where a busy machine kept a part from answering within its short limit.
        found = cluster.settle(host=host)
        jsonschema.Draft202012Validator(schema).validate(found)
        assert (found["health"], found["exit_code"], found["problems"]) == ("healthy", 0, []), name
        lines.add(ageless(found["line"]))
        topology = found["topology"]
        assert [node["name"] for node in topology["nodes"]] == [host.name for host in cluster.nodes]
        assert [pool["name"] for pool in topology["pgpools"]] == [host.name for host in cluster.group("pgpool")]
        assert [item["name"] for item in topology["barmans"]] == [host.name for host in cluster.group("barman")]
    (line,) = lines
    standbys, nodes = len(cluster.standbys), len(cluster.nodes)
    wanted = rf"{cluster.wanted('name')}  HEALTHY  primary {cluster.primary.name} \(TL \d+\)  standbys {standbys}/{standbys}  .*"
    assert re.fullmatch(wanted + rf"failover armed {nodes}/{nodes}  backup AGE ok", line), line


def test_picture(cluster: Deployed) -> None:
    """The picture opens with the line, draws the tree, fits 100 columns, and comes from `pgherd status`."""
    host = cluster.nodes[-1]

    def shown() -> list[str] | None:
        done = host.result("pgherd status")
        return done.stdout.splitlines() if done.rc == 0 else None

    found = until("a healthy status", shown, 90)
    titles = next(number for number, row in enumerate(found) if row.startswith("NODE "))
    line = until("a healthy line", lambda: (done := host.result("pgherd status --line")).rc == 0 and done.stdout, 90)
    assert ageless("".join(found[:titles])) == ageless(line.strip())
    assert max(map(len, found)) <= 100
    rows = found[titles + 1 :]
    depth = {re.sub(r"^[ |`-]*", "", row).split()[0]: len(re.match(r"[ |`-]*", row)[0]) for row in rows if row.strip()}
    for host in cluster.standbys:
        assert depth[host.name] == depth[cluster.upstream(host)] + 3, rows
    assert {pool.name for pool in [*cluster.group("pgpool"), *cluster.group("barman")]} <= set(depth)
