"""
Logs, metrics and spans of this process: the only room that imports structlog, prometheus_client and
opentelemetry.

- `logs`: structured log lines on standard error, `configure`, `logger`, `write_lines`
- `metrics`: `counter`, `gauge` and `histogram` named `orderflow_…`, and `render_metrics`
- `measured`: gauges that vanish while their value is not known
- `scraped`: the metrics of another process
- `trace_context`: `traceparent` texts, derived span ids, and whose spans are wanted
- `traces`: spans that are over, handed to `span_export`, which is loaded while tracing is on
"""

from orderflow.messaging.telemetry.logs import Logger, LogLine, configure, logger, write_lines
from orderflow.messaging.telemetry.measured import ComputedGauge, MeasuredGauge
from orderflow.messaging.telemetry.metrics import (
    Counter,
    Gauge,
    Histogram,
    counter,
    gauge,
    histogram,
    render_metrics,
)
from orderflow.messaging.telemetry.scraped import read_samples

__all__ = [
    "ComputedGauge",
    "Counter",
    "Gauge",
    "Histogram",
    "LogLine",
    "Logger",
    "MeasuredGauge",
    "configure",
    "counter",
    "gauge",
    "histogram",
    "logger",
    "read_samples",
    "render_metrics",
    "write_lines",
]
