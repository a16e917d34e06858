"""
librdkafka's own producer, without Python's in front of it: what clients in other languages may
write, ours can't.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from enum import IntEnum

from tests.support.mock_cluster import library

_PRODUCER = 0


class _Part(IntEnum):
    """Librdkafka's `rd_kafka_vtype_t`."""

    TOPIC = 1
    VALUE = 4
    KEY = 5
    HEADER = 9


class _Variable(ctypes.Structure):
    """Its `rd_kafka_vu_t`: a kind, and 64 bytes for whatever that kind has."""

    _fields_ = (
        ("part", ctypes.c_int),
        ("first", ctypes.c_void_p),
        ("second", ctypes.c_void_p),
        ("third", ctypes.c_ssize_t),
        ("rest", ctypes.c_char * 40),
    )


def produce(
    bootstrap_servers: str,
    topic: str,
    *,
    key: bytes,
    value: bytes,
    headers: Sequence[tuple[bytes, bytes]],
) -> None:
    """One record, acknowledged. Names of headers are bytes: Kafka does not look at them."""
    reason = ctypes.create_string_buffer(512)
    settings = library().rd_kafka_conf_new()  # The handle that is made of it owns it.
    for name, setting in (
        (b"bootstrap.servers", bootstrap_servers.encode()),
        (b"partitioner", b"murmur2_random"),
    ):
        assert library().rd_kafka_conf_set(settings, name, setting, reason, len(reason)) == 0, (
            reason.value
        )
    handle = library().rd_kafka_new(_PRODUCER, settings, reason, len(reason))
    assert handle, reason.value
    kept: list[object] = []  # Librdkafka reads all of this until the record is acknowledged.

    def at(raw: bytes) -> int:
        kept.append(buffer := ctypes.create_string_buffer(raw))
        return ctypes.addressof(buffer)

    parts = [
        _Variable(part=_Part.TOPIC, first=at(topic.encode())),
        _Variable(part=_Part.KEY, first=at(key), second=len(key)),
        _Variable(part=_Part.VALUE, first=at(value), second=len(value)),
        *(
            _Variable(part=_Part.HEADER, first=at(name), second=at(raw), third=len(raw))
            for name, raw in headers
        ),
    ]
    array = (_Variable * len(parts))(*parts)
    try:
        assert library().rd_kafka_produceva(handle, array, len(parts)) is None, (
            "the record was refused"
        )
        assert library().rd_kafka_flush(handle, 20_000) == 0, "the record was not acknowledged"
    finally:
        library().rd_kafka_destroy(handle)
