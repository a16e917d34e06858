"""
The topic as both baselines read it: committed records, decoded, in batches. And what the process
that writes one file is told and answers: only that process loads its own module, with pyarrow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from orderflow.bench.naive_consumer import Input
from orderflow.contracts.events import EVENT_TYPES
from orderflow.messaging.event import from_headers
from orderflow.messaging.kafka import clients
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry

WAIT_S = 0.2


def batches(task: Input, consumer: clients.Consumer, size: int) -> Iterator[list[Any]]:
    """Messages, at most `size` at a time, without end; empty when nothing came."""
    while True:
        yield [message for message in consumer.consume(size, WAIT_S) if message.error() is None]


class FileTask(Input, frozen=True, kw_only=True):
    """`rows`: how many there are, to be read and written."""

    rows: int


class OneFile(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of reading and decoding from the first record on, then of writing; CPU of both."""

    rows: int
    read_s: float
    write_s: float
    read_cpu_s: float
    write_cpu_s: float
    memory_mb: float


class Events:
    """Decodes a message: its event, and the event's id."""

    def __init__(self, task: Input) -> None:
        self._decoder = Decoder(Registry(task.registry))

    def of(self, message: Any) -> tuple[Any, str]:
        metadata = from_headers(message.headers())
        event = self._decoder.decode_as(message.value(), EVENT_TYPES[metadata.type])
        return event, str(metadata.id)
