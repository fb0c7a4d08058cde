# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which endpoints the agent of a host has, what stands behind them, and where they listen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..description import Told
from ..model import CA_FILE, SERVER_CERT_FILE, SERVER_KEY_FILE, Cluster
from ..pools.watch import Asker
from ..ports.run import LocalRunner
from .door import nobody_yet
from .health_part import HealthPart, WitnessPart
from .http import Answer, HttpPart, Route, as_json
from .known import Known
from .listen import and_at_home, here, own_addresses
from .part import Part
from .secrets import secret_file

if TYPE_CHECKING:
    from .barman_part import BarmanPart

BARMAN_PATH = "/barman"


def with_health(
    cluster: Cluster,
    me: str,
    wanted: Sequence[Part],
    begun: Mapping[str, float],
    unanswered: dict[str, int] | None = None,
    told: Callable[[], Told] | None = None,
) -> list[Part]:
    """The parts *wanted* on the host called *me*, and those that answer for it. *begun*: see loop.Agent; *unanswered*: where it
    is counted who was hung up on; *told*: by which description the agent goes."""
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
    given["peers"] = by_name.get("peer")
    given["node"] = by_name.get("node") or by_name.get("witness")
    given["pgpool"] = by_name.get("pgpool")
    given["barman"] = by_name.get("barman")
    if given["barman"]:
        routes[BARMAN_PATH] = partial(_barman, given["barman"])
    given["certificates"] = {"server": secret_file(SERVER_CERT_FILE), "authority": CA_FILE}
    unanswered = nobody_yet() if unanswered is None else unanswered
    look = HealthPart(cluster, me, kind, begun, **given, unanswered=unanswered, told=told)
    return [*every, look, *_listeners(cluster, me, look.routes(), routes, unanswered)]


def _kind(cluster: Cluster, me: str) -> str:
    if me in {item.name for item in cluster.pgpools}:
        return "pgpool"
    return "barman" if me in {item.name for item in cluster.barmans} else cluster.node(me).kind


def _barman(part: BarmanPart, _query: Mapping[str, str]) -> Answer:
    return as_json(part.view().to_dict())


def _local(cluster: Cluster, me: str) -> Asker:
    """A session on this host's own server, through its socket."""
    from ..observe.sessions import Sessions
    from ..programs.sessions import local_parameters

    return Sessions({me: lambda: {**local_parameters(cluster, cluster.node(me)), "application_name": "pgherd agent"}})


def _listeners(
    cluster: Cluster, me: str, public: Mapping[str, Route], more: Mapping[str, Route], unanswered: dict[str, int]
) -> list[Part]:
    """Where is listened: over TLS for everything, and without where the user has named addresses for that."""
    runner, options = LocalRunner(), cluster.options
    host = next(item for item in cluster.hosts if item.name == me)
    named = list(options.agent_listen)
    plain = list(options.agent_plain_listen)

    def where() -> list[str]:
        if named:
            return and_at_home(host.address, here(runner, named, "cluster_agent_listen"))
        return and_at_home(host.address, own_addresses(host.address, host.origins.short, runner))

    known = Known(
        [(item.address, place) for item in cluster.hosts for place in item.origins.short or ("",)],
        list(options.agent_clients),
    )
    port = options.agent_port
    own = (secret_file(SERVER_CERT_FILE), secret_file(SERVER_KEY_FILE))
    common: dict[str, Any] = {"known": known, "unanswered": unanswered}
    doors: list[Part] = [HttpPart(where, port, {**public, **more}, *own, **common)]
    if plain:
        port = options.agent_plain_port
        variable = "cluster_agent_plain_listen"

        def plainly() -> list[str]:
            return here(runner, plain, variable)

        doors.append(HttpPart(plainly, port, public, secure=False, name="http-plain", **common))
    return doors
