# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Waits until all that decides in a pod goes by one description. The pod sees by itself that another one is mounted, and its
agent takes it up unasked; here it is only asked."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import PgherdError, Unreachable
from ...ports.services import AGENT, Services
from ...ports.wait import wait_for
from ..deciding import wait_for_commands

# Seconds until a kubelet has shown the pod what the ConfigMap says, and that the agent has after that before it is restarted.
MOUNTED, LIMIT = 180.0, 60.0
# Seconds from one look to the next, and for an answer.
AGAIN, ANSWER = 0.5, 5.0

Says = Callable[[], Mapping[str, Any]]


def agent_says(address: str, port: int) -> Mapping[str, Any]:
    """What the agent of this pod, at *address*, says of the description that it goes by: nothing where it does not answer. Its
    certificate is not looked at: who answers there is this pod."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(address, port, timeout=ANSWER, context=context)
    try:
        connection.request("GET", "/live")
        return dict(json.loads(connection.getresponse().read()).get("description") or {})
    except (OSError, ValueError, AttributeError, TypeError, http.client.HTTPException):
        return {}
    finally:
        connection.close()


def wait(
    name: str,
    wanted: str,
    there: Callable[[], str],
    says: Says,
    services: Services,
    commands: Callable[[], None] = wait_for_commands,
    mounted: float = MOUNTED,
    limit: float = LIMIT,
) -> None:
    """Wait until the pod *name* goes by the description with the digest *wanted*: that it is *there*, in the pod's own file, that
    the agent *says* so, and that no command is left which began by another one. An agent that does not get there within *limit*
    seconds is restarted: what was under way ends with it. Raises Unreachable."""
    attempted = f"have {name} go by the description {wanted}"
    _until(lambda: "" if there() == wanted else "the pod has not seen it", mounted, attempted)
    try:
        _until(lambda: _lacks(says(), wanted), limit, attempted)
    except Unreachable:
        services.restart(AGENT)
        _until(lambda: _lacks(says(), wanted), limit, attempted)
    commands()
    # Another one may have come meanwhile: then it is not this stage that is over.
    _until(lambda: "" if there() == wanted else "it has been replaced by another", 0.0, attempted)


def _lacks(said: Mapping[str, Any], wanted: str) -> str:
    if said.get("digest") == wanted and not said.get("refused"):
        return ""
    if not said:
        return "its agent does not answer"
    more = " and refuses what is there" if said.get("refused") else ""
    waits = f", and waits for {said['waits']}" if said.get("waits") else ""
    return f"its agent goes by {said.get('digest')}{more}{waits}"


def _until(lacks: Callable[[], str], limit: float, attempted: str) -> None:
    def why() -> str:
        try:
            return lacks().rstrip(".")
        except PgherdError as error:
            return str(error).rstrip(".")

    wait_for(why, limit, attempted, "See the log of the pod, and run again.", AGAIN)
