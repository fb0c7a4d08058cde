# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What hosts said in this run is read on the control machine: what is wrong with it becomes one sentence. **PRIVATE**."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ansible.errors import AnsibleError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import PgherdError


@contextmanager
def reading(what: str, cure: str, kind: type[AnsibleError] = AnsibleError) -> Iterator[None]:
    """For a block that reads *what*. Raises the *kind* of error that its plugin is to raise: the core's sentence, or where an
    answer is none, that *what* could not be read, why, and the *cure*."""
    try:
        yield
    except PgherdError as error:
        raise kind(str(error)) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise kind(f"Read {what}: {type(error).__name__}: {error}. {cure}") from error
