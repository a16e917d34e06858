"""What the objects add up to: from the objects, each event once, and only what has changed."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from tests.support.builders import an_order, payment_failed, refunded
from tests.support.lake_rows import NINE, payment, received
from tests.support.memory_store import MemoryStore

from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.services.lake.bootstrap import open_store
from orderflow.services.lake.config import StoreSection
from orderflow.services.lake.handlers import Exporter
from orderflow.services.lake.local_store import LocalStore
from orderflow.services.lake.s3_store import BucketStore
from orderflow.services.lake.store import Content
from orderflow.services.lake.sums import Sums
from orderflow.services.lake.views import TotalView


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def export(store: MemoryStore) -> Exporter:
    return Exporter(store, block_offsets=100)


def test_an_empty_lake_adds_up_to_nothing(store: MemoryStore) -> None:
    sums = Sums(store).read()
    assert (sums.objects, sums.rows, sums.totals, sums.last_offsets) == (0, 0, (), {})


def test_events_are_counted_by_currency_and_status(store: MemoryStore, export: Exporter) -> None:
    order = an_order(minor=500)
    batch = [
        received(payment(minor=1_000), 3),
        received(payment(minor=2_000, at=NINE + timedelta(hours=1)), 250, partition=1),
        received(payment_failed(order), 4),
        received(refunded(order), 5),
    ]
    export(batch)
    sums = Sums(store).read()
    assert sums.totals == (
        TotalView(currency="EUR", status="CAPTURED", count=2, amount_minor=3_000),
        TotalView(currency="EUR", status="FAILED", count=1, amount_minor=500),
        TotalView(currency="EUR", status="REFUNDED", count=1, amount_minor=500),
    )
    assert (sums.rows, sums.events, sums.payments) == (4, 4, 3)
    assert sums.last_offsets == {"payments-0": 5, "payments-1": 250}


def test_an_event_that_is_on_the_topic_twice_counts_once(
    store: MemoryStore, export: Exporter
) -> None:
    event = payment(minor=1_000)
    export([received(event, offset, event_id=UUID(int=7)) for offset in (3, 250)])
    sums = Sums(store).read()
    assert (sums.objects, sums.rows, sums.events, sums.payments) == (2, 2, 1, 1)
    assert sums.totals == (
        TotalView(currency="EUR", status="CAPTURED", count=1, amount_minor=1_000),
    )


def test_only_the_hours_that_have_changed_are_read_again(
    store: MemoryStore, export: Exporter
) -> None:
    export([received(payment(at=NINE + timedelta(hours=hour)), hour) for hour in range(5)])
    sums = Sums(store)
    before = sums.read()
    store.reads.clear()
    assert sums.read() == before
    assert store.reads == []
    export([received(payment(at=NINE + timedelta(hours=2)), 7)])
    store.reads.clear()
    assert sums.read().rows == 6
    assert len(store.reads) == 1


def test_what_is_removed_from_the_store_is_in_no_sum(store: MemoryStore, export: Exporter) -> None:
    export([received(payment(), offset) for offset in (1, 101)])
    sums = Sums(store)
    assert sums.read().rows == 2
    del store.objects[max(store.objects)]
    assert sums.read().rows == 1


def test_foreign_objects_are_not_read(store: MemoryStore) -> None:
    store.objects["payments/notes.parquet"] = Content(b"nothing of ours", "v0")
    assert Sums(store).read().objects == 0


def test_a_damaged_object_is_no_sum(store: MemoryStore, export: Exporter) -> None:
    export([received(payment(), 1)])
    [name] = store.objects
    store.objects[name] = Content(b"half", "v9")
    with pytest.raises(Unavailable, match="can't be read"):
        Sums(store).read()


def test_a_url_names_a_directory_or_a_bucket() -> None:
    assert isinstance(open_store(StoreSection(url="file:///srv/lake")), LocalStore)
    assert isinstance(open_store(StoreSection(url="s3://lake/below/here")), BucketStore)


@pytest.mark.parametrize("url", ["", "/srv/lake", "http://store/lake", "s3://", "file://host/x"])
def test_any_other_url_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ORDERFLOW_LAKE__STORE__URL: .*name a directory"):
        open_store(StoreSection(url=url))
