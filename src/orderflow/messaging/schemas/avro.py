"""
Events to bytes and back: Avro in Confluent's frame.

The frame is magic byte 0, a 4-byte big-endian schema id, then the body.

The encoder asks the registry only when it is loaded, the decoder once for each new schema id, and
for an id that the registry does not have once in 30 s. So an unavailable registry stops neither a
running writer nor a reader that has seen the ids before.

Most events go through functions that are compiled for their type (see `compiled`). What is unusual
goes the general way, fastavro's schemaless functions with schemas parsed once, and then msgspec.

Source: Confluent wire format; Avro 1.12 binary encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from datetime import datetime
from io import BytesIO
from typing import Any, NamedTuple, TypeVar

import fastavro
import msgspec

from orderflow.messaging.error_text import error_text, error_words
from orderflow.messaging.errors import ConfigurationError, OperatorCommands, Poison
from orderflow.messaging.schemas.catalogue import CommittedSchema, SchemaCatalogue, subject
from orderflow.messaging.schemas.compiled import (
    EPOCH,
    FRAME_BYTES,
    MILLISECOND,
    compile_reader,
    compile_writer,
)
from orderflow.messaging.schemas.registry import SchemaLookup
from orderflow.messaging.work.clock import CLOCK, Clock

MAGIC = 0
USELESS_FOR_S = (1.0, 30.0)
USELESS_MAX = 1_000
"""
How many ids are remembered for which the registry has no schema, or none that a record can be read
with, and how long: first, and at most. A flood of more of them costs look-ups.
"""


class _Useless(NamedTuple):
    """`until` is in monotonic seconds; `for_s`: how long it was believed this time."""

    until: float
    why: str
    for_s: float


_frame = struct.Struct(">bI")
_NATIVE = (datetime,)
_NO_AVRO = (
    msgspec.DecodeError,
    fastavro.schema.SchemaParseException,
    fastavro.schema.UnknownType,
    LookupError,
    TypeError,
    RecursionError,
)
"""What fastavro raises for text that is no Avro schema: JSON schemas, references, anything."""

T = TypeVar("T", bound=msgspec.Struct)


class Encoder:
    """
    Writes events of known topics, each in the latest committed version of its type.

    Made by `load`, the only moment at which it needs the registry. Threads may share it.
    """

    def __init__(self, writers: dict[tuple[str, str], _Writing]) -> None:
        self._writers = writers
        self._compiled: dict[tuple[str, type[Any]], Callable[[Any], bytes] | None] = {}

    @classmethod
    def load(
        cls, registry: SchemaLookup, catalogue: SchemaCatalogue, topics: Iterable[str] | None = None
    ) -> Encoder:
        """
        Look up the schema ids of every type on `topics` (None: all topics of the catalogue).

        Raises Unavailable when the registry can't be reached, and ConfigurationError when a schema
        is not registered: registration is the deploy step.
        """
        writers = {}
        for topic in catalogue.topics if topics is None else topics:
            for type_name in catalogue.types_on(topic):
                latest = catalogue.versions(type_name)[-1]
                schema_id = registry.id_of(subject(topic, type_name), latest.text)
                if schema_id is None:
                    raise _not_registered(latest, subject(topic, type_name), catalogue.commands)
                prefix = _frame.pack(MAGIC, schema_id)
                writers[topic, type_name.rpartition(".")[2]] = _writing(latest.text, prefix)
        return cls(writers)

    def encode(self, topic: str, event: msgspec.Struct) -> bytes:
        """
        The record value of `event` on `topic`.

        Raises ConfigurationError if the type does not belong on that topic, ValueError or TypeError
        if a field can't be written.
        """
        compiled = self._compiled.get((topic, type(event)))
        if compiled is not None:
            try:
                return compiled(event)
            except Exception:  # noqa: BLE001 - the general way says what it is, or writes it
                return self._encode(topic, event)

        value = self._encode(topic, event)
        if (topic, type(event)) not in self._compiled:
            writing = self._writers[topic, type(event).__name__]
            self._compiled[topic, type(event)] = compile_writer(
                writing.schema, type(event), writing.prefix
            )
        return value

    def _encode(self, topic: str, event: msgspec.Struct) -> bytes:
        """The general way."""
        try:
            writing = self._writers[topic, type(event).__name__]
        except KeyError:
            raise ConfigurationError(
                f"{type(event).__name__} does not belong on topic {topic}"
            ) from None

        fields = msgspec.to_builtins(event, builtin_types=_NATIVE)
        for name in writing.moments:
            if fields[name] is not None:
                fields[name] = (fields[name] - EPOCH) // MILLISECOND

        buffer = BytesIO(writing.prefix)
        buffer.seek(FRAME_BYTES)
        fastavro.schemaless_writer(buffer, writing.plain, fields)
        return buffer.getvalue()


class Decoder:
    """
    Reads any record whose schema the registry has, in any version. Keeps each schema by its id.

    Raises Poison for bytes that can't be decoded and for ids that the registry does not have;
    Unavailable while an id is new and the registry can't be reached: then the record must wait.
    Threads may share it.
    """

    def __init__(self, registry: SchemaLookup, *, clock: Clock = CLOCK) -> None:
        self._registry = registry
        self._clock = clock
        self._schemas: dict[int, Any] = {}
        self._compiled: dict[tuple[bytes, type[Any]], Callable[[bytes], Any] | None] = {}
        self._useless: dict[int, _Useless] = {}

    def knows(self, payload: bytes | None) -> bool:
        """True if `payload` can be decoded, or found to be poison, without the registry."""
        if payload is None or len(payload) < FRAME_BYTES or payload[0] != MAGIC:
            return True
        schema_id = int.from_bytes(payload[1:FRAME_BYTES], "big")
        return schema_id in self._schemas or bool(self._why_useless(schema_id))

    def type_of(self, payload: bytes | None) -> str:
        """
        The full name of the type in which the record was written; its body is not read.

        Call it before `decode` if only some types are expected: decoding a body of a schema that
        contains itself can end the process.
        """
        return str(self._schema(_schema_id(payload))["name"])

    def decode(self, payload: bytes | None) -> tuple[str, dict[str, Any]]:
        """The full name of the record's type, and its fields by name in the writer's schema."""
        schema = self._schema(_schema_id(payload))
        assert payload is not None
        body = BytesIO(payload)
        body.seek(FRAME_BYTES)

        try:
            value: Any = fastavro.schemaless_reader(body, schema, None)
        except (EOFError, IndexError, ValueError, OverflowError, MemoryError, TypeError) as error:
            where = f"at byte {body.tell()} of {len(payload)}"
            raise Poison(
                f"the body can't be read as {schema['name']}: {error_text(error)}, {where}"
            ) from error

        left = len(payload) - body.tell()
        if left:
            raise Poison(f"{left} bytes are left over after the body of {schema['name']}")
        return str(schema["name"]), value

    def decode_as(self, payload: bytes | None, event_type: type[T]) -> T:
        """The event as `event_type`; a field that the writer's version lacks has its default."""
        frame = payload[:FRAME_BYTES] if payload else b""
        compiled = self._compiled.get((frame, event_type))
        if compiled is not None and payload:
            try:
                event: T = compiled(payload)
            except Exception:  # noqa: BLE001 - the general way says what it is, or reads it
                return self._decode_as(payload, event_type)
            return event

        event = self._decode_as(payload, event_type)
        if (frame, event_type) not in self._compiled:
            schema = self._schema(_schema_id(payload))
            self._compiled[frame, event_type] = compile_reader(schema, event_type)
        return event

    def _decode_as(self, payload: bytes | None, event_type: type[T]) -> T:
        """The general way."""
        full_name, value = self.decode(payload)
        if full_name.rpartition(".")[2] != event_type.__name__:
            raise Poison(f"the record is a {full_name}, not a {event_type.__name__}")
        try:
            return msgspec.convert(value, event_type)
        except msgspec.ValidationError as error:
            raise Poison(
                f"the record is no good {event_type.__name__}: {error_words(error)}"
            ) from error

    def _schema(self, schema_id: int) -> Any:
        try:
            return self._schemas[schema_id]
        except KeyError:
            pass

        why = self._why_useless(schema_id) or self._look_up(schema_id)
        if why:
            raise Poison(f"schema id {schema_id} {why}")
        return self._schemas[schema_id]

    def _look_up(self, schema_id: int) -> str:
        """Ask the registry, and keep its answer; why no record can be read with it, if none can."""
        text = self._registry.schema_text(schema_id)
        if text is None:
            return self._keep_useless(schema_id, "is not known to the registry")
        try:
            schema = parse(text)
        except ConfigurationError:
            return self._keep_useless(schema_id, "is not an Avro schema")
        if not isinstance(schema, dict) or schema.get("type") != "record":
            return self._keep_useless(schema_id, "is not a record")

        self._schemas[schema_id] = schema
        return ""

    def _why_useless(self, schema_id: int) -> str:
        known = self._useless.get(schema_id)
        return known.why if known and self._clock.monotonic() < known.until else ""

    def _keep_useless(self, schema_id: int, why: str) -> str:
        """
        For a while only: an id can be registered, or reach the registry that is asked, after the
        first record that came with it. So it is believed for longer each time.
        """
        least, most = USELESS_FOR_S
        before = self._useless.pop(schema_id, None)
        for_s = min(most, 2 * before.for_s) if before else least
        if len(self._useless) >= USELESS_MAX:
            # The one that was asked for the longest time ago.
            del self._useless[next(iter(self._useless))]
        self._useless[schema_id] = _Useless(self._clock.monotonic() + for_s, why, for_s)
        return why


def parse(text: str) -> Any:
    """A schema in fastavro's form. Raises ConfigurationError if `text` is no Avro schema."""
    try:
        return fastavro.parse_schema(msgspec.json.decode(text))
    except _NO_AVRO as error:
        raise ConfigurationError(f"not an Avro schema: {error}") from error


class _Writing(NamedTuple):
    """
    How one type is written: `schema` as committed; `plain` with its top-level timestamp fields,
    which are `moments`, as the plain numbers that they are on the wire.

    That takes half of fastavro's time; it converts timestamps that are nested deeper.
    """

    prefix: bytes
    schema: Any
    plain: Any
    moments: tuple[str, ...]


def _writing(text: str, prefix: bytes) -> _Writing:
    document = msgspec.json.decode(text)
    moments = tuple(field["name"] for field in document["fields"] if _is_moment(field["type"]))
    plain = [{**field, "type": _as_long(field["type"])} for field in document["fields"]]
    return _Writing(
        prefix,
        parse(text),
        parse(msgspec.json.encode({**document, "fields": plain}).decode()),
        moments,
    )


def _is_moment(kind: Any) -> bool:
    if isinstance(kind, list):
        return any(map(_is_moment, kind)) and all(
            _is_moment(branch) or branch == "null" for branch in kind
        )
    return isinstance(kind, dict) and kind.get("logicalType") == "timestamp-millis"


def _as_long(kind: Any) -> Any:
    if not _is_moment(kind):
        return kind
    if isinstance(kind, list):
        return [branch if branch == "null" else "long" for branch in kind]
    return "long"


def _not_registered(
    schema: CommittedSchema, subject_name: str, commands: OperatorCommands
) -> ConfigurationError:
    return ConfigurationError(
        f"{schema.label} is not registered under {subject_name}: "
        f"run {commands.apply_schemas}, then start again"
    )


def _schema_id(payload: bytes | None) -> int:
    if payload is None:
        raise Poison("the record has no value")
    if len(payload) < FRAME_BYTES or payload[0] != MAGIC:
        start = payload[:FRAME_BYTES].hex() or "it is empty"
        raise Poison(f"the value does not begin with Confluent's frame: {start}")
    return int.from_bytes(payload[1:FRAME_BYTES], "big")
