# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The command ``pgherd``. Imports are inside functions: what a subcommand does not need costs it no time."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import PgherdError
from .model import CLUSTER_FILE, MONITOR_PASSFILE

if TYPE_CHECKING:
    from .status.report import Report

UNKNOWN = 3
CLEAR = "\033[H\033[J"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code; an error is one sentence on standard error, and 3."""
    options = _parser().parse_args(argv)
    try:
        return int(options.run(options))
    except PgherdError as error:
        sys.stderr.write(f"pgherd: {error}\n")
        return UNKNOWN
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader, such as head(1), has gone. Keep the interpreter from flushing into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pgherd", description="A PostgreSQL cluster as one thing.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    status = commands.add_parser(
        "status",
        help="show the cluster and what is wrong with it",
        description="Show the cluster as PostgreSQL, repmgr, pgpool and barman see it, and what is wrong with it.",
        epilog="Exit codes: 0 healthy, 1 warning, 2 critical, 3 unknown.",
    )
    form = status.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the document of docs/status.schema.json")
    form.add_argument("--line", action="store_true", help="print the one line of health only")
    status.add_argument("--watch", type=_seconds, metavar="N", help="show again every N seconds, until interrupted")
    status.add_argument("--cluster", default=CLUSTER_FILE, metavar="FILE", help="default: %(default)s")
    status.set_defaults(run=_status)
    agent = commands.add_parser("agent", help="run this host's agent, as its unit does")
    agent.add_argument("--cluster", default=CLUSTER_FILE, metavar="FILE", help="default: %(default)s")
    agent.add_argument("--host", required=True, metavar="NAME", help="this host's name in the inventory")
    agent.set_defaults(run=_agent)
    gate = commands.add_parser("gate", help="wait until enough data nodes answer for pgpool to serve")
    gate.add_argument("--cluster", default=CLUSTER_FILE, metavar="FILE", help="default: %(default)s")
    gate.set_defaults(run=_gate)
    return parser


def _agent(options: argparse.Namespace) -> int:
    from .agent.loop import main as run
    from .status.report import read_cluster

    return run(read_cluster(options.cluster), options.host)


def _gate(options: argparse.Namespace) -> int:
    from .pools.gate import wait
    from .status.report import read_cluster

    return wait(read_cluster(options.cluster))


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _status(options: argparse.Namespace) -> int:
    from .observe.gather import observe
    from .status.report import read_cluster, report

    cluster = read_cluster(options.cluster)
    if not os.access(MONITOR_PASSFILE, os.R_OK):
        raise PgherdError(f"read {MONITOR_PASSFILE}: not allowed, or not there.", "Run pgherd as root.")
    while True:
        began = time.monotonic()
        found = report(cluster, observe(cluster))
        text = _shown(found, options)
        sys.stdout.write((CLEAR if options.watch and sys.stdout.isatty() else "") + text + "\n")
        sys.stdout.flush()
        if not options.watch:
            return found.exit_code
        time.sleep(max(0.0, options.watch - (time.monotonic() - began)))


def _shown(found: Report, options: argparse.Namespace) -> str:
    terminal = sys.stdout.isatty()
    colour = terminal and "NO_COLOR" not in os.environ
    if options.json:
        import json

        return json.dumps(found.document(), indent=None if options.watch else 2)
    if options.line:
        return found.line(colour)
    return found.picture(_columns(), colour) if terminal else found.picture()


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size((100, 24)).columns


if __name__ == "__main__":
    raise SystemExit(main())
