# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's part in a pod that writes the pod's files anew when the mounted description or the pod's secrets have changed, and
has them read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence

from ...agent.part import Decision, Replaceable
from ...data.datadir import SIGNAL
from ...description import Description, read
from ...errors import PgherdError
from ...layout import layout, version_of
from ...model import CA_FILE, SERVER_CERT_FILE, SERVER_KEY_FILE, Cluster, Node
from ...ports.run import LocalRunner
from ...ports.services import PGPOOL, RUNNING, STARTING, Services
from ...programs import pgpool
from ...programs.postgres import control_data, control_limits
from . import files

# What pgpool reads, whose copies tell later what it runs with; see pools/pgpool_service.py.
READ = (pgpool.CONFIGURATION, pgpool.PASSWORDS, pgpool.HBA, SERVER_CERT_FILE)


def least(cluster: Cluster, name: str) -> Mapping[str, int]:
    """What the standby called *name* must have at least, by its pg_control; nothing for what is none."""
    host = files.host_of(cluster, name)
    if not isinstance(host, Node):
        return {}
    there = layout(cluster, version_of(host))
    if not all(os.path.exists(os.path.join(there.data, file)) for file in (SIGNAL, "global/pg_control")):
        return {}
    return control_limits(control_data(there, LocalRunner()))


def write(name: str, path: str = files.CONFIG) -> tuple[Cluster, list[tuple[str, str]]]:
    """Have the files of the pod called *name* be as the description at *path* wants them: the cluster, and what has to know that
    they changed, see files.effects(). Raises PgherdError."""
    found: Description = read(path)
    with open(path, encoding="utf-8") as stream:
        text = stream.read()
    cluster = found.cluster
    wanted = files.files(cluster, text, name, files.passwords(), least(cluster, name))
    return cluster, files.effects(cluster, name, wanted, files.write(wanted))


def copy_what_pgpool_reads() -> None:
    """Have copies of what pgpool reads now. Raises PgherdError."""
    try:
        os.makedirs(pgpool.LOADED, mode=0o700, exist_ok=True)
        for path in READ:
            shutil.copy2(path, pgpool.LOADED)
    except OSError as error:
        raise PgherdError(f"copy what pgpool reads to {pgpool.LOADED}: {error.strerror}.") from error


class FilesPart(Replaceable):
    """Looks whether the description at *path* is another one, and *fits*, which raises for one that is not for this pod. Its
    files stay as they are while it is not. Also looks at what `pgherd own` leaves, which is renewed: passwords, and *owned*."""

    name = "files"
    interval = 1.0

    def __init__(
        self,
        host: str,
        services: Services,
        fits: Callable[[Cluster], object],
        path: str = files.CONFIG,
        owned: Sequence[str] = (files.PASSWORDS, SERVER_CERT_FILE, SERVER_KEY_FILE, CA_FILE),
    ) -> None:
        self._host = host
        self._services = services
        self._fits = fits
        self._path = path
        self._owned = owned
        self._seen: tuple[tuple[int, ...], ...] = ()
        # What is left to be done for what was written.
        self._left: list[tuple[str, str]] = []

    def tick(self, now: float) -> Sequence[Decision]:
        """See part.Part."""
        described, *owned = signature = tuple(map(files.signature, (self._path, *self._owned)))
        if not described:
            raise PgherdError(f"look at {self._path}: there is no such file.")
        if signature != self._seen:
            self._fits(read(self._path).cluster)
            cluster, effects = write(self._host, self._path)
            if owned != [*self._seen[1:]]:
                effects = [*effects, *files.certified(cluster, self._host)]
            self._left = list(dict.fromkeys([*self._left, *effects]))
            self._seen = signature
        decisions = []
        for effect in tuple(self._left):
            verb, service = effect
            state = self._services.state(service)
            if state == STARTING and self._services.process(service):
                # It has read what was there before, and is not up yet: it is told when it is.
                continue
            if state == RUNNING:
                self._tell(verb, service)
                decisions.append(Decision(f"{verb} {service}: its files have changed"))
            self._left.remove(effect)
        return decisions

    def _tell(self, verb: str, service: str) -> None:
        """Have a *service* that runs go by its files. Nothing is waited for: what has to be there before it starts, such as the
        node's registration, may need what this part writes next."""
        if verb == "restart":
            self._services.restart(service, wait=False)
            return
        if service == PGPOOL:
            copy_what_pgpool_reads()
        self._services.reload(service)

    def close(self) -> None:
        """See part.Part."""

    def take_over(self, before: object) -> None:
        """See part.Replaceable: what was written is known."""
        if isinstance(before, FilesPart):
            self._seen, self._left = before._seen, before._left
