"""What the container counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from orderflow.messaging.container.records.partition import Partition
from orderflow.messaging.listener import Listener
from orderflow.messaging.telemetry import BATCH_BUCKETS, counter, gauge, histogram
from orderflow.messaging.work.clock import Clock

CONSUMED = counter(
    "messaging_client_consumed_messages",
    "Messages that were fetched, those that come again included.",
    ("messaging_consumer_group_name", "messaging_destination_name"),
    namespace="",
)
PROCESS_S = histogram(
    "messaging_process_duration_seconds",
    "How long a handler takes for a wave; with an inbox its database transaction is part of it.",
    ("messaging_consumer_group_name",),
    namespace="",
)
BATCH_RECORDS = histogram(
    "listener_batch_records",
    "Records that a handler is given at once.",
    ("listener",),
    buckets=BATCH_BUCKETS,
)
RECORDS = counter("listener_records", "Records, by how they ended.", ("listener", "outcome"))
WAITING = gauge(
    "listener_waiting_records", "Admitted records that are not finished.", ("listener",)
)
WAITING_OLDEST_S = gauge(
    "listener_waiting_oldest_seconds",
    "How long ago the oldest of the waiting records was published; 0 without one.",
    ("listener",),
)
PAUSES = counter(
    "listener_window_pauses",
    "Partitions paused because too much of them is unfinished.",
    ("listener",),
)
COMMIT_S = histogram(
    "listener_commit_seconds", "How long a turn's transaction takes.", ("listener",)
)


def count_consumed(group: str, messages: Iterable[Any]) -> None:
    """Count what a poll brought."""
    for topic, count in Counter(message.topic() for message in messages).items():
        CONSUMED.labels(group, topic).inc(count)


class WaitingGauges:
    """
    How many records wait, and how old the oldest is.

    The age is worked out when somebody looks: it grows while the container hangs. `show` is for
    the container's thread.
    """

    def __init__(self, listener: Listener, clock: Clock) -> None:
        self._clock = clock
        self._published_at_s: float | None = None
        self._waiting = WAITING.labels(listener.name)
        self._waiting.set(0)
        WAITING_OLDEST_S.labels(listener.name).set_function(self._age_s)

    def show(self, partitions: Iterable[Partition]) -> None:
        """Take over how things stand."""
        waiting, oldest_ms = 0, []
        for partition in partitions:
            if unfinished := partition.unfinished:
                waiting += len(unfinished)
                # Those that are not fetched again yet, after a restart, have no age to tell.
                first = next((record for record in unfinished.values() if record is not None), None)
                if first is not None:
                    oldest_ms.append(first.message.timestamp()[1])

        self._waiting.set(waiting)
        self._published_at_s = min(oldest_ms) / 1000 if oldest_ms else None

    def _age_s(self) -> float:
        published_at_s = self._published_at_s
        if published_at_s is None:
            return 0.0
        return max(0.0, self._clock.now().timestamp() - published_at_s)
