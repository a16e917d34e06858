"""
Notes when each order's events could be read by a read_committed consumer, in a process of its own.

`python -m orderflow.bench.flow.watcher TASK FILE`. It ends with SIGTERM, and writes what it has.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from orderflow.messaging.event import CE_CORRELATION_ID, CE_ID
from orderflow.messaging.kafka.clients import TopicPartition, consumer
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.settings import KafkaSettings

GROUP = "orderflow.bench.flow"
BATCH = 4_000
TICK_S = 0.05
REPORT_EVERY_S = 0.5


class WatchTask(msgspec.Struct, frozen=True, kw_only=True):
    """
    The topics, read from their ends on.

    `progress`: a file that appears when reading has begun, and tells then how many orders have had
    all events of `wanted` (how many on which topic).
    """

    bootstrap_servers: str
    topics: list[str]
    wanted: dict[str, int]
    progress: str


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """
    By topic, then by order: the moments (CLOCK_MONOTONIC nanoseconds) of the order's events there.

    `repeated`: by topic, records whose event id had been read before; a record without the header
    has none, and counts anew. `cpu_s`: what reading took.
    """

    at_ns: dict[str, dict[str, list[int]]]
    repeated: dict[str, int]
    cpu_s: float = 0.0


def watch(task: WatchTask) -> Seen:
    """Read until SIGTERM."""
    over: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(1))
    settings = KafkaSettings(bootstrap_servers=task.bootstrap_servers)
    places = [
        TopicPartition(topic, partition, offset)
        for topic in task.topics
        for partition, offset in end_offsets(settings, topic).items()
    ]
    # Few, larger answers: the watcher is no part of what is measured, and costs the broker little.
    reader = consumer(settings, GROUP, **{"fetch.wait.max.ms": 500, "enable.partition.eof": False})
    reader.assign(places)

    notes, report_at, cpu_s = Notes(task), 0.0, time.process_time()
    while not over:
        if time.monotonic() >= report_at:
            _write_progress(task, notes.through)
            report_at = time.monotonic() + REPORT_EVERY_S
        first = reader.poll(TICK_S)
        if first is None:
            continue
        now_ns = time.monotonic_ns()
        for message in (first, *reader.consume(BATCH, 0)):
            if message.error() is None:
                notes.add(message, now_ns)
    reader.close()
    return msgspec.structs.replace(notes.seen, cpu_s=time.process_time() - cpu_s)


def _write_progress(task: WatchTask, through: int) -> None:
    """The file is put in place whole."""
    fresh = Path(f"{task.progress}.new")
    fresh.write_text(str(through))
    fresh.rename(task.progress)


class Notes:
    """What was read until now."""

    def __init__(self, task: WatchTask) -> None:
        self._wanted = task.wanted
        self._reached = dict.fromkeys(task.wanted, 0)
        self._ids: dict[str, set[bytes]] = {topic: set() for topic in task.topics}
        at_ns: dict[str, dict[str, list[int]]] = {topic: {} for topic in task.topics}
        self.seen = Seen(at_ns=at_ns, repeated=dict.fromkeys(task.topics, 0))

    @property
    def through(self) -> int:
        """As many orders as the slowest topic has."""
        return min(self._reached.values())

    def add(self, message: Any, now_ns: int) -> None:
        topic, headers = message.topic(), dict(message.headers() or ())
        if not self._is_new(topic, headers.get(CE_ID)):
            self.seen.repeated[topic] += 1
            return

        correlation = headers.get(CE_CORRELATION_ID)
        order = correlation.decode() if correlation else order_in(message.key(), message.value())
        moments = self.seen.at_ns[topic].setdefault(order, [])
        moments.append(now_ns)
        if len(moments) == self._wanted.get(topic):
            self._reached[topic] += 1

    def _is_new(self, topic: str, event_id: bytes | None) -> bool:
        if event_id is None:
            return True
        ids = self._ids[topic]
        before = len(ids)
        ids.add(event_id)
        return len(ids) > before


class _Value(msgspec.Struct, rename="camel"):
    order_id: str


def order_in(key: bytes | None, value: bytes | None) -> str:
    """Of a record without our headers: the field `orderId` of its JSON, or else its key."""
    try:
        return msgspec.json.decode(value or b"", type=_Value).order_id
    except msgspec.DecodeError:
        return (key or b"").decode(errors="replace")


if __name__ == "__main__":
    task = msgspec.json.decode(sys.argv[1], type=WatchTask)
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(watch(task)))
