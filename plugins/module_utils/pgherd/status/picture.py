# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The status picture: one line of health, the tree, the pgpools and barmans, the problems. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

from ..model import Cluster
from ..observe.topology import Topology
from ..observe.views import BarmanSeen, NodeView, PgpoolView, RepmgrView
from .checks_services import DOWN, wal_age
from .health import health_line, paint
from .problem import Problem, Words, down_since, duration, names, size

WIDTH = 100
HEADINGS = ("NODE", "ROLE", "STATE", "TL", "LAG", "SYNC", "REPMGR", "REPMGRD", "PGPOOL", "SEEN")
# What a narrower terminal leaves out, first to last.
DROPPED = ("SEEN", "SYNC", "PGPOOL", "REPMGR", "REPMGRD", "TL")
RIGHT = ("TL", "SEEN")
_PAINT = re.compile("\033\\[\\d+m")
COLOURS = {"critical": "red", "warning": "yellow", "unknown": "yellow"}


def picture(
    cluster: Cluster,
    topology: Topology,
    problems: Sequence[Problem],
    words: Words,
    width: int = WIDTH,
    colour: bool = False,
    missing: Sequence[str] = (),
) -> str:
    """The whole, in lines of at most min(*width*, 100) columns; only a command longer than that stands longer, and the line
    of health, whose parts go on in another line after 100.

    *words* puts cures into commands. *missing* are hosts that the caller itself could not reach, for the line of health.
    """
    width = min(width, WIDTH)
    lines = _opening(health_line(cluster, topology, problems, colour, missing))
    lines += _table([HEADINGS, *_rows(cluster, topology)], width, colour)
    for line in _services(topology):
        lines += textwrap.wrap(line, width, subsequent_indent="  ", drop_whitespace=True)
    for _cure, group in groupby(problems, key=lambda problem: problem.cure):
        lines += _problems(topology, list(group), words, width, colour)
    return "\n".join(lines)


def _opening(line: str) -> list[str]:
    """The line of health; what goes beyond WIDTH, by long names, in lines of their own. No part is torn."""
    first, *rest = line.split("  ")
    lines = [first]
    for part in rest:
        joined = f"{lines[-1]}  {part}"
        if len(_PAINT.sub("", joined)) <= WIDTH:
            lines[-1] = joined
        else:
            lines.append(f"  {part}")
    return lines


def _table(rows: Sequence[Sequence[str]], width: int, colour: bool) -> list[str]:
    """Columns as wide as what they hold; those in DROPPED go until it fits."""
    shown = list(HEADINGS)
    widths = {heading: max(len(row[index]) for row in rows) for index, heading in enumerate(HEADINGS)}
    for heading in DROPPED:
        if sum(widths[item] + 2 for item in shown) - 2 > width:
            shown.remove(heading)
    lines = []
    for number, row in enumerate(rows):
        cells = []
        for heading in shown:
            text = row[HEADINGS.index(heading)]
            padded = text.rjust(widths[heading]) if heading in RIGHT else text.ljust(widths[heading])
            cells.append(paint(padded, _cell_colour(text), colour and number > 0))
        lines.append("  ".join(cells).rstrip())
    return lines


def _cell_colour(text: str) -> str:
    if text in ("down", "no stream", "?") or text.startswith("down"):
        return "red"
    return "yellow" if text in ("paused", "starting") or text.startswith("cloning") else ""


def _rows(cluster: Cluster, topology: Topology) -> Iterator[Sequence[str]]:
    for node, prefix in _tree(cluster, topology):
        yield (
            prefix + node.name,
            _role(node),
            _state(topology, node),
            str(node.postgres.timeline) if node.postgres and node.kind == "postgres" else "-" if node.postgres else "?",
            _lag(topology, node),
            _sync(topology, node),
            _registered(topology, node),
            _daemon(node),
            _backends(topology, node),
            _seen(cluster, topology, node),
        )


def _tree(cluster: Cluster, topology: Topology) -> Iterator[tuple[NodeView, str]]:
    """Each node below the one it streams from now, or by repmgr's metadata; with its branch in characters."""
    below: dict[str, list[NodeView]] = {}
    for node in topology.nodes:
        below.setdefault(_parent(cluster, topology, node), []).append(node)
    drawn: set[str] = set()

    def draw(node: NodeView, first: str, rest: str) -> Iterator[tuple[NodeView, str]]:
        if node.name in drawn:
            return
        drawn.add(node.name)
        yield node, first
        children = below.get(node.name, [])
        for child in children:
            last = child is children[-1]
            yield from draw(child, rest + ("`- " if last else "|- "), rest + ("   " if last else "|  "))

    for node in (*below.get("", []), *topology.nodes):
        yield from draw(node, "", "")


def _parent(cluster: Cluster, topology: Topology, node: NodeView) -> str:
    if node.writable or node.kind != "postgres":
        return ""
    metadata = _metadata(topology)
    guesses = [topology.upstream(node.name), metadata.upstream_of(node.name) if metadata else ""]
    if not metadata:
        guesses.append(cluster.node(node.name).upstream)
    return next((guess for guess in guesses if topology.node(guess)), "")


def _metadata(topology: Topology) -> RepmgrView | None:
    """repmgr's metadata on the live primary, or without one on the first node that has some."""
    return topology.metadata() or next((view.repmgr for view in topology.nodes if view.repmgr), None)


def _role(node: NodeView) -> str:
    if node.kind != "postgres":
        return node.kind
    if not node.postgres:
        return "?"
    return "primary" if node.writable else "standby"


def _state(topology: Topology, node: NodeView) -> str:
    copy = topology.copying(node.name)
    if not node.postgres and copy:
        return f"cloning {100 * copy.done_bytes // copy.total_bytes}%" if copy.total_bytes else "cloning"
    if not node.postgres:
        return "starting" if "starting up" in node.why else "down" if node.refused else "?"
    if node.writable:
        return "running"
    if not topology.upstream(node.name):
        return "no stream"
    return "paused" if node.postgres.replay_paused else "streaming"


def _lag(topology: Topology, node: NodeView) -> str:
    if node.writable:
        return "-"
    lag = topology.lag(node.name)
    if lag.size is None:
        return "?"
    return f"{size(lag.size)}/" + ("?" if lag.seconds is None else duration(lag.seconds))


def _sync(topology: Topology, node: NodeView) -> str:
    live = topology.live_primary()
    if node.writable or node.kind != "postgres":
        return "-"
    if not live or not live.postgres or live.postgres.details_why:
        return "?"
    rows = [row.sync_state for row in live.postgres.senders if row.application_name == node.name and row.trusted]
    # A standby of a standby confirms nothing to the primary; its sender has no say in that.
    return rows[0] if rows else "async" if topology.upstream(node.name) else "-"


def _registered(topology: Topology, node: NodeView) -> str:
    metadata = _metadata(topology)
    if not metadata:
        return "?"
    row = metadata.of(node.name)
    return "-" if not row else row.type if row.active else f"({row.type})"


def _daemon(node: NodeView) -> str:
    if not node.repmgr:
        return "?"
    return "down" if not node.repmgr.running else "paused" if node.repmgr.paused else "running"


def _backends(topology: Topology, node: NodeView) -> str:
    if node.kind != "postgres" or not topology.pgpools:
        return "-"
    said = []
    for pool in topology.pgpools:
        backend = pool.backend(node.name)
        status = backend.status if backend else "-" if pool.backends is not None else "?"
        said.append("up" if status == "waiting" else status)
    return said[0] if len(set(said)) == 1 else "/".join(said)


def _seen(cluster: Cluster, topology: Topology, node: NodeView) -> str:
    if node.postgres:
        return duration(max(0.0, topology.seen_at - node.seen_at))
    since = down_since(topology, cluster.node(node.name))
    return duration(topology.seen_at - since) if since else "?"


def _services(topology: Topology) -> Iterator[str]:
    hosts = [pool.name for pool in topology.pgpools] + [host.name for host in topology.barmans]
    width = max(map(len, hosts), default=0)
    for pool in topology.pgpools:
        yield f"{pool.name.ljust(width)}  pgpool  {_pgpool(topology, pool)}"
    for host in topology.barmans:
        yield f"{host.name.ljust(width)}  barman  {_barman(topology, host)}"


def _pgpool(topology: Topology, pool: PgpoolView) -> str:
    if pool.backends is None:
        return f"? {pool.why}"
    # Not the gaps between its numbers, nor a node that has left.
    mine = [backend for backend in pool.backends if topology.node(backend.node)]
    up = [backend for backend in mine if backend.status not in DOWN]
    primary = names([backend.node for backend in up if backend.role == "primary"]) or "none"
    return f"backends {len(up)}/{len(mine)}  primary {primary}"


def _barman(topology: Topology, host: BarmanSeen) -> str:
    view = host.view
    if view is None:
        return f"? {host.why}"
    last, age = view.last_backup, wal_age(topology, view)
    backup = "none" if view.backups is not None else "?"
    if last and last.end is not None:
        backup = f"{duration(topology.seen_at - last.end)} ago"
        backup += f" ({size(last.size)})" if last.size else ""
    receiving = {True: "receiving", False: "NOT receiving", None: "receiving ?"}[view.receiving]
    checks = "?" if view.checks is None else f"{len(view.failed_checks)} failed" if view.failed_checks else "ok"
    archived = "?" if age is None else f"{duration(age)} ago"
    return f"last backup {backup}  WAL {receiving}, archived {archived}  checks {checks}"


def _problems(topology: Topology, problems: Sequence[Problem], words: Words, width: int, colour: bool) -> Iterator[str]:
    """Problems that one command cures: a line or more for each, then the command."""
    for problem in problems:
        since = f" (for {duration(topology.seen_at - problem.since)})" if problem.since else ""
        text = textwrap.wrap(f"! {problem.text}{since}", width, subsequent_indent="  ", break_long_words=False)
        yield from (paint(line, COLOURS[problem.severity], colour) for line in text)
    cure = problems[0].cure
    yield f"  {cure.on}# {words(cure)}" if cure.on else f"  $ {words(cure)}"
