"""
Checks that every version of a schema can read every other's records, and names what breaks whom.

FULL_TRANSITIVE, in both directions: readers are upgraded before or after writers, and topics hold
old records. Apache Avro's own checker decides; this module words its decision, and adds one rule: a
logical type never changes, because milliseconds can be read as microseconds, and are wrong then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import msgspec
from avro.compatibility import (
    ReaderWriterCompatibilityChecker,
    SchemaCompatibilityType,
    lookup_writer_field,
)
from avro.errors import AvroException
from avro.schema import ArraySchema, MapSchema, RecordSchema, Schema, UnionSchema
from avro.schema import parse as parse_avro

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.schemas.catalogue import CommittedSchema, SchemaCatalogue

MANIFEST = "committed.sha256"
"""Beside the schemas: the checksum of each committed version, in the form of `sha256sum`."""


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """One field that a reader of one version can't read in another version's records."""

    type_name: str
    reader: int
    writer: int
    field: str
    why: str

    def __str__(self) -> str:
        return (
            f"{self.type_name}: a reader of version {self.reader} can't read "
            f"what version {self.writer} writes: {self.field}: {self.why}"
        )


def breaks(catalogue: SchemaCatalogue) -> list[Break]:
    """Every break between any two versions of each type, in both directions."""
    return [
        each
        for type_name in catalogue.types
        for reader, writer in permutations(catalogue.versions(type_name), 2)
        for each in breaks_between(reader, writer)
    ]


def breaks_between(reader: CommittedSchema, writer: CommittedSchema) -> list[Break]:
    """The fields that a reader of one version can't read in records of the other."""
    reading, writing = _parsed(reader), _parsed(writer)
    fields = list(_walk(reading, writing, ""))

    # Avro's checker has the last word, also where this module can't name the field.
    if not fields and not _readable(reading, writing):
        fields = [("the record", "it can't be read")]

    return [
        Break(
            type_name=reader.type_name,
            reader=reader.version,
            writer=writer.version,
            field=field,
            why=why,
        )
        for field, why in fields
    ]


def changed_since_committed(directory: Path) -> list[str]:
    """
    A complaint for each file that differs from the manifest, is missing, or is new.

    A committed version never changes, not even in a comment: its text is in the registry. To commit
    a new version, add the line that the complaint shows.
    """
    manifest = directory / MANIFEST
    lines = (line.split() for line in manifest.read_text(encoding="utf-8").splitlines() if line)
    entries = {name: checksum for checksum, name in lines}

    present = {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.glob("*/*.avsc"))
    }

    changed = [
        f"{name} was changed or removed: a committed version never changes; "
        "restore it, and make a new version"
        for name, checksum in entries.items()
        if present.get(name) != checksum
    ]
    new = [
        f"{name} is new: once it is as it should stay for good, "
        f"add this line to {MANIFEST}: {checksum}  {name}"
        for name, checksum in present.items()
        if name not in entries
    ]
    return changed + new


def _parsed(schema: CommittedSchema) -> Schema:
    try:
        return parse_avro(schema.text)
    except AvroException as error:
        raise ConfigurationError(f"{schema.label} is no valid Avro schema: {error}") from error


def _readable(reader: Schema, writer: Schema) -> bool:
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    return (
        checker.get_compatibility(reader, writer).compatibility
        is not SchemaCompatibilityType.incompatible
    )


def _walk(reader: Schema, writer: Schema, path: str) -> Iterator[tuple[str, str]]:
    """(field, why) for each leaf that can't be read."""
    if (
        isinstance(reader, RecordSchema)
        and isinstance(writer, RecordSchema)
        and reader.name == writer.name
    ):
        yield from _walk_fields(reader, writer, path)
    elif isinstance(reader, ArraySchema) and isinstance(writer, ArraySchema):
        yield from _walk(reader.items, writer.items, f"{path}[]")
    elif isinstance(reader, MapSchema) and isinstance(writer, MapSchema):
        yield from _walk(reader.values, writer.values, f"{path}{{}}")
    else:
        field = f"field {path}" if path else "the record"
        if not _readable(reader, writer):
            yield field, _in_words(reader, writer)
        elif _logical_types(reader) != _logical_types(writer):
            meanings = f"it was {_shown(writer)} and is read as {_shown(reader)}"
            yield field, f"{meanings}: another meaning of the same bytes"


def _walk_fields(
    reader: RecordSchema, writer: RecordSchema, path: str
) -> Iterator[tuple[str, str]]:
    for field in reader.fields:
        name = f"{path}.{field.name}" if path else field.name
        written = lookup_writer_field(writer_schema=writer, reader_field=field)
        if written is not None:
            if str(field.type) != str(written.type):
                yield from _walk(field.type, written.type, name)
        elif not field.has_default:
            yield (
                f"field {name}",
                "the writer does not write it, and the reader has no default for it",
            )


def _in_words(reader: Schema, writer: Schema) -> str:
    unknown = _symbols(writer) - _symbols(reader)
    if unknown and _symbols(reader):
        return f"the writer may write {', '.join(sorted(unknown))}, which the reader does not know"
    return f"the writer writes {_shown(writer)}, the reader wants {_shown(reader)}"


def _symbols(schema: Schema) -> set[str]:
    if isinstance(schema, UnionSchema):
        return set().union(*(_symbols(branch) for branch in schema.schemas))
    return set(getattr(schema, "symbols", ()))


def _logical_types(schema: Schema) -> frozenset[str]:
    branches = schema.schemas if isinstance(schema, UnionSchema) else [schema]
    return frozenset(
        f"{branch.type}:{logical}" for branch in branches if (logical := _logical_type(branch))
    )


def _logical_type(schema: Schema) -> str | None:
    name = getattr(schema, "logical_type", None) or schema.props.get("logicalType")
    return None if name is None else str(name)


def _shown(schema: Schema) -> str:
    if isinstance(schema, UnionSchema):
        return " or ".join(_shown(branch) for branch in schema.schemas)
    return _logical_type(schema) or getattr(schema, "name", None) or str(schema.type)
