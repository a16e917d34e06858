"""Which object a row is in: its hour, its partition and its block of offsets say so, alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import permutations

import pytest
from tests.support.lake_rows import NINE, payment

from orderflow.services.lake.model import OBJECT, Row, by_object, group_of, object_of


def row(offset: int, *, partition: int = 0, at: datetime = NINE) -> Row:
    return Row(payment(at=at), f"event-{partition}-{offset}", partition, offset)


@pytest.mark.parametrize(
    ("offset", "first"),
    [(0, 0), (9_999, 0), (10_000, 10_000), (10_001, 10_000), (123_456_789, 123_450_000)],
)
def test_the_name_has_the_first_offset_of_the_block_whatever_offset_is_written(
    offset: int, first: int
) -> None:
    name = object_of(row(offset, partition=2), block_offsets=10_000)
    assert name == f"payments/date=2026-01-31/hour=09/payments-2-{first:020}.parquet"
    assert OBJECT.fullmatch(name)


@pytest.mark.parametrize(
    ("at", "folder"),
    [
        (datetime(2026, 1, 31, 9, 59, 59, 999_000, tzinfo=UTC), "date=2026-01-31/hour=09"),
        (datetime(2026, 1, 31, 10, tzinfo=UTC), "date=2026-01-31/hour=10"),
        (
            datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=2))),
            "date=2025-12-31/hour=22",
        ),
    ],
)
def test_the_folder_is_the_hour_of_the_event_in_utc(at: datetime, folder: str) -> None:
    assert f"/{folder}/" in object_of(row(0, at=at), block_offsets=100)


def test_no_batch_puts_a_record_into_another_object() -> None:
    hours = [NINE, NINE + timedelta(hours=1), NINE - timedelta(hours=1)]
    records = [row(offset, at=hours[offset % 3]) for offset in (98, 99, 100, 101)]
    alone = {r.offset: object_of(r, block_offsets=100) for r in records}
    for batch in permutations(records):
        objects = by_object(batch, block_offsets=100)
        assert {r.offset: name for name, rows in objects.items() for r in rows} == alone


def test_an_offset_that_comes_twice_in_a_batch_is_one_row() -> None:
    twice = [row(7), row(7)]
    [(_name, rows)] = by_object(twice, block_offsets=100).items()
    assert rows == [twice[1]]


def test_objects_of_one_hour_and_partition_are_looked_at_together() -> None:
    names = [object_of(row(offset), block_offsets=100) for offset in (0, 250)]
    other = object_of(row(0, partition=1), block_offsets=100)
    assert len({group_of(name) for name in names}) == 1
    assert group_of(other) != group_of(names[0])
