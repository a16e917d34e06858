"""Which change of a schema breaks which reader, in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.unit.messaging.schemas.parcels import SHIPPED_SCHEMA

from orderflow.messaging.schemas.catalogue import CommittedSchema, SchemaCatalogue
from orderflow.messaging.schemas.compatibility import MANIFEST, breaks, changed_since_committed

Change = Callable[[dict[str, Any]], object]


def field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return next(field for field in schema["fields"] if field["name"] == name)


def add(**new: object) -> Change:
    return lambda schema: schema["fields"].append(new)


def retype(name: str, new: object) -> Change:
    return lambda schema: field(schema, name).update(type=new)


def drop(name: str) -> Change:
    return lambda schema: schema["fields"].remove(field(schema, name))


def changed(change: Change, version: int = 2) -> CommittedSchema:
    document = json.loads(SHIPPED_SCHEMA.text)
    change(document)
    return CommittedSchema(
        type_name=SHIPPED_SCHEMA.type_name, version=version, text=json.dumps(document)
    )


def complaints(change: Change) -> list[str]:
    catalogue = SchemaCatalogue([SHIPPED_SCHEMA, changed(change)], {})
    return [str(complaint) for complaint in breaks(catalogue)]


@pytest.mark.parametrize(
    "change",
    [
        add(name="label", type=["null", "string"], default=None),
        add(name="priority", type="int", default=0),
        drop("note"),
        lambda schema: schema.update(doc="Other words."),
    ],
)
def test_a_change_that_every_reader_survives_is_no_break(change: Change) -> None:
    assert complaints(change) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            add(name="label", type="string"),
            "can't read what version 1 writes: field label: the writer does not write it, and the",
        ),
        (
            drop("parcelId"),
            "a reader of version 1 can't read what version 2 writes: field parcelId: ",
        ),
        (
            retype("weightG", "double"),
            "version 1 can't read what version 2 writes: field weightG: the writer writes double",
        ),
        (
            retype("weightG", "string"),
            "a reader of version 2 can't read what version 1 writes: field weightG: ",
        ),
        (
            retype("parcelId", ["null", "string"]),
            "field parcelId: the writer writes null or string, the reader wants",
        ),
        (
            retype("shippedAt", {"type": "long", "logicalType": "timestamp-micros"}),
            "field shippedAt: it was timestamp-millis and is read as timestamp-micros",
        ),
        (
            lambda schema: field(schema, "items")["type"]["items"]["fields"].pop(0),
            "field items[].sku: ",
        ),
        (
            lambda schema: field(schema, "size")["type"]["symbols"].append("HUGE"),
            "field size: the writer may write HUGE, which the reader does not know",
        ),
    ],
)
def test_a_breaking_change_is_told_by_field_and_reader(change: Change, words: str) -> None:
    assert any(words in complaint for complaint in complaints(change))


def test_every_version_is_compared_with_every_other() -> None:
    """An optional field dropped, and back with another type, passes pairwise and breaks readers."""
    versions = [
        SHIPPED_SCHEMA,
        changed(drop("note"), version=2),
        changed(retype("note", ["null", "int"]), version=3),
    ]
    pairs = {(broken.reader, broken.writer) for broken in breaks(SchemaCatalogue(versions, {}))}
    assert pairs == {(1, 3), (3, 1)}


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    """A directory with one committed version and its manifest."""
    path = tmp_path / "ParcelShipped" / "1.avsc"
    path.parent.mkdir()
    path.write_text(SHIPPED_SCHEMA.text)
    checksum = sha256(path.read_bytes()).hexdigest()
    (tmp_path / MANIFEST).write_text(f"{checksum}  ParcelShipped/1.avsc\n")
    return tmp_path


def test_a_committed_version_that_was_edited_is_told_by_name(committed: Path) -> None:
    assert changed_since_committed(committed) == []
    path = committed / "ParcelShipped" / "1.avsc"
    path.write_text(path.read_text() + "\n")
    (complaint,) = changed_since_committed(committed)
    assert "ParcelShipped/1.avsc was changed" in complaint


def test_a_new_version_is_asked_to_be_entered(committed: Path) -> None:
    (committed / "ParcelShipped" / "2.avsc").write_text(SHIPPED_SCHEMA.text)
    (complaint,) = changed_since_committed(committed)
    checksum = (committed / MANIFEST).read_text().split()[0]
    assert complaint.endswith(f"{checksum}  ParcelShipped/2.avsc")
