# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What is handed out about a cluster: the document, the picture, the line and the exit code, all from one topology."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..description import read
from ..model import CLUSTER_FILE, Cluster
from ..observe.topology import SCHEMA_VERSION, Topology
from ..text import cleaned
from .health import WORDS, health_line
from .picture import WIDTH, picture
from .problem import Problem, Thresholds, Words
from .problems import DEFAULTS, exit_code, problems


@dataclass(frozen=True)
class Report:
    """A cluster, what was observed of it, and what is wrong with that. *words* puts cures into
    commands. *missing*: hosts the caller could not reach;
    *waiting*: what it left for when the primary has been restarted."""

    cluster: Cluster
    topology: Topology
    problems: tuple[Problem, ...]
    words: Words
    missing: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 healthy, 1 warning, 2 critical, 3 unknown."""
        return exit_code(self.problems)

    def line(self, colour: bool = False) -> str:
        """One line of health."""
        return health_line(self.cluster, self.topology, self.problems, colour, self.missing, self.waiting)

    def picture(self, width: int = WIDTH, colour: bool = False) -> str:
        """The picture for a terminal *width* columns wide."""
        return picture(self.cluster, self.topology, self.problems, self.words, width, colour, self.missing)

    def document(self) -> dict[str, Any]:
        """Plain data as docs/status.schema.json says."""
        return {
            "schema": SCHEMA_VERSION,
            "health": WORDS[self.exit_code].lower(),
            "exit_code": self.exit_code,
            "line": self.line(),
            "problems": [problem.to_dict(self.words) for problem in self.problems],
            "topology": self.topology.to_dict(),
        }


def report(
    cluster: Cluster,
    topology: Topology,
    words: Words,
    limits: Thresholds = DEFAULTS,
    missing: Sequence[str] = (),
    waiting: Sequence[str] = (),
) -> Report:
    """All that can be said of *topology*, whose texts are others': no control character of theirs reaches a terminal."""
    topology = cleaned(topology)
    return Report(cluster, topology, problems(cluster, topology, limits), words, tuple(missing), tuple(waiting))


def read_cluster(path: str = CLUSTER_FILE) -> Cluster:
    """The cluster from its file. Raises PgherdError when it is missing or not one."""
    return read(path).cluster
