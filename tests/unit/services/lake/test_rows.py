"""The rows of some offsets, from whichever objects have them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from starlette.testclient import TestClient
from tests.support.builders import an_order, refunded
from tests.support.lake_rows import NINE, payment, received
from tests.support.memory_store import MemoryStore

from orderflow.messaging.errors import Unavailable
from orderflow.services.lake.api import Readers, build_api
from orderflow.services.lake.handlers import Exporter
from orderflow.services.lake.rows import Rows
from orderflow.services.lake.sums import Sums

BLOCK = 100


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def rows(store: MemoryStore) -> Rows:
    export = Exporter(store, block_offsets=BLOCK)
    hours = [NINE, NINE + timedelta(hours=1), NINE]
    export(
        [
            *(
                received(payment(minor=offset + 1, at=hours[offset % 3]), offset)
                for offset in (0, 98, 99, 100, 101, 250)
            ),
            received(payment(minor=7), 99, partition=1),
        ]
    )
    return Rows(store, block_offsets=BLOCK)


def test_rows_of_offsets_come_in_their_order_from_all_blocks_and_hours(rows: Rows) -> None:
    def offsets(first: int, end: int) -> list[int]:
        return [row.offset for row in rows.read(0, first, end).rows]

    assert offsets(0, 2_000) == [0, 98, 99, 100, 101, 250]
    assert offsets(98, 101) == [98, 99, 100]
    assert offsets(101, 250) == [101]
    assert offsets(251, 2_000) == offsets(5, 5) == []
    assert [row.amount_minor for row in rows.read(1, 0, 2_000).rows] == [7]


def test_a_row_says_what_its_event_says(store: MemoryStore, rows: Rows) -> None:
    event = refunded(an_order(minor=500))
    taken = received(event, 30)
    Exporter(store, block_offsets=BLOCK)([taken])
    [row] = rows.read(0, 30, 31).rows
    assert (row.event_id, row.type) == (str(taken.metadata.id), "PaymentRefunded")
    assert (row.order_id, row.payment_id, row.refund_id) == (
        event.order_id,
        event.payment_id,
        event.refund_id,
    )
    assert (row.amount_minor, row.currency) == (500, "EUR")


def test_an_object_that_is_damaged_is_said_to_be(store: MemoryStore, rows: Rows) -> None:
    name = next(name for name in store.versions("payments") if "/payments-0-" in name)
    content = store.read(name)
    assert content is not None
    assert store.write(name, b"no parquet", replacing=content.version)
    with pytest.raises(Unavailable, match="can't be read"):
        rows.read(0, 0, 2_000)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("partition=0&first=0&end=2000", 200),
        ("", 200),
        ("partition=0&first=0&end=2001", 422),
        ("partition=0&first=5&end=4", 422),
        ("partition=x", 422),
        ("first=-1", 422),
        ("offset=1", 422),
    ],
)
def test_the_question_is_bounded(store: MemoryStore, rows: Rows, query: str, status: int) -> None:
    client = TestClient(build_api(Readers(Sums(store), rows), list), base_url="http://127.0.0.1")
    assert client.get(f"/lake/payments?{query}").status_code == status
