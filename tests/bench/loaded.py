# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What an agent of a data node has in memory before it does anything: what its process loads, step by step, in MiB.

    loaded.py [--base 11fcda9] [--python /usr/bin/python3]

A process is begun as the agent's unit does it, with byte code that is there already, and prints what it has after each step: all
that is resident, and what is its own alone. With a base, an older commit's core does the same.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "tests"))

from upgrade import release  # noqa: E402

CORE = "plugins/module_utils"
STEPS = ("pgherd.cli", "pgherd.places.host.agent", "pgherd.agent.node_part", "psycopg", "prometheus_client")
TOLD = """\
import importlib, re, sys
core, *steps = sys.argv[1:]
sys.path.insert(0, core)
def show(name):
    text = open("/proc/self/smaps_rollup").read()
    have = (int(re.search(rf"^{key}:\\s+(\\d+)", text, re.MULTILINE)[1]) / 1024 for key in ("Rss", "Anonymous"))
    print("  {:28} {:6.1f} {:6.1f}".format(name, *have))
show("Python")
for name in steps:
    importlib.import_module(name)
    show(name)
"""


def show(title: str, python: str, core: Path) -> None:
    """Print what one process has after each step."""
    with tempfile.TemporaryDirectory() as cache:
        argv = [python, "-I", "-OO", "-X", f"pycache_prefix={cache}", "-c", TOLD, str(core), *STEPS]
        env = {**os.environ, "MALLOC_ARENA_MAX": "1"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        # What compiles has more in memory than what reads the byte code.
        subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL)
        print(f"{title:30} resident  own", flush=True)
        subprocess.run(argv, env=env, check=True)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="", help="a commit whose core is measured too")
    parser.add_argument("--python", default=sys.executable, help="one that has psycopg and prometheus_client")
    given = parser.parse_args()
    show("this checkout", given.python, CHECKOUT / CORE)
    if given.base:
        show(given.base, given.python, release.export(given.base, CHECKOUT / ".cache/base") / CORE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
