"""The committed schemas, read from their directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.schemas.catalogue import SchemaCatalogue

SCHEMA = '{"type": "record", "name": "Shipped", "namespace": "shop", "fields": []}'


def commit(directory: Path, path: str, text: str = SCHEMA) -> None:
    (directory / path).parent.mkdir(exist_ok=True)
    (directory / path).write_text(text)


def test_versions_are_found_in_order_and_tens_come_after_units(tmp_path: Path) -> None:
    for version in range(1, 12):
        commit(tmp_path, f"Shipped/{version}.avsc")
    catalogue = SchemaCatalogue.read(tmp_path, {"parcels": ("shop.Shipped",)})
    assert [schema.version for schema in catalogue.versions("shop.Shipped")] == list(range(1, 12))
    assert catalogue.versions("shop.Shipped")[0].text == SCHEMA


def test_one_type_on_two_topics_has_two_subjects(tmp_path: Path) -> None:
    commit(tmp_path, "Shipped/1.avsc")
    catalogue = SchemaCatalogue.read(
        tmp_path, {"parcels": ("shop.Shipped",), "archive": ("shop.Shipped",)}
    )
    assert catalogue.subjects() == [
        ("parcels-shop.Shipped", "shop.Shipped"),
        ("archive-shop.Shipped", "shop.Shipped"),
    ]
    assert catalogue.types_on("elsewhere") == ()


def test_a_gap_in_the_versions_is_refused(tmp_path: Path) -> None:
    commit(tmp_path, "Shipped/1.avsc")
    commit(tmp_path, "Shipped/3.avsc")
    with pytest.raises(ConfigurationError, match=r"shop\.Shipped: versions must be 1, 2, 3"):
        SchemaCatalogue.read(tmp_path, {})


@pytest.mark.parametrize("path", ["Lost/1.avsc", "Shipped/first.avsc"])
def test_a_misplaced_file_is_refused_by_name(tmp_path: Path, path: str) -> None:
    commit(tmp_path, path)
    with pytest.raises(ConfigurationError, match=path):
        SchemaCatalogue.read(tmp_path, {})


def test_a_file_that_is_no_schema_is_refused_by_name(tmp_path: Path) -> None:
    commit(tmp_path, "Shipped/1.avsc", "{")
    with pytest.raises(ConfigurationError, match=r"Shipped/1\.avsc: not a record schema"):
        SchemaCatalogue.read(tmp_path, {})


def test_a_topic_whose_type_has_no_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no schema is committed for shop\.Shipped"):
        SchemaCatalogue.read(tmp_path, {"parcels": ("shop.Shipped",)})
