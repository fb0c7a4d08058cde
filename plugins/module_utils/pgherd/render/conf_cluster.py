# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The cluster's description, which agent, command and start guard count by.

It has every setting of the user's, some of which hold a password though they should not: whoever decides by it may read it.
"""

from __future__ import annotations

import json

from ..model import Cluster


def text(cluster: Cluster) -> str:
    """The description, the same for every host."""
    return json.dumps(cluster.to_dict(), indent=1, sort_keys=True) + "\n"
