# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Samples as Prometheus reads them, written by its own library (Debian: python3-prometheus-client, 0.16 and 0.21)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..errors import PgherdError
from .http import Answer
from .metrics import NAMES, Samples


class Exposition:
    """Writes what *collect* gives, and what the process itself costs (``process_*``). The library is loaded for the first
    who asks: it takes some megabytes, and not every cluster is watched so."""

    def __init__(self, collect: Callable[[], Samples]) -> None:
        self._collect = collect
        self._registry: Any = None

    def answer(self) -> Answer:
        """The text. Raises PgherdError where the library is not installed."""
        try:
            from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
        except ImportError as error:
            cure = "Install python3-prometheus-client; the site playbook does."
            raise PgherdError(f"write metrics: {error}.", cure) from error
        if self._registry is None:
            self._registry = CollectorRegistry(auto_describe=False)
            ProcessCollector(registry=self._registry)
            self._registry.register(self)
        return Answer(200, generate_latest(self._registry).decode(), CONTENT_TYPE_LATEST)

    def describe(self) -> Iterator[Any]:
        """See prometheus_client: nothing is promised before it is there."""
        return iter(())

    def collect(self) -> Iterator[Any]:
        """See prometheus_client."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for name, values in self._collect().items():
            metric = NAMES[name]
            kind = CounterMetricFamily if metric.counter else GaugeMetricFamily
            family = kind(name, metric.help, labels=metric.labels)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family
