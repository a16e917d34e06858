"""Which change of a schema breaks which reader, in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from orderflow.contracts.schemas import CATALOGUE, DIRECTORY
from orderflow.messaging.schemas.catalogue import CommittedSchema, SchemaCatalogue
from orderflow.messaging.schemas.compatibility import MANIFEST, breaks, changed_since_committed

Change = Callable[[dict[str, Any]], object]

ORDER_CREATED = CATALOGUE.versions("orderflow.OrderCreated")[0]
ORDER_EVENT = CATALOGUE.versions("orderflow.OrderEvent")[0]


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
    return [str(found) for found in breaks(SchemaCatalogue([first, second], {}))]


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
    assert complaints(ORDER_CREATED, change) == []


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
    assert any(words in complaint for complaint in complaints(ORDER_CREATED, change))


def test_a_new_status_breaks_the_readers_that_do_not_know_it() -> None:
    found = complaints(
        ORDER_EVENT, lambda schema: field(schema, "status")["type"]["symbols"].append("LOST")
    )
    assert any(
        "field status: the writer may write LOST, which the reader does not know" in words
        for words in found
    )


def test_every_version_is_compared_with_every_other_not_only_with_the_one_before() -> None:
    """Dropping an optional field and bringing it back with another type passes pairwise, and breaks version 1."""
    documents = [json.loads(ORDER_CREATED.text) for _ in range(3)]
    drop("paymentMethod")(documents[1])
    retype("paymentMethod", ["null", "int"])(documents[2])
    versions = [
        CommittedSchema(
            type_name=ORDER_CREATED.type_name, version=number, text=json.dumps(document)
        )
        for number, document in enumerate(documents, start=1)
    ]
    assert {(found.reader, found.writer) for found in breaks(SchemaCatalogue(versions, {}))} == {
        (1, 3),
        (3, 1),
    }


def test_a_committed_version_that_was_edited_is_told_by_name(tmp_path: Path) -> None:
    schemas = copytree(DIRECTORY, tmp_path / "schemas")
    assert changed_since_committed(schemas) == []
    path = schemas / "OrderCreated" / "1.avsc"
    path.write_text(path.read_text() + "\n")
    (complaint,) = changed_since_committed(schemas)
    assert "OrderCreated/1.avsc was changed" in complaint


def test_a_new_version_is_asked_to_be_entered(tmp_path: Path) -> None:
    schemas = copytree(DIRECTORY, tmp_path / "schemas")
    (schemas / "OrderCreated" / "2.avsc").write_text(ORDER_CREATED.text)
    (complaint,) = changed_since_committed(schemas)
    lines = (schemas / MANIFEST).read_text().splitlines()
    (checksum,) = (line.split()[0] for line in lines if line.endswith("OrderCreated/1.avsc"))
    assert complaint.endswith(f"{checksum}  OrderCreated/2.avsc")
