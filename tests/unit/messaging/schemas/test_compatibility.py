"""Which change of a schema breaks which reader, in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orderflow.messaging.schemas.catalogue import CommittedSchema, SchemaCatalogue
from orderflow.messaging.schemas.compatibility import MANIFEST, breaks, changed_since_committed

Change = Callable[[dict[str, Any]], object]


def committed(name: str, *fields: dict[str, Any]) -> CommittedSchema:
    document = {"type": "record", "name": name, "namespace": "shop", "fields": list(fields)}
    return CommittedSchema(type_name=f"shop.{name}", version=1, text=json.dumps(document))


LINE = {
    "type": "record",
    "name": "Line",
    "fields": [{"name": "sku", "type": "string"}, {"name": "quantity", "type": "int"}],
}
STATUS = {"type": "enum", "name": "Status", "symbols": ["OPEN", "CLOSED"]}
ORDERED = committed(
    "Ordered",
    {"name": "version", "type": "int"},
    {"name": "lines", "type": {"type": "array", "items": LINE}},
    {"name": "currency", "type": "string"},
    {"name": "paymentMethod", "type": ["null", "string"], "default": None},
    {"name": "occurredAt", "type": {"type": "long", "logicalType": "timestamp-millis"}},
)
CHANGED = committed("Changed", {"name": "status", "type": STATUS})


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    """A directory with one committed version."""
    path = tmp_path / "Ordered" / "1.avsc"
    path.parent.mkdir()
    path.write_text(ORDERED.text)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / MANIFEST).write_text(f"{checksum}  Ordered/1.avsc\n")
    return tmp_path


def field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return next(field for field in schema["fields"] if field["name"] == name)


def add(**new: object) -> Change:
    return lambda schema: schema["fields"].append(new)


def retype(name: str, new: object) -> Change:
    return lambda schema: field(schema, name).update(type=new)


def drop(name: str) -> Change:
    return lambda schema: schema["fields"].remove(field(schema, name))


def complaints(first: CommittedSchema, change: Change) -> list[str]:
    document = json.loads(first.text)
    change(document)
    second = CommittedSchema(type_name=first.type_name, version=2, text=json.dumps(document))
    return [str(broken) for broken in breaks(SchemaCatalogue([first, second], {}))]


@pytest.mark.parametrize(
    "change",
    [
        add(name="note", type=["null", "string"], default=None),
        add(name="priority", type="int", default=0),
        drop("paymentMethod"),
        lambda schema: schema.update(doc="Other words."),
    ],
)
def test_a_change_that_every_reader_survives_is_no_break(change: Change) -> None:
    assert complaints(ORDERED, change) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            add(name="note", type="string"),
            "version 2 can't read what version 1 writes: field note: the writer does not write it, and the reader",
        ),
        (
            drop("currency"),
            "a reader of version 1 can't read what version 2 writes: field currency: ",
        ),
        (
            retype("version", "long"),
            "version 1 can't read what version 2 writes: field version: the writer writes long",
        ),
        (
            retype("version", "string"),
            "a reader of version 2 can't read what version 1 writes: field version: ",
        ),
        (
            retype("currency", ["null", "string"]),
            "field currency: the writer writes null or string, the reader wants",
        ),
        (
            retype("occurredAt", {"type": "long", "logicalType": "timestamp-micros"}),
            "field occurredAt: it was timestamp-millis and is read as timestamp-micros",
        ),
        (
            lambda schema: field(schema, "lines")["type"]["items"]["fields"].pop(0),
            "field lines[].sku: ",
        ),
    ],
)
def test_a_breaking_change_is_told_by_field_and_reader(change: Change, words: str) -> None:
    assert any(words in complaint for complaint in complaints(ORDERED, change))


def test_a_new_status_breaks_the_readers_that_do_not_know_it() -> None:
    complained = complaints(
        CHANGED, lambda schema: field(schema, "status")["type"]["symbols"].append("LOST")
    )
    assert any(
        "field status: the writer may write LOST, which the reader does not know" in words
        for words in complained
    )


def test_every_version_is_compared_with_every_other_not_only_with_the_one_before() -> None:
    """Dropping an optional field and bringing it back with another type passes pairwise, and breaks version 1."""
    documents = [json.loads(ORDERED.text) for _ in range(3)]
    drop("paymentMethod")(documents[1])
    retype("paymentMethod", ["null", "int"])(documents[2])
    versions = [
        CommittedSchema(type_name=ORDERED.type_name, version=number, text=json.dumps(document))
        for number, document in enumerate(documents, start=1)
    ]
    assert {(broken.reader, broken.writer) for broken in breaks(SchemaCatalogue(versions, {}))} == {
        (1, 3),
        (3, 1),
    }


def test_a_committed_version_that_was_edited_is_told_by_name(schemas: Path) -> None:
    assert changed_since_committed(schemas) == []
    path = schemas / "Ordered" / "1.avsc"
    path.write_text(path.read_text() + "\n")
    (complaint,) = changed_since_committed(schemas)
    assert "Ordered/1.avsc was changed" in complaint


def test_a_new_version_is_asked_to_be_entered(schemas: Path) -> None:
    (schemas / "Ordered" / "2.avsc").write_text(ORDERED.text)
    (complaint,) = changed_since_committed(schemas)
    checksum, _ = (schemas / MANIFEST).read_text().split()
    assert complaint.endswith(f"{checksum}  Ordered/2.avsc")
