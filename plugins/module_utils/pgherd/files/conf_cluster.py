# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The cluster's description, which agent, command and start guard count by."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..model import CLUSTER_FILE, Cluster
from .hostfiles import File
from .render import HostFacts


def files(cluster: Cluster, name: str, facts: HostFacts, secrets: Mapping[str, str]) -> list[File]:
    """The description, the same for every host *name*."""
    text = json.dumps(cluster.to_dict(), indent=1, sort_keys=True) + "\n"
    return [File("/etc/pgherd", kind="directory", mode="0755"), File(CLUSTER_FILE, text)]
