"""
Prometheus metrics of this process, all named `orderflow_…`.

Prometheus' client adds its own metrics of the process: CPU, memory, file descriptors, garbage
collection. A metric belongs to the module that changes it and is made once, when that module is
imported; a second metric of the same name raises ValueError.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

__all__ = ["Counter", "Gauge", "Histogram", "counter", "gauge", "histogram", "render_metrics"]

NAMESPACE = "orderflow"
LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Without this every counter and histogram exports a second series with the time of its creation.
disable_created_metrics()  # type: ignore[no-untyped-call]


def counter(name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
    """A number that only grows: `orderflow_<name>_total`."""
    return Counter(name, documentation, labels, namespace=NAMESPACE)


def gauge(name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
    """A number that goes up and down: `orderflow_<name>`."""
    return Gauge(name, documentation, labels, namespace=NAMESPACE)


def histogram(
    name: str,
    documentation: str,
    labels: Sequence[str] = (),
    *,
    buckets: Sequence[float] = LATENCY_BUCKETS_S,
) -> Histogram:
    """
    The distribution of a value: `orderflow_<name>`. The name ends in the unit.

    `buckets` are upper bounds in that unit; the default suits seconds.
    """
    return Histogram(name, documentation, labels, namespace=NAMESPACE, buckets=buckets)


def render_metrics() -> tuple[bytes, str]:
    """All metrics of this process in Prometheus' text format, and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
