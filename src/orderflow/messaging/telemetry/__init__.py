"""
Logs and metrics of this process: the only room that imports structlog and prometheus_client.

- `logs`: structured log lines on standard error, `configure`, `logger`, `write_lines`
- `metrics`: `counter`, `gauge` and `histogram` named `orderflow_…`, and `render_metrics`
"""

from orderflow.messaging.telemetry.logs import Logger, LogLine, configure, logger, write_lines
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
    "write_lines",
]
