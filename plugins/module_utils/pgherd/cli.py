# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The command ``pgherd``. Imports are inside functions: what a subcommand does not need costs it no time."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import PgherdError
from .model import CLUSTER_FILE, CONFIG_FILE, MONITOR_PASSFILE
from .text import say

if TYPE_CHECKING:
    import argparse

    from .status.report import Report

UNKNOWN = 3
FAILOVER = {
    "validate": "say whether this standby may be promoted now; repmgrd asks this",
    "promote": "make a standby the primary, losing no acknowledged write, or say why not; repmgrd calls this",
    "follow": "let this standby stream from another node; repmgrd calls this",
}
# Units that a release before wrote say it, whose descriptions of the cluster do not.
TOLD = "PostgreSQL's major version, where the description of the cluster has none"
CLEAR = "\033[H\033[J"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code; an error is one sentence on standard error, and 3."""
    said = sys.argv[1:] if argv is None else list(argv)
    try:
        if host := _alone(said):
            return _run_agent(CLUSTER_FILE, host)
        options = _parser().parse_args(said)
        return int(options.run(options))
    except PgherdError as error:
        say(f"pgherd: {error}")
        return UNKNOWN
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader, such as head(1), has gone. Keep the interpreter from flushing into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _alone(said: Sequence[str]) -> str:
    """The host of an agent that is run by the words of its unit alone, else ''. What takes words apart would stay in its memory,
    some 0.7 MiB, for as long as it runs."""
    plain = len(said) == 3 and list(said[:2]) == ["agent", "--host"] and not said[2].startswith("-")
    return said[2] if plain else ""


def _parser() -> argparse.ArgumentParser:
    import argparse

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
    _named(agent, CLUSTER_FILE, "this host's")
    agent.add_argument("--postgres", type=int, default=0, metavar="MAJOR", help=TOLD)
    agent.set_defaults(run=_agent)
    pod = commands.add_parser("pod", help="run as process 1 of a pod")
    _named(pod, CONFIG_FILE)
    pod.add_argument("--limit", type=_seconds, default=25.0, metavar="N", help="seconds for all to end (%(default)s)")
    pod.set_defaults(run=_pod)
    own = commands.add_parser("own", help="in a pod's first container: leave it what of a Secret is its own")
    _named(own, CONFIG_FILE)
    own.add_argument("--secrets", default="/secrets", metavar="DIR", help="where it is mounted (%(default)s)")
    own.add_argument("--again", action="store_true", help="stay, and do it again whenever the Secret has changed")
    own.set_defaults(run=_own)
    api = commands.add_parser("api", help="in a pod's own container: speak to Kubernetes' API server for it")
    _named(api, CONFIG_FILE)
    api.set_defaults(run=_api)
    prestop = commands.add_parser("prestop", help="before a pod ends: hand over where its node is the primary")
    _named(prestop, CLUSTER_FILE)
    prestop.add_argument("--limit", type=_seconds, default=20.0, metavar="N", help="seconds for it (%(default)s)")
    prestop.set_defaults(run=_prestop)
    schedule = commands.add_parser("schedule", help="in Barman's pod: take base backups when they are due")
    schedule.set_defaults(run=_schedule)
    service = commands.add_parser(
        "service", help="in a pod: start, stop or reload what process 1 runs, or tell its state"
    )
    service.add_argument("verb", choices=("state", "start", "stop", "restart", "reload"))
    service.add_argument("name", metavar="NAME", help="such as postgres, repmgrd, pgpool, agent")
    service.set_defaults(run=_service)
    for name, words in FAILOVER.items():
        one = commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
        one.add_argument("--cluster", default=CLUSTER_FILE, metavar="FILE", help="default: %(default)s")
        # repmgrd says it, and no more than that; a person may name another node.
        by_hand = name == "promote"
        one.add_argument(
            "--host", required=not by_hand, default="", metavar="NAME", help="this host's name in the inventory"
        )
        if by_hand:
            one.add_argument("to", nargs="?", default="", metavar="NAME", help="by hand: which node; default: this one")
            one.add_argument("--check", action="store_true", help="by hand: only say what would be done")
            one.add_argument(
                "--primary", default="", metavar="NAME", help="whose place it takes; default: repmgr's word"
            )
            one.add_argument("--accept-loss", action="store_true", help="rows that only missing nodes hold may go")
        if name == "follow":
            one.add_argument("--upstream", required=True, type=int, metavar="ID", help="the upstream's node ID")
        one.set_defaults(run=_failover)
    _by_hand(commands)
    guard = commands.add_parser("guard", help="make the stopped PostgreSQL start as what it may be; its unit runs this")
    guard.add_argument("--cluster", default=CLUSTER_FILE, metavar="FILE", help="default: %(default)s")
    guard.add_argument("--host", required=True, metavar="NAME", help="this host's name in the inventory")
    guard.add_argument("--postgres", type=int, default=0, metavar="MAJOR", help=TOLD)
    guard.add_argument("--data", default="", metavar="DIR", help="its data directory")
    guard.set_defaults(run=_guard)
    gate = commands.add_parser("gate", help="wait until enough data nodes answer for pgpool to serve")
    gate.add_argument("--cluster", default=CLUSTER_FILE, metavar="FILE", help="default: %(default)s")
    gate.set_defaults(run=_gate)
    return parser


def _named(parser: argparse.ArgumentParser, cluster: str, whose: str = "its") -> None:
    """What each process of a host or a pod has to be told: the description, *cluster* by default, and who it is."""
    parser.add_argument("--cluster", default=cluster, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--host", required=True, metavar="NAME", help=f"{whose} name in the inventory")


def _by_hand(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    codes = "Exit codes: 0 done, or nothing to do; 3 refused or failed."
    words = "hand over to a node; its agent does it, and each step is shown"
    switchover = commands.add_parser("switchover", help=words, description=f"{words.capitalize()}.", epilog=codes)
    switchover.add_argument("to", nargs="?", default="", metavar="NAME", help="default: the best standby")
    switchover.add_argument("--force", action="store_true", help="though something speaks against it")
    switchover.set_defaults(run=_switchover)
    words = "bring a node back as a standby; its agent does it, and each step is shown"
    rejoin = commands.add_parser("rejoin", help=words, description=f"{words.capitalize()}.", epilog=codes)
    rejoin.add_argument("name", nargs="?", default="", metavar="NAME", help="default: the node on this host")
    rejoin.add_argument("--postgres", type=int, default=0, metavar="MAJOR", help=TOLD)
    rejoin.set_defaults(run=_rejoin)
    for one in (switchover, rejoin):
        one.add_argument("--check", action="store_true", help="only say what would be done")
        one.add_argument("--cluster", default=CLUSTER_FILE, metavar="FILE", help="default: %(default)s")
        one.add_argument("--host", default="", metavar="NAME", help="this host's name; default: as its agent says")


def _failover(options: argparse.Namespace) -> int:
    if options.command == "promote" and (options.to or options.check or not options.host):
        return _promote(options)
    from .agent.command_part import ask
    from .places.chosen import commands

    words = {"promote": ("primary", "accept_loss"), "follow": ("upstream",)}.get(options.command, ())
    arguments = {word: getattr(options, word) for word in words}

    code = ask(options.command, arguments, say, commands())
    if code is not None:
        return code
    # No agent runs here: the same in this process.
    from .places.chosen import links_from
    from .promotion import command
    from .status.report import read_cluster

    cluster, me = read_cluster(options.cluster), options.host
    link = links_from(cluster, me)
    return int(getattr(command, options.command)(cluster, me, link, say, **arguments))


def _switchover(options: argparse.Namespace) -> int:
    from .places.by_hand import switchover
    from .status.report import read_cluster

    return switchover(read_cluster(options.cluster), options.host, options.to, options.check, options.force)


def _promote(options: argparse.Namespace) -> int:
    from .places.by_hand import promote
    from .status.report import read_cluster

    if options.primary:
        raise PgherdError("promote: --primary is repmgrd's.", "Leave it out: who was the primary is looked up.")
    return promote(read_cluster(options.cluster), options.host, options.to, options.check, options.accept_loss)


def _rejoin(options: argparse.Namespace) -> int:
    from .places.by_hand import rejoin
    from .status.report import read_cluster

    return rejoin(read_cluster(options.cluster), options.host, options.postgres, options.check, options.name)


def _guard(options: argparse.Namespace) -> int:
    from .data.rejoin_marker import marked
    from .nodes.evidence import take
    from .ports.identity import POSTGRES, become

    # The evidence is root's, and so is the process that PostgreSQL's unit begins. All that is read and written from here on is
    # what that user could have put there.
    evidence = take()
    become(POSTGRES)
    me = options.host
    if unfinished := marked():
        cure = "The agent clones it as soon as there is a primary."
        raise PgherdError(f"start {me}: an attempt to come back was interrupted ({unfinished}).", cure)
    if options.data:
        from .data.postmaster import forget_gone

        if gone := forget_gone(options.data):
            say(f"guard: {gone}")
    # A running agent was asked before this was called: see agent/guard_client.py.
    from .nodes import start
    from .nodes.guard import sentence
    from .places.chosen import here
    from .status.report import read_cluster

    mine = here(read_cluster(options.cluster), me, say, options.postgres)
    decision = start.decide(mine, evidence)
    say(sentence(me, decision))
    start.prepare(mine, decision)
    return 0


def _agent(options: argparse.Namespace) -> int:
    return _run_agent(options.cluster, options.host, options.postgres)


def _run_agent(cluster: str, host: str, postgres: int = 0) -> int:
    from .agent.secrets import secret_file
    from .places.chosen import run_agent

    return run_agent(secret_file(cluster), host, postgres)


def _pod(options: argparse.Namespace) -> int:
    from .places.chosen import run_pod
    from .status.report import read_cluster

    return run_pod(read_cluster(options.cluster), options.host, options.limit, options.cluster)


def _own(options: argparse.Namespace) -> int:
    from .places.chosen import own_secrets

    return own_secrets(options.cluster, options.host, options.secrets, options.again)


def _api(options: argparse.Namespace) -> int:
    from .places.chosen import run_api

    return run_api(options.host, say, options.cluster)


def _prestop(options: argparse.Namespace) -> int:
    from .places.chosen import prestop
    from .status.report import read_cluster

    return prestop(read_cluster(options.cluster), options.host, options.limit)


def _schedule(options: argparse.Namespace) -> int:
    from .places.chosen import run_schedule

    return run_schedule(say)


def _service(options: argparse.Namespace) -> int:
    from .places.chosen import pod_services

    answer = getattr(pod_services(), options.verb)(options.name)
    if answer:
        say(answer)
    return 0


def _gate(options: argparse.Namespace) -> int:
    from .pools.gate import wait
    from .ports.identity import POSTGRES, become
    from .status.report import read_cluster

    cluster = read_cluster(options.cluster)
    become(POSTGRES)
    return wait(cluster)


def _seconds(text: str) -> float:
    import argparse

    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _status(options: argparse.Namespace) -> int:
    from .observe.gather import observe
    from .places.words import words_of
    from .status.report import read_cluster, report

    cluster = read_cluster(options.cluster)
    if not os.access(MONITOR_PASSFILE, os.R_OK):
        raise PgherdError(f"read {MONITOR_PASSFILE}: not allowed, or not there.", "Run pgherd as root.")
    while True:
        began = time.monotonic()
        found = report(cluster, observe(cluster), words_of(cluster))
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
