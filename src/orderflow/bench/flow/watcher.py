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

    seen = Seen(at_ns={topic: {} for topic in task.topics}, repeated=dict.fromkeys(task.topics, 0))
    ids: dict[str, set[bytes]] = {topic: set() for topic in task.topics}
    report_at, cpu_s = 0.0, time.process_time()
    while not over:
        if time.monotonic() >= report_at:
            _write_progress(task, seen)
            report_at = time.monotonic() + REPORT_EVERY_S
        first = reader.poll(TICK_S)
        if first is None:
            continue
        now_ns = time.monotonic_ns()
        for message in (first, *reader.consume(BATCH, 0)):
            if message.error() is None:
                _note(seen, ids, message, now_ns)
    reader.close()
    return msgspec.structs.replace(seen, cpu_s=time.process_time() - cpu_s)


def _write_progress(task: WatchTask, seen: Seen) -> None:
    """As many orders as the slowest topic has; the file is put in place whole."""
    count = min(
        sum(len(moments) >= wanted for moments in seen.at_ns[topic].values())
        for topic, wanted in task.wanted.items()
    )
    fresh = Path(f"{task.progress}.new")
    fresh.write_text(str(count))
    fresh.rename(task.progress)


def _note(seen: Seen, ids: dict[str, set[bytes]], message: Any, now_ns: int) -> None:
    topic, headers = message.topic(), dict(message.headers() or ())
    event_id = headers.get(CE_ID)
    if event_id is not None:
        if event_id in ids[topic]:
            seen.repeated[topic] += 1
            return
        ids[topic].add(event_id)

    correlation = headers.get(CE_CORRELATION_ID)
    order = correlation.decode() if correlation else order_in(message.key(), message.value())
    seen.at_ns[topic].setdefault(order, []).append(now_ns)


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
