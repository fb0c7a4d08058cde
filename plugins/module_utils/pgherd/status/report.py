# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What is handed out about a cluster: the document, the picture, the line and the exit code, all from one topology."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import PgherdError
from ..model import CLUSTER_FILE, Cluster
from ..observe.topology import SCHEMA_VERSION, Topology
from .health import WORDS, health_line
from .picture import WIDTH, picture
from .problem import Limits, Problem
from .problems import DEFAULTS, exit_code, problems


@dataclass(frozen=True)
class Report:
    """A cluster, what was observed of it, and what is wrong with that. *missing*: hosts the caller could not reach."""

    cluster: Cluster
    topology: Topology
    problems: tuple[Problem, ...]
    missing: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 healthy, 1 warning, 2 critical, 3 unknown."""
        return exit_code(self.problems)

    def line(self, colour: bool = False) -> str:
        """One line of health."""
        return health_line(self.cluster, self.topology, self.problems, colour, self.missing)

    def picture(self, width: int = WIDTH, colour: bool = False) -> str:
        """The picture for a terminal *width* columns wide."""
        return picture(self.cluster, self.topology, self.problems, width, colour, self.missing)

    def document(self) -> dict[str, Any]:
        """Plain data as docs/status.schema.json says."""
        return {
            "schema": SCHEMA_VERSION,
            "health": WORDS[self.exit_code].lower(),
            "exit_code": self.exit_code,
            "line": self.line(),
            "problems": [problem.to_dict() for problem in self.problems],
            "topology": self.topology.to_dict(),
        }


def report(cluster: Cluster, topology: Topology, limits: Limits = DEFAULTS, missing: Sequence[str] = ()) -> Report:
    """All that can be said of *topology*."""
    return Report(cluster, topology, problems(cluster, topology, limits), tuple(missing))


def read_cluster(path: str = CLUSTER_FILE) -> Cluster:
    """The cluster from its file. Raises PgherdError when it is missing or not one."""
    try:
        return Cluster.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise PgherdError(
            f"read {path}: {error.strerror}.", "The site playbook writes it on every host of a cluster."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise PgherdError(
            f"read {path}: it does not describe a cluster ({error}).", "Run the site playbook."
        ) from error
