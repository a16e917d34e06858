"""
Metrics of what a process looks at, and does not do itself: all series of a metric at once.

A series that is no longer in what was looked at is gone with the next look; nothing keeps its last
value. As long as nothing was put in, or after `clear`, a table exports nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

Labels = tuple[str, ...]


class GaugeTable(Collector):
    """
    One gauge, `name` verbatim, with a value for each combination of `labels`.

    One thread replaces the values, any other exports them: it sees the old ones or the new ones.
    Raises ValueError if the registry has the name already. Without a registry nobody exports it.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        registry: CollectorRegistry | None = REGISTRY,
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, tuple(labels)
        self._values: Mapping[Labels, float] = {}
        if registry is not None:
            registry.register(self)

    def replace(self, values: Mapping[Labels, float]) -> None:
        """These are all series that there are now."""
        self._values = dict(values)

    def clear(self) -> None:
        """Nothing is known."""
        self._values = {}

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The registry learns the name before there is any value."""
        return [GaugeMetricFamily(self._name, self._documentation, labels=self._labels)]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        values = self._values
        if not values:
            return []
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, value in values.items():
            family.add_metric(labels, value)
        return [family]
