"""Records as text: key, headers and value, or why a value can't be decoded."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from orderflow.messaging.errors import Poison
from orderflow.messaging.event import CE_ID, CE_TYPE
from orderflow.messaging.kafka.reader import ConsumerRecord, Offsets, read
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.settings import KafkaSettings


class ReadableRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`value` is decoded Avro, None where there is none; `problem`: why it can't be decoded."""

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    key: str | None
    headers: dict[str, str | None]
    value: dict[str, Any] | None
    problem: str | None = None

    @property
    def type(self) -> str | None:
        return self.headers.get(CE_TYPE)

    @property
    def id(self) -> str | None:
        return self.headers.get(CE_ID)


def readable(record: ConsumerRecord, decoder: Decoder) -> ReadableRecord:
    """The record as text, whatever its content. Raises Unavailable when the registry is away."""
    value, problem = None, None
    try:
        _, value = decoder.decode(record.value)
    except Poison as poison:
        problem = str(poison)

    return ReadableRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        key=_text(record.key),
        headers={name: _text(content) for name, content in record.headers},
        value=value,
        problem=problem,
    )


def readable_records(
    kafka: KafkaSettings,
    decoder: Decoder,
    topic: str,
    *,
    start: Offsets | None = None,
    follow: bool = True,
) -> Iterator[ReadableRecord | None]:
    """As `messaging.kafka.reader.read`, as text; None is a quiet moment."""
    for record in read(kafka, topic, start=start, follow=follow):
        yield None if record is None else readable(record, decoder)


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode(errors="backslashreplace")
