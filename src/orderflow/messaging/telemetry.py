"""
Logs and metrics, behind one door.

Logs are structured: an event name and fields, one JSON object a line on standard error, or text for people. Lines of
other libraries (uvicorn, yoyo) come out in the same form. Metrics are Prometheus', process-wide, all named
`orderflow_…`; what Prometheus' client knows of the process (CPU, memory, descriptors, garbage collection) comes along.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import structlog
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from structlog.typing import EventDict, Processor

from orderflow.messaging.settings import TelemetrySettings

__all__ = [
    "Counter",
    "Gauge",
    "Histogram",
    "Logger",
    "configure",
    "counter",
    "gauge",
    "histogram",
    "logger",
    "render_metrics",
]

NAMESPACE = "orderflow"
LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

disable_created_metrics()  # type: ignore[no-untyped-call]

Logger = structlog.typing.FilteringBoundLogger


def configure(service: str, settings: TelemetrySettings) -> None:
    """
    Send every log line of this process to standard error, with `service` on it. Called once, at start.

    Lines of other libraries appear from `warning` upwards, whatever our own level is.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    render = _renderers(settings.log_format)

    def with_service(_logger: object, _method: str, line: EventDict) -> EventDict:
        line["service"] = service
        if "logger_name" in line:
            line["logger"] = line.pop("logger_name")
        return line

    stamp: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        with_service,
    ]
    structlog.configure(
        processors=[*stamp, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    foreign = logging.StreamHandler(sys.stderr)
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *stamp],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[foreign], level=max(level, logging.WARNING), force=True)


def logger(name: str) -> Logger:
    """A logger whose lines say `logger=name`. `log.info("order placed", order_id=…)`: an event, then its fields."""
    return cast("Logger", structlog.get_logger(logger_name=name))


def counter(name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
    """A number that only grows: `orderflow_<name>_total`. Made once, where its module is imported."""
    return Counter(name, documentation, labels, namespace=NAMESPACE)


def gauge(name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
    """A number that goes up and down: `orderflow_<name>`."""
    return Gauge(name, documentation, labels, namespace=NAMESPACE)


def histogram(
    name: str, documentation: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = LATENCY_BUCKETS_S
) -> Histogram:
    """How values are distributed: `orderflow_<name>`; the buckets' unit is the name's."""
    return Histogram(name, documentation, labels, namespace=NAMESPACE, buckets=buckets)


def render_metrics() -> tuple[bytes, str]:
    """All metrics of this process in Prometheus' text format, and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST


def _renderers(log_format: str) -> list[Processor]:
    """Tracebacks are plain text in both forms: the richer ones print local variables, and those may hold secrets."""
    if log_format == "text" or (log_format == "auto" and sys.stderr.isatty()):
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    return [
        structlog.processors.EventRenamer("message"),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_json),
    ]


def _json(line: EventDict, **_options: Any) -> str:
    return msgspec.json.encode(line, enc_hook=repr).decode()
