"""
Gauges that are exported only while their value is known: measured from time to time, or read from
memory when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orderflow.messaging.telemetry.metrics import NAMESPACE, declare

Values = Mapping[tuple[str, ...], float]
"""The value of each series, by its labels."""


class _Gauge(Collector):
    """`orderflow_<name>`; without any values it is not exported at all."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._name, self._documentation = f"{NAMESPACE}_{name}", documentation
        self._labels = tuple(labels)
        registry.register(self)
        declare(self._name, "gauge", labels, documentation)

    def values(self) -> Values:
        raise NotImplementedError

    def collect(self) -> Iterator[Metric]:
        if values := self.values():
            yield self._family(values)

    def describe(self) -> Iterable[Metric]:
        """What the registry refuses a second metric of the same name by."""
        return [self._family({})]

    def _family(self, values: Values) -> Metric:
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, value in values.items():
            family.add_metric(labels, value)
        return family


class MeasuredGauge(_Gauge):
    """
    A gauge whose series are exported from the first `set` until `hide`, and again from the next
    `set`: an old value is never shown as if it were new. Any thread may call.
    """

    _values: Values = MappingProxyType({})

    def set(self, value: float, *labels: str) -> None:
        """Export `value` for these labels. Raises ValueError on too few or too many labels."""
        if len(labels) != len(self._labels):
            raise ValueError(f"{self._name} has the labels {', '.join(self._labels) or 'none'}")
        self._values = {**self._values, labels: value}

    def hide(self, *labels: str) -> None:
        """Export nothing for these labels; without any, nothing at all. The next `set` does."""
        kept = self._values if labels else {}
        self._values = {known: value for known, value in kept.items() if known != labels}

    def values(self) -> Values:
        return self._values


class ComputedGauge(_Gauge):
    """
    A gauge that is read from memory whenever somebody asks for it, once it has a source.
    """

    _sources: tuple[Callable[[], Values], ...] = ()

    def follow(self, source: Callable[[], Values]) -> None:
        """Export what `source` returns, from any thread: at once, and without waiting."""
        self._sources = (*self._sources, source)

    def values(self) -> Values:
        values: dict[tuple[str, ...], float] = {}
        for source in self._sources:
            # What can't be read is not exported; the other metrics are.
            with suppress(Exception):
                values.update(source())
        return values
