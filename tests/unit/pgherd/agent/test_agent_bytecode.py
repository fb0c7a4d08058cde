# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The byte code of an agent: written by a process that makes way, once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pgherd

SCRIPT = """\
import os, sys
from pgherd.agent import bytecode
bytecode.LIBRARIES = ("colorsys", "no_such_library")
print("begun", "colorsys" in sys.modules, flush=True)
bytecode.written_first()
print("goes on", "colorsys" in sys.modules, os.getpid(), sys.argv[1:], flush=True)
"""


def begun(*words: str) -> tuple[int, list[str]]:
    package = Path(pgherd.__file__).parent.parent
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    argv = [sys.executable, *words, "-c", SCRIPT, "agent", "--host", "pg1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**env, "PYTHONPATH": str(package)}) as process:
        out = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    return process.pid, out.splitlines()


def test_the_first_process_makes_way_for_one_that_reads_it(tmp_path: Path) -> None:
    kept = f"pycache_prefix={tmp_path}"
    process, lines = begun("-OO", "-X", kept)
    assert lines == ["begun False", "begun False", f"goes on False {process} ['agent', '--host', 'pg1']"]
    assert list(tmp_path.rglob("colorsys.*opt-2.pyc"))
    process, lines = begun("-OO", "-X", kept)
    assert lines == ["begun False", f"goes on False {process} ['agent', '--host', 'pg1']"]


def test_where_none_can_be_written_it_begins_again_only_once(tmp_path: Path) -> None:
    _process, lines = begun("-B", "-X", f"pycache_prefix={tmp_path}")
    assert [line.split()[0] for line in lines] == ["begun", "begun", "goes"]


def test_where_none_is_kept_apart_it_goes_on() -> None:
    _process, lines = begun()
    assert [line.split()[0] for line in lines] == ["begun", "goes"]
