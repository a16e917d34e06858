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
from datetime import UTC, datetime
from typing import Any, TextIO, cast

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
    "LogLine",
    "Logger",
    "configure",
    "counter",
    "gauge",
    "histogram",
    "logger",
    "render_metrics",
    "write_lines",
]

NAMESPACE = "orderflow"
LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

disable_created_metrics()  # type: ignore[no-untyped-call]

Logger = structlog.typing.FilteringBoundLogger


class LogLine(msgspec.Struct, kw_only=True):
    """
    A line at `info` that is written together with many others; a subclass adds its fields. `str()` is for people.

    `timestamp` and `service` are filled in when it is written.
    """

    timestamp: str = ""
    level: str = "info"
    service: str = ""
    logger: str
    message: str


class _Output:
    """Where and how `write_lines` writes; `configure` says. Before that, nowhere."""

    service = ""
    as_text = False
    stream: TextIO | None = None


_output = _Output()
_encoder = msgspec.json.Encoder()


def configure(service: str, settings: TelemetrySettings) -> None:
    """
    Send every log line of this process to standard error, with `service` on it. Called once, at start.

    Lines of other libraries appear from `warning` upwards, whatever our own level is.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    as_text = settings.log_format == "text" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    render = _renderers(as_text=as_text)
    _output.service, _output.as_text = service, as_text
    _output.stream = sys.stderr if level <= logging.INFO else None

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


def write_lines(lines: Sequence[LogLine]) -> None:
    """
    Write all of them with one write: what must be told of each record costs a microsecond or two, not thirty.

    They get one timestamp, that of the writing. Nothing is written below level `info`, or before `configure`.
    """
    stream, service = _output.stream, _output.service
    if stream is None or not lines:
        return
    now = datetime.now(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
    if _output.as_text:
        stream.write("".join([f"{now} [info     ] {line}\n" for line in lines]))
        return
    for line in lines:
        line.timestamp, line.service = now, service
    stream.write(_encoder.encode_lines(lines).decode())


def counter(name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
    """A number that only grows: `orderflow_<name>_total`. Made once, where its module is imported."""
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
    """How values are distributed: `orderflow_<name>`; the buckets' unit is the name's."""
    return Histogram(name, documentation, labels, namespace=NAMESPACE, buckets=buckets)


def render_metrics() -> tuple[bytes, str]:
    """All metrics of this process in Prometheus' text format, and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST


def _renderers(*, as_text: bool) -> list[Processor]:
    """Tracebacks are plain text in both forms: the richer ones print local variables, and those may hold secrets."""
    if as_text:
        plain = structlog.dev.plain_traceback
        return [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
        ]
    return [
        structlog.processors.EventRenamer("message"),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_json),
    ]


def _json(line: EventDict, **_options: Any) -> str:
    return msgspec.json.encode(line, enc_hook=repr).decode()
