"""Gauges of what is measured from time to time: exported only while the last measurement holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orderflow.messaging.telemetry.metrics import NAMESPACE


class MeasuredGauge(Collector):
    """
    `orderflow_<name>`, whose series are exported from the first `set` until `hide`, and again from
    the next `set`: an old value is never shown as if it were new. Any thread may call.
    """

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
        self._values: dict[tuple[str, ...], float] = {}
        registry.register(self)

    def set(self, value: float, *labels: str) -> None:
        """Export `value` for these labels. Raises ValueError on too few or too many labels."""
        if len(labels) != len(self._labels):
            raise ValueError(f"{self._name} has the labels {', '.join(self._labels) or 'none'}")
        self._values = {**self._values, labels: value}

    def hide(self, *labels: str) -> None:
        """Export nothing for these labels; without any, nothing at all. The next `set` does."""
        kept = self._values if labels else {}
        self._values = {known: value for known, value in kept.items() if known != labels}

    def collect(self) -> Iterator[Metric]:
        if values := self._values:
            yield self._family(values.items())

    def describe(self) -> Iterable[Metric]:
        """What the registry refuses a second metric of the same name by."""
        return [self._family(())]

    def _family(self, values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, value in values:
            family.add_metric(labels, value)
        return family
