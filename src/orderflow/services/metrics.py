"""`python -m orderflow.services.metrics`: write `docs/metrics.md` from all metrics of the tree."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from orderflow import messaging, services
from orderflow.messaging.telemetry import Declared, GaugeTable, declared

FILE = Path(__file__).parents[3] / "docs" / "metrics.md"

EXPORTED_BY = {
    "orderflow.messaging.container": "each listener",
    "orderflow.messaging.http": "each process",
    "orderflow.messaging.kafka.sent": "each listener and relay that publishes",
    "orderflow.messaging.postgres.group_commit": "order (api)",
    "orderflow.messaging.process.measuring": "each API that takes measurements",
    "orderflow.messaging.process.outbox_backlog": "order, inventory, notification (api)",
    "orderflow.messaging.relay": "each relay",
    "orderflow.messaging.streams": "each listener with state",
    "orderflow.messaging.telemetry.span_export": "each process that traces",
    "orderflow.messaging.work.gate": "each listener; notification (sender)",
}
"""Who exports what the kit measures, by the module or room that measures it."""

NOT_OURS = ("__main__", "orderflow.messaging.testing")
HEAD = """# Metrics

Every process serves `/metrics` on its own port, in Prometheus' text format. A process exports what
it does, and nothing else. Units are base units: seconds, bytes. No label has ids in it, of orders,
customers, events or traces. `messaging_…` and `http_…` are OpenTelemetry's names, as Prometheus
writes them; `process_…` and `python_…`, of Prometheus' client, come with every process and are left
out here; `kafka_…` are those that Kafka's exporters use. A histogram's samples end in `_bucket`,
`_sum` and `_count`.

This file is written by `make docs`.

| metric | type | labels | exported by | meaning |
|---|---|---|---|---|
"""


def metrics() -> list[Declared]:
    """All metrics of kit and services, by their names. Imports every module of them."""
    for package in (messaging, services):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__") and not module.name.startswith(NOT_OURS):
                import_module(module.name)
    ours = [metric for metric in declared() if metric.module.startswith("orderflow.")]
    return sorted([*ours, *observed()], key=lambda metric: metric.name)


def observed() -> list[Declared]:
    """The observer's, which it makes when it starts."""
    made: list[Declared] = []
    # By its name, as all modules here: no service is imported by another.
    gauges = import_module("orderflow.services.operations.gauges")

    def table(name: str, meaning: str, labels: Sequence[str] = ()) -> GaugeTable:
        made.append(Declared(name, "gauge", tuple(labels), meaning, gauges.__name__))
        return GaugeTable(name, meaning, labels, registry=None)

    gauges.Gauges((), table=table)
    return made


def text() -> str:
    """The table as it is committed."""
    return HEAD + "".join(f"| {' | '.join(_cells(metric))} |\n" for metric in metrics())


def exported_by(metric: Declared) -> str:
    """Which processes export `metric`. Raises KeyError for a room of the kit that is not named."""
    room, _, rest = metric.module.removeprefix("orderflow.").partition(".")
    if room == "services":
        return rest.partition(".")[0]
    module = metric.module
    while module not in EXPORTED_BY:
        module, dot, _ = module.rpartition(".")
        if not dot:
            raise KeyError(metric.module)
    return EXPORTED_BY[module]


def _cells(metric: Declared) -> Iterator[str]:
    yield f"`{metric.name}`"
    yield metric.kind
    yield ", ".join(f"`{label}`" for label in metric.labels) or "–"
    yield exported_by(metric)
    yield metric.meaning.replace("|", "\\|").rstrip(".") + "."


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
