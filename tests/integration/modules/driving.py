# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Drives modules as users do, with ansible-playbook over ssh, on the hosts of a scenario.

The inventory's group ``postgres`` has one primary and at least one standby, all with ``wal_level=logical`` and of one
version. What a module did is read back with psql, never from its result. Everything that is made is called test_*, and
removed at the end.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deployed import described, inventory

Task = dict[str, Any]


def psql(query: str, database: str = "postgres") -> Task:
    """A task that reads *query* from the server, one JSON document per row."""
    argv = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c"]
    return {"ansible.builtin.command": {"argv": [*argv, f"SELECT to_jsonb(row) FROM ({query}) AS row"]}}


def sql(statement: str, database: str = "postgres") -> Task:
    """A task that runs *statement* on the server; it does not wait for standbys."""
    argv = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database]
    argv += ["-c", "SET synchronous_commit = local", "-c", statement]
    return {"ansible.builtin.command": {"argv": argv}}


def check(task: Task) -> Task:
    """The same task in check mode, with its diff."""
    return {**task, "check_mode": True, "diff": True}


def rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What a psql() task read."""
    assert result["rc"] == 0, result
    return [json.loads(line) for line in result["stdout"].splitlines()]


@dataclass(frozen=True)
class Host:
    """One host of the inventory. *version* is its PostgreSQL's."""

    name: str
    version: int = 0

    def play(self, *tasks: Task, verbosity: int = 0) -> list[dict[str, Any]]:
        """Run tasks in one play; the results of all, up to the first that failed (``failed`` in its result)."""
        return play(self.name, tasks, verbosity)[0][self.name]

    def read(self, query: str, database: str = "postgres") -> list[dict[str, Any]]:
        """Rows of one query."""
        return described().hosts[self.name].rows(query, database)

    def run(self, *argv: str, rc: int | None = 0) -> str:
        """Standard output of a command that root runs there. Its exit code has to be *rc*."""
        return described().hosts[self.name].run(" ".join(["%s"] * len(argv)), *argv, rc=rc)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run *statement* on the server; it does not wait for standbys."""
        psql = ("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", statement)
        return self.run("env", "PGOPTIONS=-c synchronous_commit=local", *psql)

    def refusals(self, *tasks: Task) -> list[str]:
        """The messages of tasks that all have to fail."""
        results = self.play(*({"block": [task], "rescue": [{"ansible.builtin.meta": "noop"}]} for task in tasks))
        assert [result.get("failed", False) for result in results] == [True] * len(tasks), results
        return [str(result["msg"]) for result in results]


def play(pattern: str, tasks: Sequence[Task], verbosity: int = 0) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """Run *tasks* on the hosts of *pattern*: results by host in order, and all that ansible-playbook printed."""
    plays = [{"hosts": pattern, "gather_facts": False, "become": True, "tasks": list(tasks)}]
    done = subprocess.run(
        ["ansible-playbook", "-i", str(inventory()), "/dev/stdin", *(["-" + "v" * verbosity] if verbosity else [])],
        input=json.dumps(plays),
        env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_DEPRECATION_WARNINGS": "0"},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    start = done.stdout.find('{\n    "custom_stats"')
    assert start >= 0, done.stdout + done.stderr
    results: dict[str, list[dict[str, Any]]] = {}
    for task in json.loads(done.stdout[start:])["plays"][0]["tasks"]:
        for host, result in task["hosts"].items():
            assert not result.get("unreachable"), result
            results.setdefault(host, []).append(result)
    return results, done.stdout + done.stderr


def contract(
    host: Host, task: Task, effect: str, before: Any, after: Any, database: str = "postgres"
) -> dict[str, Any]:
    """Hold one change to the contract: check mode and a real run, each repeated, with *effect* read by SQL after both.

    The first check foretells the change and makes none, the real run makes it, and both find nothing to do after that.
    *before* and *after* are the rows of the query *effect*. Returns the result of the real run.
    """
    read = psql(effect, database)
    results = host.play(check(task), read, task, check(task), task, read)
    failed = [result for result in results if result.get("failed")]
    assert not failed, failed[0]["msg"]
    foretold, untouched, real, again_foretold, again, made = results
    assert rows(untouched) == before
    assert rows(made) == after
    assert [result["changed"] for result in (foretold, real, again_foretold, again)] == [True, True, False, False]
    assert foretold["steps"] == real["steps"]
    assert foretold["diff"]["before"] != foretold["diff"]["after"]
    assert again_foretold["diff"]["before"] == again_foretold["diff"]["after"]
    assert foretold["before"] == real["before"]
    return real
