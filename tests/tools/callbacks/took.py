# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Appends to the file that PGHERD_TOOK names, as a line of JSON, what each run of a playbook took; read by minutes.py."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: took
type: aggregate
short_description: what each run of a playbook took
description: Appends to the file that PGHERD_TOOK names.
"""


class CallbackModule(CallbackBase):
    """A run that is killed ends without a word, and is not written down."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "took"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._began, self._name = time.time(), Path(playbook._file_name).stem

    def v2_playbook_on_stats(self, stats: Any) -> None:
        said = {"name": self._name, "began": self._began, "seconds": time.time() - self._began}
        with open(os.environ["PGHERD_TOOK"], "a", encoding="utf-8") as file:
            file.write(json.dumps(said) + "\n")
