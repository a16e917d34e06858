"""Compares a typed event with its schema: fields in order, by name, with types and defaults."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

SIMPLE: dict[type, tuple[str, ...]] = {
    str: ("string",),
    int: ("int", "long"),
    bool: ("boolean",),
    bytes: ("bytes",),
}
"""Python type → Avro types. No float: it has no exact decimal values."""


def mismatches(event_type: type[msgspec.Struct], schema_text: str) -> list[str]:
    """A complaint for each field that differs; empty when type and schema agree."""
    schema = msgspec.json.decode(schema_text)
    return list(_record(event_type, schema, {}, event_type.__name__))


def _record(
    event_type: type[msgspec.Struct], schema: dict[str, Any], named: dict[str, Any], path: str
) -> Iterator[str]:
    hints = get_type_hints(event_type)
    fields = {field.encode_name: field for field in msgspec.structs.fields(event_type)}
    written = {field["name"]: field for field in schema["fields"]}
    if list(fields) != list(written):
        yield f"{path}: the type has {', '.join(fields)}; the schema has {', '.join(written)}"
        return

    for name, field in fields.items():
        yield from _value(hints[field.name], written[name]["type"], named, f"{path}.{name}")
        promised = written[name].get("default", msgspec.NODEFAULT)
        if promised != field.default:
            yield (
                f"{path}.{name}: the type's default is {field.default}, the schema's is {promised}"
            )


def _value(hint: Any, schema: Any, named: dict[str, Any], path: str) -> Iterator[str]:
    hint = getattr(hint, "__supertype__", hint)
    schema = _resolved(schema, named)
    origin = get_origin(hint)

    if origin in (Union, types.UnionType):
        yield from _optional(hint, schema, named, path)
    elif origin is tuple and isinstance(schema, Mapping) and schema["type"] == "array":
        yield from _value(get_args(hint)[0], schema["items"], named, f"{path}[]")
    elif origin is dict and isinstance(schema, Mapping) and schema["type"] == "map":
        yield from _value(get_args(hint)[1], schema["values"], named, f"{path}{{}}")
    elif isinstance(hint, type) and not _fits(hint, schema):
        yield f"{path}: the type is {hint.__name__}, the schema has {schema}"
    elif isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield from _record(hint, schema, named, path)
    elif not isinstance(hint, type):
        yield f"{path}: the type is {hint}, the schema has {schema}"


def _optional(hint: Any, schema: Any, named: dict[str, Any], path: str) -> Iterator[str]:
    inner = [part for part in get_args(hint) if part is not types.NoneType]
    if len(inner) != 1 or not isinstance(schema, list) or len(schema) != 2 or schema[0] != "null":
        yield f"{path}: the type is {hint}, the schema has {schema}; an optional field is [null, T]"
    else:
        yield from _value(inner[0], schema[1], named, path)


def _fits(hint: type, schema: Any) -> bool:
    if issubclass(hint, msgspec.Struct):
        return (
            isinstance(schema, Mapping)
            and schema["type"] == "record"
            and schema["name"] == hint.__name__
        )

    if issubclass(hint, Enum):
        symbols = [member.value for member in hint]
        return (
            isinstance(schema, Mapping)
            and schema["type"] == "enum"
            and schema["symbols"] == symbols
        )

    if hint is datetime:
        return bool(schema == {"type": "long", "logicalType": "timestamp-millis"})
    return schema in SIMPLE.get(hint, ())


def _resolved(schema: Any, named: dict[str, Any]) -> Any:
    """The schema itself where `schema` is only the name of one defined further up."""
    if isinstance(schema, Mapping) and "name" in schema:
        named[schema["name"]] = schema
    return named.get(schema, schema) if isinstance(schema, str) else schema
