"""Records, commands and payment states from several threads, in the order of their happening."""

from __future__ import annotations

import queue
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import msgspec

from orderflow.cli.demo.console_consumer import Witnessed, console_consumer
from orderflow.cli.demo.stories import WATCHED
from orderflow.cli.records import ReadableRecord, readable_records
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.kafka.groups import begin_at
from orderflow.messaging.kafka.reader import Offsets, end_offsets
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.settings import KafkaSettings
from orderflow.stack.parts import jars
from orderflow.stack.settings import StackSettings

LOOK_EVERY_S = 0.2
HELD_BACK_S = 0.5


class Unknown(msgspec.Struct, frozen=True):
    """The payment of this order is UNKNOWN: payment has no answer from the provider."""

    key: str
    timestamp: datetime


class Commanded(msgspec.Struct, frozen=True, kw_only=True):
    """A command that was given by hand, and its answer."""

    key: str
    timestamp: datetime
    step: str
    answered: int
    order: dict[str, Any]


Shown = ReadableRecord | Unknown | Commanded


class Arrivals:
    """
    Arrivals from any thread, in the order of their timestamps.

    Each of four topics is read with a delay of its own: an arrival is held back for half a second,
    so that earlier ones of other topics come before it. `witnessed`: the records that Kafka's
    consumer saw, by event id.
    """

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[tuple[Shown | Witnessed | OrderflowError, float]] = (
            queue.SimpleQueue()
        )
        self._held: list[tuple[Shown, float]] = []
        self.witnessed: dict[str, Witnessed] = {}

    def put(self, seen: Shown | Witnessed | OrderflowError) -> None:
        """From any thread. An error ends the demo."""
        self._inbox.put((seen, time.monotonic()))

    def take(self) -> list[Shown]:
        """The arrivals that were held back long enough; waits for a moment if there is none."""
        with suppress(queue.Empty):
            seen, at = self._inbox.get(timeout=LOOK_EVERY_S)
            if isinstance(seen, OrderflowError):
                raise seen
            if isinstance(seen, Witnessed):
                self.witnessed[seen.id or ""] = seen
            else:
                self._held.append((seen, at))

        before = time.monotonic() - HELD_BACK_S
        due = [arrival for arrival, at in self._held if at <= before]
        self._held = [(arrival, at) for arrival, at in self._held if at > before]
        return sorted(due, key=lambda arrival: arrival.timestamp)


@contextmanager
def watching(
    settings: StackSettings, kafka: KafkaSettings, decoder: Decoder, arrivals: Arrivals
) -> Iterator[None]:
    """Read the topics from their present ends on: older orders are not shown."""
    classpath = jars.locate(settings.cache_dir).kafka_classpath
    group = f"orderflow-demo-{uuid4()}"

    with ExitStack() as running, tempfile.TemporaryDirectory(prefix="orderflow-demo-") as scratch:
        ended = Event()
        starts = {topic: end_offsets(kafka, topic) for topic in WATCHED}
        for topic, ends in starts.items():
            begin_at(kafka, group, topic, ends)

        log = Path(scratch) / "console-consumer.log"
        running.enter_context(
            console_consumer(kafka, classpath, WATCHED, group=group, log=log, seen=arrivals.put)
        )

        for topic, ends in starts.items():
            reader = Thread(
                target=_read, args=(kafka, decoder, topic, ends, ended, arrivals), daemon=True
            )
            reader.start()
            running.callback(reader.join)
        running.callback(ended.set)
        yield


def _read(
    kafka: KafkaSettings,
    decoder: Decoder,
    topic: str,
    start: Offsets,
    ended: Event,
    arrivals: Arrivals,
) -> None:
    for record in readable_records(kafka, decoder, topic, start=start):
        if ended.is_set():
            return
        if record is not None:
            arrivals.put(record)
