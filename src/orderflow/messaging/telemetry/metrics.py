"""
Prometheus metrics of this process. Ours are named `orderflow_…`; what OpenTelemetry has a name for
has that name, as Prometheus writes it.

A process exports what it does, and nothing else: a metric without labels appears once it was used
(a zero counts), one with labels with its first label values. Prometheus' client adds its own
metrics of the process: CPU, memory, file descriptors, garbage collection.

A metric belongs to the module that changes it and is made once, when that module is imported; a
second metric of the same name raises ValueError.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

import msgspec
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
    generate_latest,
)

__all__ = [
    "BATCH_BUCKETS",
    "Counter",
    "Declared",
    "Gauge",
    "Histogram",
    "counter",
    "declared",
    "gauge",
    "histogram",
    "render_metrics",
]

NAMESPACE = "orderflow"
BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Without this every counter and histogram exports a second series with the time of its creation.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Declared(msgspec.Struct, frozen=True):
    """A metric of ours: the name of its samples, without `_bucket` and the like, and its module."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    module: str


class _Counter(Counter):
    """Without labels. Collected once it was used."""

    _used = False

    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:
        self._used = True
        super().inc(amount, exemplar)

    def collect(self) -> Iterable[Metric]:
        return super().collect() if self._used else ()


class _Gauge(Gauge):
    """Without labels. Collected once it was used."""

    _used = False

    def inc(self, amount: float = 1) -> None:
        self._used = True
        super().inc(amount)

    def dec(self, amount: float = 1) -> None:
        self._used = True
        super().dec(amount)

    def set(self, value: float) -> None:
        self._used = True
        super().set(value)

    def set_function(self, f: Callable[[], float]) -> None:
        self._used = True
        super().set_function(f)

    def collect(self) -> Iterable[Metric]:
        return super().collect() if self._used else ()


class _Histogram(Histogram):
    """Without labels. Collected once it was used."""

    _used = False

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        self._used = True
        super().observe(amount, exemplar)

    def collect(self) -> Iterable[Metric]:
        return super().collect() if self._used else ()


_declared: list[Declared] = []


def counter(
    name: str, documentation: str, labels: Sequence[str] = (), *, namespace: str = NAMESPACE
) -> Counter:
    """A number that only grows: `orderflow_<name>_total`."""
    kind = Counter if labels else _Counter
    made = kind(name, documentation, labels, namespace=namespace)
    declare(f"{_full(name, namespace)}_total", "counter", labels, documentation)
    return made


def gauge(
    name: str, documentation: str, labels: Sequence[str] = (), *, namespace: str = NAMESPACE
) -> Gauge:
    """A number that goes up and down: `orderflow_<name>`."""
    kind = Gauge if labels else _Gauge
    made = kind(name, documentation, labels, namespace=namespace)
    declare(_full(name, namespace), "gauge", labels, documentation)
    return made


def histogram(
    name: str,
    documentation: str,
    labels: Sequence[str] = (),
    *,
    buckets: Sequence[float] = LATENCY_BUCKETS_S,
    namespace: str = NAMESPACE,
) -> Histogram:
    """
    The distribution of a value: `orderflow_<name>`. The name ends in the unit.

    `buckets` are upper bounds in that unit; the default suits seconds.
    """
    kind = Histogram if labels else _Histogram
    made = kind(name, documentation, labels, namespace=namespace, buckets=buckets)
    declare(_full(name, namespace), "histogram", labels, documentation)
    return made


def declared() -> list[Declared]:
    """Every metric of the modules that are imported, in the order in which they were made."""
    return [*_declared]


def render_metrics() -> tuple[bytes, str]:
    """What this process measures, in Prometheus' text format, and its content type."""
    return generate_latest(_InUse()), CONTENT_TYPE_LATEST


class _InUse(CollectorRegistry):
    """The families of the process that have samples: the others would be headings of nothing."""

    def collect(self) -> Iterable[Metric]:
        return [family for family in REGISTRY.collect() if family.samples]


def _full(name: str, namespace: str) -> str:
    return f"{namespace}_{name}" if namespace else name


def declare(name: str, kind: str, labels: Sequence[str], meaning: str) -> None:
    """Note a metric that the caller's caller makes, for `declared`."""
    # Two frames up: the module that makes the metric.
    module = sys._getframe(2).f_globals["__name__"]  # noqa: SLF001 - public, whatever its name
    _declared.append(Declared(name, kind, tuple(labels), meaning, module))
