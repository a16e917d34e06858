"""
Events to bytes and back: Avro in Confluent's frame (magic byte 0, 4-byte big-endian schema id, body).

The encoder asks the registry once, when it is loaded, and never again; the decoder once for each id it has not seen. So
a registry that is away stops neither a writer that runs nor a reader that has met the ids before.

Source: Confluent wire format; Avro 1.12 binary encoding. fastavro's schemaless calls, with schemas parsed once, take
half the time of Confluent's serialiser.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any, TypeVar

import fastavro
import msgspec

from orderflow.messaging.errors import ConfigurationError, Poison
from orderflow.messaging.schemas.catalogue import CommittedSchema, SchemaCatalogue, subject
from orderflow.messaging.schemas.registry import SchemaLookup

MAGIC = 0
FRAME_BYTES = 5

_frame = struct.Struct(">bI")
_NATIVE = (datetime,)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NO_AVRO = (
    msgspec.DecodeError,
    fastavro.schema.SchemaParseException,
    fastavro.schema.UnknownType,
    LookupError,
    TypeError,
    RecursionError,
)
"""What fastavro raises for the texts that a registry keeps: JSON schemas, references to other schemas, anything."""

T = TypeVar("T", bound=msgspec.Struct)


class Encoder:
    """
    Writes events of known topics, each in the latest committed version of its type.

    Made by `load`, which is the only moment it needs the registry. Safe to share between threads.
    """

    def __init__(self, writers: dict[tuple[str, str], tuple[bytes, Any, tuple[str, ...]]]) -> None:
        self._writers = writers

    @classmethod
    def load(
        cls, registry: SchemaLookup, catalogue: SchemaCatalogue, topics: Iterable[str] | None = None
    ) -> Encoder:
        """
        Look up the ids of everything that may be written to `topics` (all, if None).

        Raises Unavailable when the registry can't be asked, and ConfigurationError when a schema is not registered:
        registering is the deploy step's work.
        """
        writers = {}
        for topic in catalogue.topics if topics is None else topics:
            for type_name in catalogue.types_on(topic):
                latest = catalogue.versions(type_name)[-1]
                prefix = _frame.pack(
                    MAGIC, _registered_id(registry, subject(topic, type_name), latest)
                )
                writers[topic, type_name.rpartition(".")[2]] = (prefix, *_writing(latest.text))
        return cls(writers)

    def encode(self, topic: str, event: msgspec.Struct) -> bytes:
        """
        The record value of `event` on `topic`.

        Raises ConfigurationError if that type does not belong on that topic, ValueError or TypeError if a field can't
        be written.
        """
        try:
            prefix, schema, moments = self._writers[topic, type(event).__name__]
        except KeyError:
            raise ConfigurationError(
                f"{type(event).__name__} does not belong on topic {topic}"
            ) from None
        buffer = BytesIO(prefix)
        buffer.seek(FRAME_BYTES)
        fields = msgspec.to_builtins(event, builtin_types=_NATIVE)
        for name in moments:
            if fields[name] is not None:
                fields[name] = (fields[name] - _EPOCH) // _MILLISECOND
        fastavro.schemaless_writer(buffer, schema, fields)
        return buffer.getvalue()


class Decoder:
    """
    Reads any record whose schema the registry knows, in any version. Schemas are kept by id, for good.

    Raises Poison for bytes that nobody can read and for ids that the registry does not know; Unavailable while an id is
    new and the registry can't be asked: then the record must wait. Safe to share between threads.
    """

    def __init__(self, registry: SchemaLookup) -> None:
        self._registry = registry
        self._schemas: dict[int, Any] = {}

    def knows(self, payload: bytes | None) -> bool:
        """Can this be judged without asking the registry?"""
        if payload is None or len(payload) < FRAME_BYTES or payload[0] != MAGIC:
            return True
        return int.from_bytes(payload[1:FRAME_BYTES], "big") in self._schemas

    def type_of(self, payload: bytes | None) -> str:
        """
        The full name of the type that the record was written as; its body is not read.

        Ask before `decode` if only some types are welcome: a body of a schema that nests itself can end the process.
        """
        return str(self._schema(_schema_id(payload))["name"])

    def decode(self, payload: bytes | None) -> tuple[str, dict[str, Any]]:
        """The full name of the record's type and its fields by wire name, as the writer's schema has them."""
        schema = self._schema(_schema_id(payload))
        assert payload is not None
        body = BytesIO(payload)
        body.seek(FRAME_BYTES)
        try:
            value: Any = fastavro.schemaless_reader(body, schema, None)
        except (EOFError, IndexError, ValueError, OverflowError, MemoryError, TypeError) as error:
            raise Poison(f"the body can't be read as {schema['name']}: {error!r}") from error
        if body.tell() != len(payload):
            raise Poison(
                f"{len(payload) - body.tell()} bytes are left over after the body of {schema['name']}"
            )
        return str(schema["name"]), value

    def decode_as(self, payload: bytes | None, event_type: type[T]) -> T:
        """The event as `event_type`; a field that the writer did not know yet has its default."""
        full_name, value = self.decode(payload)
        if full_name.rpartition(".")[2] != event_type.__name__:
            raise Poison(f"the record is a {full_name}, not a {event_type.__name__}")
        try:
            return msgspec.convert(value, event_type)
        except msgspec.ValidationError as error:
            raise Poison(f"the record is no good {event_type.__name__}: {error}") from error

    def _schema(self, schema_id: int) -> Any:
        try:
            return self._schemas[schema_id]
        except KeyError:
            pass
        text = self._registry.schema_text(schema_id)
        if text is None:
            raise Poison(f"schema id {schema_id} is not known to the registry")
        try:
            schema = parse(text)
        except ConfigurationError as error:
            raise Poison(f"schema id {schema_id} is not an Avro schema") from error
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise Poison(f"schema id {schema_id} is not a record")
        self._schemas[schema_id] = schema
        return schema


def parse(text: str) -> Any:
    """A schema as fastavro wants it. Raises ConfigurationError if the text is none."""
    try:
        return fastavro.parse_schema(msgspec.json.decode(text))
    except _NO_AVRO as error:
        raise ConfigurationError(f"not an Avro schema: {error}") from error


def _writing(text: str) -> tuple[Any, tuple[str, ...]]:
    """
    The schema to write with, and the names of its fields that are moments: those are written as the plain numbers that
    they are on the wire, in half the time. Moments deeper down are left to fastavro.
    """
    document = msgspec.json.decode(text)
    moments = tuple(field["name"] for field in document["fields"] if _is_moment(field["type"]))
    plain = [{**field, "type": _as_long(field["type"])} for field in document["fields"]]
    return parse(msgspec.json.encode({**document, "fields": plain}).decode()), moments


def _is_moment(kind: Any) -> bool:
    if isinstance(kind, list):
        return any(map(_is_moment, kind)) and all(_is_moment(one) or one == "null" for one in kind)
    return isinstance(kind, dict) and kind.get("logicalType") == "timestamp-millis"


def _as_long(kind: Any) -> Any:
    if not _is_moment(kind):
        return kind
    return [one if one == "null" else "long" for one in kind] if isinstance(kind, list) else "long"


def _registered_id(registry: SchemaLookup, subject_name: str, schema: CommittedSchema) -> int:
    schema_id = registry.id_of(subject_name, schema.text)
    if schema_id is None:
        raise ConfigurationError(
            f"{schema.label} is not registered under {subject_name}: run `orderflow schemas apply`, then start again"
        )
    return schema_id


def _schema_id(payload: bytes | None) -> int:
    if payload is None:
        raise Poison("the record has no value")
    if len(payload) < FRAME_BYTES or payload[0] != MAGIC:
        raise Poison(
            f"the value does not begin with Confluent's frame: {payload[:FRAME_BYTES].hex() or 'it is empty'}"
        )
    return int.from_bytes(payload[1:FRAME_BYTES], "big")
