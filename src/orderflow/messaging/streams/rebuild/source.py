"""The events of a topology's source, as the service's own listener reads them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from orderflow.messaging.container.records.partition import Partition
from orderflow.messaging.container.records.record import Progress, Record
from orderflow.messaging.container.stages.intake import Intake
from orderflow.messaging.errors import Poison, Unavailable
from orderflow.messaging.kafka.clients import KafkaError, TopicPartition, consumer
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.listener import Listener
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.streams.broker_changelog import NO_GROUP, NOT_IN_THE_LOG, PARTITION_EOF

PIECE = 5_000
WAIT_S = 0.25
SILENT_S_MAX = 30.0


class SourceReader:
    """
    Reads committed records from `reached` on, which grows; below it everything was read.

    What the listener makes a dead letter of is passed over, and counted in `unreadable`.
    """

    def __init__(
        self, kafka: KafkaSettings, listener: Listener, decoder: Decoder, start: Mapping[Place, int]
    ) -> None:
        self.reached = dict(start)
        self.unreadable = 0
        self._intake = Intake(listener, decoder)
        overrides: dict[str, object] = {
            "auto.offset.reset": "error",
            "fetch.max.bytes": 16 * 1024 * 1024,
            "queued.max.messages.kbytes": 32 * 1024,
        }
        self._consumer = consumer(kafka, NO_GROUP, **overrides)
        self._consumer.assign([TopicPartition(*place, at) for place, at in start.items()])

    def read_to(self, ends: Mapping[Place, int]) -> Iterator[list[Any]]:
        """
        The events up to `ends`, a piece at a time; some behind them, too, that `reached` counts.

        Raises Unavailable when the registry is away, the brokers give nothing for 30 s, or the log
        lost what comes next.
        """
        silent_since = time.monotonic()
        while any(self.reached[place] < end for place, end in ends.items()):
            events: list[Any] = []
            messages = self._consumer.consume(PIECE, WAIT_S)
            for message in messages:
                self._take(message, events)
            yield events

            if messages:
                silent_since = time.monotonic()
            elif time.monotonic() - silent_since > SILENT_S_MAX:
                raise Unavailable("the brokers give no records", resource="broker")

    def close(self) -> None:
        self._consumer.close()

    def _take(self, message: Any, events: list[Any]) -> None:
        place, error = (message.topic(), message.partition()), message.error()
        if error is None:
            self._read(message, events)
            self.reached[place] = message.offset() + 1
        elif error.code() == PARTITION_EOF:
            # Behind the last record are markers: only this says that they were passed.
            self.reached[place] = max(self.reached[place], message.offset())
        elif error.code() in NOT_IN_THE_LOG or not _heals(error):
            raise Unavailable(f"could not read {place[0]}: {error.str()}", resource="broker")

    def _read(self, message: Any, events: list[Any]) -> None:
        try:
            event = self._event(message)
        except Poison:
            self.unreadable += 1
        else:
            events += [] if event is None else [event]

    def _event(self, message: Any) -> Any:
        try:
            usual = self._intake.read_in_bulk(message)
        except Poison:
            # Not like most: what it is only the listener's other way can tell.
            return self._unusual(message)
        return None if usual is None else usual.event

    def _unusual(self, message: Any) -> Any:
        partition = Partition(message.topic(), message.partition(), Window(end=message.offset()))
        key, offset = message.key() or b"", message.offset()
        record = Record(message, partition, offset, key, deque(), Progress())
        return record.progress.received.event if self._intake.read(record) else None


def _heals(error: KafkaError) -> bool:
    return bool(error.retriable()) or error.code() in (
        KafkaError._TRANSPORT,  # noqa: SLF001 - the client's public names
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
    )
