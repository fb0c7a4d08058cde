# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""An agent that starts for the first time has all byte code written, and begins again.

What compiling leaves in memory stays there: some five megabytes more than where the byte code is read (Python 3.13).
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.util import cache_from_source, find_spec

# Loaded when they are first needed.
LIBRARIES = ("psycopg", "prometheus_client")
_AGAIN = "PGHERD_BYTECODE"


def written_first() -> None:
    """Call it when everything else is loaded, and before any thread is begun: it may replace the process
    by a new one with the same arguments, once, instead of returning. Does nothing where byte code is not kept apart, or is
    there."""
    if not sys.pycache_prefix or _AGAIN in os.environ:
        return
    found = {name: find_spec(name) for name in LIBRARIES}
    missing = [
        name
        for name, spec in found.items()
        if spec and spec.origin and not os.path.exists(cache_from_source(spec.origin))
    ]
    if missing:
        for name in missing:
            importlib.import_module(name)
        os.environ[_AGAIN] = "written"
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - its own arguments
