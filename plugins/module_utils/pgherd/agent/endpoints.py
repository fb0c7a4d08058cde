# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which endpoints the agent of a host has, what stands behind them, and where they listen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..model import SERVER_KEY_FILE, Barman, Cluster, Node, Pgpool
from ..pools.watch import Asker
from ..ports.run import LocalRunner
from .health_part import HealthPart, WitnessPart
from .http import Answer, HttpPart, Route, as_json
from .listen import here, own_address
from .loop import Part, secret_file

if TYPE_CHECKING:
    from .barman_part import BarmanPart

BARMAN_PATH = "/barman"
PORT, PLAIN_PORT = 8765, 8766


def with_health(cluster: Cluster, me: str, wanted: Sequence[Part], begun: Mapping[str, float]) -> list[Part]:
    """The parts *wanted* on the host called *me*, and those that answer for it. *begun*: see loop.Agent."""
    every: list[Part] = list(wanted)
    given: dict[str, Any] = {}
    routes: dict[str, Route] = {}
    kind = _kind(cluster, me)
    if kind in ("postgres", "witness"):
        given["asker"] = _local(cluster, me)
    if kind == "witness":
        every.append(WitnessPart(me, _local(cluster, me)))
    # By the parts' names, so that no host loads what it does not run.
    by_name: dict[str, Any] = {part.name: part for part in every}
    given["commands"] = by_name.get("command")
    given["node"] = by_name.get("node") or by_name.get("witness")
    given["pgpool"] = by_name.get("pgpool")
    given["barman"] = by_name.get("barman")
    if given["barman"]:
        routes[BARMAN_PATH] = partial(_barman, given["barman"])
    look = HealthPart(cluster, me, kind, begun, **given)
    return [*every, look, *_doors(cluster, me, look.routes(), routes)]


def _kind(cluster: Cluster, me: str) -> str:
    if me in {item.name for item in cluster.pgpools}:
        return "pgpool"
    return "barman" if me in {item.name for item in cluster.barmans} else cluster.node(me).kind


def _barman(part: BarmanPart, _query: Mapping[str, str]) -> Answer:
    return as_json(part.view().to_dict())


def _local(cluster: Cluster, me: str) -> Asker:
    """A session on this host's own server, through its socket."""
    from ..failover.voice import local_parameters
    from ..observe.sessions import Sessions

    given = {**local_parameters(cluster, cluster.node(me)), "application_name": "pgherd agent"}
    return Sessions({me: given})


def _doors(cluster: Cluster, me: str, public: Mapping[str, Route], more: Mapping[str, Route]) -> list[Part]:
    """Where is listened: over TLS for everything, and without where the user has named addresses for that."""
    runner, options = LocalRunner(), cluster.options
    every: tuple[Node | Pgpool | Barman, ...] = (*cluster.nodes, *cluster.pgpools, *cluster.barmans)
    host = next(item for item in every if item.name == me)
    named = [str(entry) for entry in options.get("agent_listen") or ()]
    plain = [str(entry) for entry in options.get("agent_plain_listen") or ()]

    def where() -> list[str]:
        return here(runner, named, "cluster_agent_listen") if named else [own_address(host.address, host.ip)]

    port = int(options.get("agent_port") or PORT)
    doors: list[Part] = [HttpPart(where, port, {**public, **more}, key=secret_file(SERVER_KEY_FILE))]
    if plain:
        port = int(options.get("agent_plain_port") or PLAIN_PORT)
        variable = "cluster_agent_plain_listen"
        doors.append(HttpPart(lambda: here(runner, plain, variable), port, public, secure=False, name="http-plain"))
    return doors
