# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Process 1 of a test's pod: ``pod_process.py DIRECTORY LIMIT VERSION``, with a real PostgreSQL there and some programs of the
shell.

With ``RUNTIME POD MACHINE`` besides, the directory is a volume that the pod has to have the lock of ('-' for POD: it asks for
none), RUNTIME is the pod's own directory, and MACHINE a file that says on which machine it runs.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "plugins/module_utils"))

from pgherd.layout import debian
from pgherd.places.pod import lock_file
from pgherd.places.pod.keeper import Keeper, lock_of
from pgherd.places.pod.processes import children
from pgherd.places.pod.program import ALWAYS, NEVER, Program
from pgherd.places.pod.programs import postgres
from pgherd.places.pod.services import serve
from pgherd.places.pod.supervisor import Supervisor, kill_all
from pgherd.ports.identity import POSTGRES, become
from pgherd.ports.services import AGENT


def shell(text: str, **how: object) -> Program:
    return Program(("/bin/sh", "-c", text), **how)  # type: ignore[arg-type]


def stubborn(place: str, *stops: tuple[signal.Signals, float]) -> Program:
    """One that no signal but SIGKILL ends, and that says when it has got so far."""
    return shell(
        f"trap '' TERM INT; touch {place}/trapped; while :; do sleep 0.1; done",
        before=(("/bin/rm", "-f", f"{place}/trapped"),),
        ready=lambda _pid: Path(place, "trapped").exists(),
        stops=stops,
    )


def say(line: str) -> None:
    print(f"{time.monotonic():.2f} {line}", flush=True)


def two_lives(place: str, limit: float, version: int, runtime: str, pod: str, machine: str) -> None:
    """A pod that has a server alone, on a volume."""
    layout = replace(debian(version, f"{place}/data"), configuration=place)
    server = postgres(layout, ("/bin/true",))
    server = replace(server, argv=(*server.argv, "-k", runtime))
    lock_file.BOOT = machine
    keeper = Keeper(
        [] if pod == "-" else [place], lock_of({"POD_UID": f"uid-{pod}", "POD_NODE": f"node-{pod}"}, pod), say
    )
    if not keeper.hold():
        return
    supervisor = Supervisor({"postgres": server}, say, None, keeper.barred)
    keeper.keep(kill_all)
    serve(supervisor, f"{runtime}/services")
    supervisor.run(["postgres"], limit)
    if not children(os.getpid()):
        keeper.end()


if __name__ == "__main__":
    place, limit, version = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    become(POSTGRES)
    if len(sys.argv) > 4:
        two_lives(place, limit, version, *sys.argv[4:])
        raise SystemExit
    layout = replace(debian(version, f"{place}/data"), configuration=place)
    guard = ("/bin/sh", "-c", f"echo asked >> {place}/guard; ! test -e {place}/refuse")
    supervisor = Supervisor(
        {
            "postgres": postgres(layout, guard),
            AGENT: shell("exec sleep 1000", again=ALWAYS, pause=0.1),
            "stubborn": stubborn(place, (signal.SIGTERM, 0.3), (signal.SIGINT, 0.3)),
            "slow": stubborn(place, (signal.SIGTERM, 60.0)),
            "parent": shell(f"sleep 0.5 & echo $! > {place}/orphan", again=NEVER),
            "job": shell(f"sleep 0.3; ! test -e {place}/refuse || exit 3", again=NEVER, once=True),
            "member": shell(
                "exec sleep 1000", before=(("/bin/sh", "-c", f"until test -e {place}/registered; do sleep 0.1; done"),)
            ),
            "missing": Program(("/no/such/program",), again=NEVER),
        },
        say,
    )
    serve(supervisor, f"{place}/services")
    supervisor.run([AGENT], limit)
