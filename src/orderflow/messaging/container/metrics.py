"""What the container counts."""

from __future__ import annotations

from orderflow.messaging.telemetry import counter, gauge, histogram

RECORDS = counter("listener_records", "Records, by how they ended.", ("listener", "outcome"))
WAITING = gauge(
    "listener_waiting_records", "Admitted records that are not finished.", ("listener",)
)
PAUSES = counter(
    "listener_window_pauses",
    "Partitions paused because too much of them is unfinished.",
    ("listener",),
)
COMMIT_S = histogram(
    "listener_commit_seconds", "How long a turn's transaction takes.", ("listener",)
)
