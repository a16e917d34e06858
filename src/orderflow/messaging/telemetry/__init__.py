"""
Logs, metrics and spans of this process: the only room that imports structlog, prometheus_client and
opentelemetry.

- `logs`: structured log lines on standard error, `configure`, `logger`, `wanted`,
  `write_lines`
- `metrics`: `counter`, `gauge` and `histogram` named `orderflow_…`, and `render_metrics`
- `measured`: gauges that vanish while their value is not known
- `scraped`: the metrics of another process
- `tables`: `GaugeTable`, all series of a metric at once
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
from orderflow.messaging.telemetry.measured import ComputedGauge, MeasuredGauge
from orderflow.messaging.telemetry.metrics import (
    BATCH_BUCKETS,
    Counter,
    Declared,
    Gauge,
    Histogram,
    counter,
    declared,
    gauge,
    histogram,
    render_metrics,
)
from orderflow.messaging.telemetry.scraped import read_samples
from orderflow.messaging.telemetry.tables import GaugeTable

__all__ = [
    "BATCH_BUCKETS",
    "ComputedGauge",
    "Counter",
    "Declared",
    "Gauge",
    "GaugeTable",
    "Histogram",
    "LogLine",
    "Logger",
    "MeasuredGauge",
    "configure",
    "counter",
    "declared",
    "gauge",
    "histogram",
    "logger",
    "read_samples",
    "render_metrics",
    "wanted",
    "write_lines",
]
