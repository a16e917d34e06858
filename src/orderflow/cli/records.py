"""Records as text: key, headers and value, or why a value can't be decoded."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

import msgspec

from orderflow.messaging.dead_letters.connect_letter import is_from_connect
from orderflow.messaging.dead_letters.evidence import LetterEvidence, read_evidence
from orderflow.messaging.errors import Poison
from orderflow.messaging.event import (
    CE_ID,
    CE_TYPE,
    DLT_ORIGINAL_OFFSET,
    DLT_ORIGINAL_PARTITION,
    DLT_ORIGINAL_TIMESTAMP,
    DLT_ORIGINAL_TOPIC,
    RETRY_ATTEMPTS,
)
from orderflow.messaging.kafka.reader import ConsumerRecord, Offsets, read
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.settings import KafkaSettings

Header = str | int | None

INTEGERS = {
    DLT_ORIGINAL_PARTITION: 4,
    DLT_ORIGINAL_OFFSET: 8,
    DLT_ORIGINAL_TIMESTAMP: 8,
    RETRY_ATTEMPTS: 4,
}
"""Headers that are big-endian integers, as Spring writes them, with their bytes."""


class ReadableRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    `value` is decoded Avro, None where there is none; `problem`: why it can't be decoded. A header
    that is no text is hexadecimal, as `0x00ff`. `evidence`: of a dead letter, or of its replay.
    """

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    key: str | None
    headers: dict[str, Header]
    value: dict[str, Any] | None
    problem: str | None = None
    evidence: LetterEvidence | None = None

    @property
    def type(self) -> str | None:
        return _as_text(self.headers.get(CE_TYPE))

    @property
    def id(self) -> str | None:
        return _as_text(self.headers.get(CE_ID))


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
        headers={name: header(name, content) for name, content in record.headers},
        value=value,
        problem=problem,
        evidence=read_evidence(record.headers) if _has_evidence(record) else None,
    )


def readable_records(
    kafka: KafkaSettings,
    decoder: Decoder,
    topic: str,
    *,
    start: Offsets | None = None,
    follow: bool = True,
    partitions: Collection[int] | None = None,
) -> Iterator[ReadableRecord | None]:
    """As `messaging.kafka.reader.read`, as text; None is a quiet moment."""
    for record in read(kafka, topic, start=start, follow=follow, partitions=partitions):
        yield None if record is None else readable(record, decoder)


def header(name: str, content: bytes | None) -> Header:
    """A header's value as it is meant: an integer, or a text; else in hexadecimal."""
    if content is None:
        return None
    if len(content) == INTEGERS.get(name):
        return int.from_bytes(content, "big", signed=True)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return f"0x{content.hex()}"
    # No text has it; a number that nobody told us of has.
    return f"0x{content.hex()}" if "\0" in text else text


def _has_evidence(record: ConsumerRecord) -> bool:
    return is_from_connect(record.headers) or any(
        name == DLT_ORIGINAL_TOPIC for name, _ in record.headers
    )


def _as_text(content: Header) -> str | None:
    return None if content is None else str(content)


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode(errors="backslashreplace")
