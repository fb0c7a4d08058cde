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
FAILOVER = {
    "validate": "say whether this standby may be promoted now; repmgrd asks this",
    "promote": "make this standby the primary, losing no acknowledged write, or say why not; repmgrd calls this",
    "follow": "let this standby stream from another node; repmgrd calls this",
}
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
    agent.add_argument("--postgres", type=int, default=0, metavar="MAJOR", help="PostgreSQL's major version on a node")
    agent.set_defaults(run=_agent)
    for name, words in FAILOVER.items():
        one = commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
        one.add_argument("--cluster", default=CLUSTER_FILE, metavar="FILE", help="default: %(default)s")
        one.add_argument("--host", required=True, metavar="NAME", help="this host's name in the inventory")
        if name == "promote":
            one.add_argument(
                "--primary", default="", metavar="NAME", help="whose place it takes; default: repmgr's word"
            )
            one.add_argument("--accept-loss", action="store_true", help="rows that only missing nodes hold may go")
        if name == "follow":
            one.add_argument("--upstream", required=True, type=int, metavar="ID", help="the upstream's node ID")
        one.set_defaults(run=_failover)
    guard = commands.add_parser("guard", help="make the stopped PostgreSQL start as what it may be; its unit runs this")
    guard.add_argument("--cluster", default=CLUSTER_FILE, metavar="FILE", help="default: %(default)s")
    guard.add_argument("--host", required=True, metavar="NAME", help="this host's name in the inventory")
    guard.add_argument("--postgres", required=True, type=int, metavar="MAJOR", help="PostgreSQL's major version")
    guard.set_defaults(run=_guard)
    gate = commands.add_parser("gate", help="wait until enough data nodes answer for pgpool to serve")
    gate.add_argument("--cluster", default=CLUSTER_FILE, metavar="FILE", help="default: %(default)s")
    gate.set_defaults(run=_gate)
    return parser


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _failover(options: argparse.Namespace) -> int:
    from .agent.command_part import ask

    words = {"promote": ("primary", "accept_loss"), "follow": ("upstream",)}.get(options.command, ())
    arguments = {word: getattr(options, word) for word in words}

    code = ask(options.command, arguments, _say)
    if code is not None:
        return code
    # No agent runs here: the same in this process.
    from .failover import command
    from .status.report import read_cluster

    cluster, me = read_cluster(options.cluster), options.host
    link = command.links(cluster, me, command.version_here(cluster, me))
    return int(getattr(command, options.command)(cluster, me, link, _say, **arguments))


def _guard(options: argparse.Namespace) -> int:
    from .nodes import permit
    from .nodes.mark import marked

    me = options.host
    if unfinished := marked():
        cure = "The agent clones it as soon as there is a primary."
        raise PgherdError(f"start {me}: an attempt to come back was interrupted ({unfinished}).", cure)
    if permit.take():
        _say(f"guard: {me} starts as it is: the playbook has asked all hosts")
        return 0
    from .agent.command_part import ask

    # A running agent has everything loaded, and answers at once.
    lines: list[str] = []
    if ask("guard", {}, lines.append) == 0 and lines:
        import json

        decision = json.loads(lines[-1])
        if not decision["as_standby"]:
            _say(f"guard: {me} starts as it is: {decision['why']}")
            return 0
    return _guard_here(options)


def _guard_here(options: argparse.Namespace) -> int:
    from .failover import start
    from .failover.links import real
    from .ports.run import LocalRunner
    from .status.report import read_cluster

    cluster, me = read_cluster(options.cluster), options.host
    links = real(cluster, me, lambda: None)
    decision = start.decide(cluster, me, options.postgres, links, LocalRunner())
    _say(f"guard: {me} starts {'as a standby' if decision.as_standby else 'as it is'}: {decision.why}")
    start.prepare(cluster, me, options.postgres, decision)
    return 0


def _agent(options: argparse.Namespace) -> int:
    from .agent.loop import main as run
    from .status.report import read_cluster

    return run(read_cluster(options.cluster), options.host, options.postgres)


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
