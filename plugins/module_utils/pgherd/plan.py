# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What is to be done, as data: check mode, diff, ``changed`` and log lines are all derived from a Plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Step:
    """One step: the name of the executor's method, its arguments, and a sentence for people.

    *args* are hidden from representations, since they may hold a password.
    """

    action: str
    what: str
    args: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Plan:
    """The way from *before* to *after* of one *subject*. Both states are plain data without secrets."""

    subject: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    steps: tuple[Step, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.steps)

    def apply(self, executor: Any) -> list[Any]:
        """Run each step as ``executor.<action>(**args)``, in order; return what the methods returned.

        The first error ends the run and passes through: steps are ordered so that a second run can go on from there.
        """
        return [getattr(executor, step.action)(**step.args) for step in self.steps]

    def describe(self) -> list[str]:
        """One sentence per step."""
        return [step.what for step in self.steps]
