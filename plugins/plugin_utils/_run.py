# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What this run has checked or made on the control machine, so that nothing else is taken for it. **PRIVATE**.

The cluster and the place of its secrets are facts, and any task's result may hold facts: a host could answer with a cluster
of its own, and have certificates made in the name of another. What is believed stands in a directory of this run alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

from ansible import constants
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError


def remember(what: str, value: Any) -> None:
    """From now on the *value*, plain data, may be believed where *what* is asked for."""
    with open(_file(what, value), "w", encoding="utf-8"):
        pass


def believe(what: str, value: Any) -> Any:
    """The *value*. Raises ConfigError where this run did not remember it."""
    if not os.path.exists(_file(what, value)):
        raise ConfigError(
            [
                f"{what} is not what was checked on the control machine in this run; let role pgherd.cluster.cluster come "
                "first, and if it did, look at the host: what it answered may have put another in its place."
            ]
        )
    return value


def leave(what: str, value: Any) -> None:
    """Leave the *value*, plain data, to the rest of this run under the name *what*."""
    with open(_file(what, None), "w", encoding="utf-8", opener=_private) as stream:
        json.dump(value, stream)


def recall(what: str, otherwise: Any = None) -> Any:
    """What was left as *what*; *otherwise* where nothing was. Raises ConfigError where there is no otherwise either."""
    try:
        with open(_file(what, None), encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError as error:
        if otherwise is not None:
            return otherwise
        raise ConfigError([f"{what} is not known in this run; let role pgherd.cluster.cluster come first."]) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def removal_of(node: str) -> str:
    """As what the cluster with and without the *node*, which this run removes, is left."""
    return f"removal of {node}"


def _file(what: str, value: Any) -> str:
    text = json.dumps([what, value], sort_keys=True)
    # Made by the first process of this run for its owner alone, inherited by all workers, and gone with it.
    return os.path.join(str(constants.DEFAULT_LOCAL_TMP), f"pgherd-{hashlib.sha256(text.encode()).hexdigest()}")
