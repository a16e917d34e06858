"""
Logs, metrics and spans of this process: the only room that imports structlog, prometheus_client and
opentelemetry.

- `logs`: structured log lines on standard error, `configure`, `logger`, `wanted`,
  `write_lines`
- `metrics`: `counter`, `gauge` and `histogram` named `orderflow_…`, and `render_metrics`
- `trace_context`: `traceparent` texts, derived span ids, and whose spans are wanted
- `traces`: spans that are over, handed to `span_export`, which is loaded while tracing is on
"""

from orderflow.messaging.telemetry.logs import (
    Logger,
    LogLine,
    configure,
    logger,
    wanted,
    write_lines,
)
from orderflow.messaging.telemetry.metrics import (
    Counter,
    Gauge,
    Histogram,
    counter,
    gauge,
    histogram,
    render_metrics,
)

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
    "wanted",
    "write_lines",
]
