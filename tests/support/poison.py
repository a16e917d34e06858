"""
Records that nobody can handle: what is done to a good one so that it is none, kind by kind, and
what foreign schemas the registry may hold.
"""

from __future__ import annotations

import base64
import gzip
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import msgspec

from orderflow.messaging.event import CE_ID, CE_SOURCE, CE_TIME, CE_TYPE, TRACEPARENT
from orderflow.messaging.schemas.compiled import FRAME_BYTES

NO_UTF8 = b"caf\xe9\xff"
BIG = 1_047_000
"""Bytes: just within a topic's limit, so that the dead letter with its evidence is beyond it."""

BEYOND_A_PRODUCER = 10 * 1024 * 1024
"""Bytes that no producer of ours accepts, and that fit on a topic if they compress well."""
MIB = 1024 * 1024

FOREIGN_SCHEMAS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "text": ("AVRO", {"type": "string"}),
    "stranger": ("AVRO", {"type": "record", "name": "orderflow.Stranger", "fields": []}),
    "nested": (
        "AVRO",
        {
            "type": "record",
            "name": "orderflow.Nested",
            "fields": [{"name": "in", "type": ["null", "orderflow.Nested"]}],
        },
    ),
    "json": ("JSON", {"type": "object", "properties": {"orderId": {"type": "string"}}}),
}


@dataclass(frozen=True, slots=True)
class Raw:
    """
    One record as bytes. Of a good one, beside itself: values of `another` type of its topic and of
    a `foreign` topic.
    """

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    another: bytes
    foreign: bytes
    foreign_type: str
    schemas: Mapping[str, int]

    @property
    def body(self) -> bytes:
        return self.good[FRAME_BYTES:]

    @property
    def good(self) -> bytes:
        assert self.value is not None
        return self.value

    def with_header(self, name: str, value: bytes | None) -> Raw:
        return replace(self, headers=tuple((n, value if n == name else v) for n, v in self.headers))

    def without_header(self, name: str) -> Raw:
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0] != name))

    def more_headers(self, *more: tuple[str, bytes | None]) -> Raw:
        return replace(self, headers=(*self.headers, *more))


def register_foreign(registry_url: str) -> dict[str, int]:
    """What other teams keep in the same registry: ids by their names here."""
    ids = {}
    with httpx2.Client(base_url=registry_url, trust_env=False, timeout=20) as client:
        for name, (kind, schema) in FOREIGN_SCHEMAS.items():
            body = {"schema": msgspec.json.encode(schema).decode(), "schemaType": kind}
            answer = client.post(f"/subjects/foreign-{name}/versions", json=body)
            assert answer.status_code == 200, answer.text
            ids[name] = int(answer.json()["id"])
    return ids


def register_twin(registry_url: str, full_name: str) -> int:
    """A schema of the same full name as one of ours, with nothing of it inside."""
    schema = {
        "type": "record",
        "name": full_name,
        "fields": [{"name": "orderId", "type": "string"}],
    }
    with httpx2.Client(base_url=registry_url, trust_env=False, timeout=20) as client:
        answer = client.post(
            f"/subjects/twin-{full_name}/versions",
            json={"schema": msgspec.json.encode(schema).decode()},
        )
        assert answer.status_code == 200, answer.text
        return int(answer.json()["id"])


def _value(make: Callable[[Raw], bytes | None]) -> Callable[[Raw], Raw]:
    return lambda good: replace(good, value=make(good))


def _framed(schema_id: int, body: bytes) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + body


def _id_of(raw: Raw) -> int:
    return int.from_bytes(raw.good[1:FRAME_BYTES], "big")


VALUES: Mapping[str, Callable[[Raw], Raw]] = {
    "null value": _value(lambda _: None),
    "empty value": _value(lambda _: b""),
    "magic alone": _value(lambda _: b"\0"),
    "half a frame": _value(lambda good: good.good[:4]),
    "wrong magic 1": _value(lambda good: b"\1" + good.good[1:]),
    "wrong magic 255": _value(lambda good: b"\xff" + good.good[1:]),
    "no frame": _value(lambda good: good.body),
    "JSON": _value(lambda _: b'{"orderId": "42", "amountMinor": 100}'),
    "text": _value(lambda _: b"hello"),
    "UTF-16 text": _value(lambda _: "hello".encode("utf-16")),
    "noise": _value(lambda _: b"\x01" + os.urandom(200)),
    "zeros": _value(lambda _: b"\0" * 64),
    "all bits": _value(lambda _: b"\xff" * 64),
    "gzip": _value(lambda good: gzip.compress(good.good)),
    "base64": _value(lambda good: base64.b64encode(good.good)),
    "schema id 0": _value(lambda good: _framed(0, good.body)),
    "unknown schema id": _value(lambda good: _framed(2**31 - 1, good.body)),
    "schema id beyond an int": _value(lambda good: _framed(2**32 - 1, good.body)),
    "little-endian schema id": _value(lambda good: b"\0" + good.good[4:0:-1] + good.body),
    "schema of a text": _value(lambda good: _framed(good.schemas["text"], b"\x0ahello")),
    "schema of a stranger": _value(lambda good: _framed(good.schemas["stranger"], b"")),
    "schema that nests itself": _value(
        lambda good: _framed(good.schemas["nested"], b"\x02" * 200_000 + b"\0")
    ),
    "JSON schema": _value(lambda good: _framed(good.schemas["json"], b'{"orderId": "42"}')),
    "another type of the topic": _value(lambda good: good.another),
    "a type of another topic": _value(lambda good: good.foreign),
    "no body": _value(lambda good: good.good[:FRAME_BYTES]),
    "a byte short": _value(lambda good: good.good[:-1]),
    "half a body": _value(lambda good: good.good[: FRAME_BYTES + len(good.body) // 2]),
    "half an id": _value(lambda good: good.good[: FRAME_BYTES + 10]),
    "a byte left over": _value(lambda good: good.good + b"\0"),
    "a body left over": _value(lambda good: good.good + good.body),
    "the record twice": _value(lambda good: good.good * 2),
    "a text longer than all": _value(
        lambda good: _framed(_id_of(good), b"\xfe\xff\xff\xff\x0f" + good.body)
    ),
    "a number without end": _value(lambda good: _framed(_id_of(good), b"\xff" * 12 + good.body)),
    "a text of no UTF-8": _value(
        lambda good: _framed(_id_of(good), good.body[:1] + NO_UTF8 + good.body[6:])
    ),
    "a time beyond all": _value(lambda good: good.good[:-6] + b"\xfe" + b"\xff" * 8 + b"\x01"),
    "oversized noise": _value(lambda _: b"\x02" + os.urandom(BIG)),
    "oversized rest": _value(lambda good: good.good + b"\0" * BIG),
    "10 MB of zeros": _value(lambda _: bytes(BEYOND_A_PRODUCER)),
}

HEADERS: Mapping[str, Callable[[Raw], Raw]] = {
    "no headers": lambda good: replace(good, headers=()),
    "no ce_id": lambda good: good.without_header(CE_ID),
    "null ce_id": lambda good: good.with_header(CE_ID, None),
    "empty ce_id": lambda good: good.with_header(CE_ID, b""),
    "ce_id is no UUID": lambda good: good.with_header(CE_ID, b"42"),
    "ce_id is no UTF-8": lambda good: good.with_header(CE_ID, NO_UTF8),
    "a second, bad ce_id": lambda good: good.more_headers((CE_ID, b"again")),
    "no ce_type": lambda good: good.without_header(CE_TYPE),
    "null ce_type": lambda good: good.with_header(CE_TYPE, None),
    "empty ce_type": lambda good: good.with_header(CE_TYPE, b""),
    "ce_type is no UTF-8": lambda good: good.with_header(CE_TYPE, NO_UTF8),
    "unheard-of ce_type": lambda good: good.with_header(CE_TYPE, b"orderflow.Unheard"),
    "ce_type without namespace": lambda good: good.with_header(CE_TYPE, _short_type(good)),
    "foreign ce_type": lambda good: good.with_header(CE_TYPE, good.foreign_type.encode()),
    "foreign type, through and through": lambda good: replace(
        good.with_header(CE_TYPE, good.foreign_type.encode()), value=good.foreign
    ),
    "ce_time is no time": lambda good: good.with_header(CE_TIME, b"yesterday"),
    "ce_source is no UTF-8": lambda good: good.with_header(CE_SOURCE, NO_UTF8),
    "no ce_source": lambda good: good.without_header(CE_SOURCE),
    "another writer's ce_source": lambda good: good.with_header(CE_SOURCE, b"/elsewhere"),
    "traceparent is no UTF-8": lambda good: good.more_headers((TRACEPARENT, NO_UTF8)),
    "names in capitals": lambda good: replace(
        good, headers=tuple((n.upper(), v) for n, v in good.headers)
    ),
    "a thousand headers": lambda good: good.without_header(CE_ID).more_headers(
        *((f"x-{number % 7}", os.urandom(8) if number % 3 else None) for number in range(1_000))
    ),
    "an oversized header": lambda good: good.without_header(CE_ID).more_headers(
        ("x", os.urandom(BIG))
    ),
    "3,000 headers": lambda good: good.without_header(CE_ID).more_headers(
        *((f"x-{number}", b"y") for number in range(3_000))
    ),
    "1.5 MB of headers": lambda good: good.without_header(CE_ID).more_headers(
        *((f"x-{number}", b"y" * 15_000) for number in range(100))
    ),
    "3 MB of headers": lambda good: good.without_header(CE_ID).more_headers(
        *((f"x-{number}", b"y" * 30_000) for number in range(100))
    ),
}

KEYS: Mapping[str, Callable[[Raw], Raw]] = {
    "nothing at all": lambda good: replace(good, key=None, value=None, headers=()),
    "null key": lambda good: replace(good, key=None, value=b"\xff"),
    "empty key": lambda good: replace(good, key=b"", value=b"\xff"),
    "binary key": lambda good: replace(good, key=bytes(range(256)), value=b"\xff"),
    "oversized key": lambda good: replace(good, key=os.urandom(100_000), value=b"\xff"),
    "a key of 1 MB": lambda good: replace(good, key=os.urandom(1_000_000), value=b"\xff"),
    "a key of 3 MB": lambda good: replace(good, key=b"k" * (3 * MIB), value=b"\xff"),
}

CUT = {"10 MB of zeros": b"value", "3 MB of headers": b"headers", "a key of 3 MB": b"key"}
"""The kinds of which not even a dead letter takes all, and which part it cuts."""

KINDS: Mapping[str, Callable[[Raw], Raw]] = {**VALUES, **HEADERS, **KEYS}
"""None of them may reach a handler, whoever hears the topic."""


DAMAGED_BODIES = frozenset(
    {
        "no body",
        "a byte short",
        "half a body",
        "half an id",
        "a byte left over",
        "a body left over",
        "the record twice",
        "a text longer than all",
        "a number without end",
        "a text of no UTF-8",
        "a time beyond all",
        "oversized rest",
    }
)
"""Their frames and headers are sound: who does not handle the type does not read so far."""


def _short_type(raw: Raw) -> bytes:
    return (dict(raw.headers)[CE_TYPE] or b"").rpartition(b".")[2]
