"""
Outbox rows as Kafka records.

Columns are read by name, whatever their order in the table; other columns are ignored.
"""

from __future__ import annotations

from typing import NamedTuple

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.event import (
    AVRO_CONTENT_TYPE,
    CE_CAUSATION_ID,
    CE_CORRELATION_ID,
    CE_ID,
    CE_SOURCE,
    CE_SPECVERSION,
    CE_SUBJECT,
    CE_TIME,
    CE_TYPE,
    CONTENT_TYPE,
    TRACEPARENT,
    TRACESTATE,
    Headers,
)
from orderflow.messaging.relay.pgoutput import Reader, Relation, Values

HEADER_OF_COLUMN = (
    ("type", CE_TYPE),
    ("ce_source", CE_SOURCE),
    ("ce_time", CE_TIME),
    ("ce_subject", CE_SUBJECT),
    ("ce_causationid", CE_CAUSATION_ID),
    ("ce_correlationid", CE_CORRELATION_ID),
    ("traceparent", TRACEPARENT),
    ("tracestate", TRACESTATE),
)
"""The columns that become headers as they are, left out where they are NULL; `id` comes apart."""

_SPECVERSION = (CE_SPECVERSION, b"1.0")
_CONTENT_TYPE = (CONTENT_TYPE, AVRO_CONTENT_TYPE.encode())


class ProducerRecord(NamedTuple):
    """A record to produce. `headers` are those of `event.to_headers`, in no order to rely on."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers


class Highest:
    """
    The highest `sequence` of the rows that were read, in the eight bytes of its binary form, which
    sort as numbers do.
    """

    __slots__ = ("raw",)

    def __init__(self) -> None:
        self.raw = b""

    @property
    def sequence(self) -> int:
        return int.from_bytes(self.raw, "big")


def record_reader(relation: Relation, highest: Highest | None = None) -> Reader[ProducerRecord]:
    """
    A function that converts rows of this relation into records, and keeps `highest`.

    Raises ConfigurationError when a column is missing: the table is no outbox any more.
    """
    places = {column: index for index, column in enumerate(relation.columns)}
    try:
        topic_at, key_at, id_at, value_at = (
            places[column] for column in ("aggregatetype", "aggregateid", "id", "payload")
        )
        header_places = tuple((name, places[column]) for column, name in HEADER_OF_COLUMN)
    except KeyError as missing:
        raise ConfigurationError(
            f"table {relation.name} has no column {missing.args[0]}: not an outbox"
        ) from missing

    sequence_at = places.get("sequence", id_at)
    noted = highest if highest is not None and "sequence" in places else None

    # Decoded once per topic, not once per row.
    topics: dict[bytes | None, str] = {}

    def read(values: Values) -> ProducerRecord:
        if noted is not None and (values[sequence_at] or b"") > noted.raw:
            noted.raw = values[sequence_at] or b""

        headers: Headers = [_SPECVERSION, (CE_ID, _uuid_text(values[id_at] or b""))]
        headers += [
            (name, value) for name, at in header_places if (value := values[at]) is not None
        ]
        headers.append(_CONTENT_TYPE)
        topic = topics.get(values[topic_at]) or topics.setdefault(
            values[topic_at], (values[topic_at] or b"").decode()
        )
        return ProducerRecord(topic, values[key_at] or b"", values[value_at] or b"", headers)

    return read


def _uuid_text(raw: bytes) -> bytes:
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}".encode()
