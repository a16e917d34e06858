"""The handler: each row once in its object, whoever wrote before, meanwhile, or again."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from uuid import UUID, uuid4

import pyarrow as pa
import pytest
from tests.support.builders import an_order, payment_failed, refunded
from tests.support.lake_rows import NINE, offsets, payment, received, rows
from tests.support.memory_store import MemoryStore

from orderflow.contracts.events import PaymentFailed, PaymentRefunded, PaymentSucceeded
from orderflow.messaging.errors import Contention, RecordFault, Unavailable
from orderflow.services.lake import parquet
from orderflow.services.lake.columns import OF_EVENT
from orderflow.services.lake.handlers import OVERTAKEN_MAX, Exporter, UnknownPlace
from orderflow.services.lake.store import Content

FIRST = "date=2026-01-31/hour=09/payments-0-00000000000000000000.parquet"
SECOND = "date=2026-01-31/hour=09/payments-0-00000000000000000100.parquet"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def export(store: MemoryStore) -> Exporter:
    return Exporter(store, block_offsets=100)


def test_every_field_of_an_event_of_the_topic_has_a_column() -> None:
    fields = {
        field
        for event in (PaymentSucceeded, PaymentFailed, PaymentRefunded)
        for field in event.__struct_fields__
    }
    assert fields == set(OF_EVENT), "a new field is a new column, at the end of columns.py"


def test_a_row_is_the_event_with_its_place_and_its_types(
    store: MemoryStore, export: Exporter
) -> None:
    event, event_id = payment(minor=2**53 + 1), uuid4()
    export([received(event, 41, partition=2, event_id=event_id)])
    [[row]] = rows(store.objects).values()
    assert row == {
        "event_id": str(event_id),
        "event_type": "PaymentSucceeded",
        "topic": "payments",
        "partition": 2,
        "offset": 41,
        "order_id": event.order_id,
        "customer_id": event.customer_id,
        "attempt": 1,
        "payment_id": event.payment_id,
        "refund_id": None,
        "amount_minor": 2**53 + 1,
        "currency": "EUR",
        "payment_method": "pm_ok",
        "reason": None,
        "message": None,
        "provider_reference": "ch_1",
        "lines": [
            {"sku": x.sku, "quantity": x.quantity, "unit_price_minor": x.unit_price_minor}
            for x in event.lines
        ],
        "occurred_at": NINE,
    }


def test_the_three_types_are_rows_of_one_table(store: MemoryStore, export: Exporter) -> None:
    order = an_order()
    events = [payment(), payment_failed(order), refunded(order)]
    export([received(event, offset) for offset, event in enumerate(events)])
    types = {row["offset"]: row["event_type"] for of in rows(store.objects).values() for row in of}
    assert types == {0: "PaymentSucceeded", 1: "PaymentFailed", 2: "PaymentRefunded"}


def test_batches_in_any_order_and_of_any_size_make_the_same_objects() -> None:
    records = [
        received(payment(at=NINE + timedelta(hours=offset % 3)), offset, partition=offset % 2)
        for offset in range(250)
    ]
    whole = MemoryStore()
    Exporter(whole, block_offsets=100)(records)
    draw = Random(3)
    for _ in range(3):
        pieces = MemoryStore()
        export = Exporter(pieces, block_offsets=100)
        shuffled = draw.sample(records, len(records))
        while shuffled:
            size = draw.randrange(1, 80)
            batch, shuffled = shuffled[:size], shuffled[size:]
            export(batch)
            if draw.random() < 0.3:
                export(draw.sample(records, 40))
        assert rows(pieces.objects) == rows(whole.objects)


def test_a_repeat_writes_nothing_and_makes_durable_what_it_saw(
    store: MemoryStore, export: Exporter
) -> None:
    batch = [received(payment(), offset) for offset in range(3)]
    export(batch)
    before = dict(store.objects)
    export(batch[1:])
    assert store.objects == before
    assert store.settled == [f"payments/{FIRST}"]


def test_a_writer_that_was_stopped_and_overtaken_loses_nobodys_rows(store: MemoryStore) -> None:
    zombie, successor = (Exporter(store, block_offsets=100) for _ in range(2))
    mine = [received(payment(), offset) for offset in (0, 1)]
    more = [received(payment(), offset) for offset in (2, 3)]
    zombie(mine[:1])
    # It has read the object, and stands still before it writes.
    store.before_write = lambda: successor([*mine, *more])
    zombie(mine)
    assert offsets(store.objects) == {FIRST: [0, 1, 2, 3]}
    assert len(store.writes) == 2, "the zombie found its rows there"


def test_two_that_create_one_object_both_have_their_rows_in_it(store: MemoryStore) -> None:
    zombie, successor = (Exporter(store, block_offsets=100) for _ in range(2))
    store.before_write = lambda: successor([received(payment(), 5)])
    zombie([received(payment(), 4)])
    assert offsets(store.objects) == {FIRST: [4, 5]}


def test_one_that_is_overtaken_all_the_time_lets_others_go_first(
    store: MemoryStore, export: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "write", lambda *_, **__: False)
    with pytest.raises(Contention):
        export([received(payment(), 0)])
    assert len(store.reads) == OVERTAKEN_MAX


def test_a_block_ends_where_its_offsets_end(store: MemoryStore, export: Exporter) -> None:
    export([received(payment(), offset) for offset in (98, 99, 100, 101)])
    export([received(payment(), offset) for offset in (97, 102)])
    assert offsets(store.objects) == {FIRST: [97, 98, 99], SECOND: [100, 101, 102]}


def test_a_full_disk_acknowledges_nothing_and_leaves_what_was_there(
    store: MemoryStore, export: Exporter
) -> None:
    export([received(payment(), 0)])
    before = dict(store.objects)
    store.fails = 1
    with pytest.raises(Unavailable) as caught:
        export([received(payment(), 1)])
    assert (caught.value.resource, caught.value.reason) == ("store", "its disk is full")
    assert store.objects == before


def test_a_replay_is_the_row_of_the_record_that_failed(
    store: MemoryStore, export: Exporter
) -> None:
    export([received(payment(), offset) for offset in (6, 8)])
    replay = received(
        payment(),
        0,
        topic="payments.lake-exporter.replay",
        original=("payments", 0, 7),
    )
    export([replay])
    export([replay])
    assert offsets(store.objects) == {FIRST: [6, 7, 8]}


@pytest.mark.parametrize("original", [None, ("orders", 0, 7), ("payments", -1, 7)])
def test_a_replay_without_a_place_is_at_fault_itself(
    store: MemoryStore, export: Exporter, original: tuple[str, int, int] | None
) -> None:
    with pytest.raises(UnknownPlace) as caught:
        export([received(payment(), 0, topic="payments.lake-exporter.replay", original=original)])
    assert isinstance(caught.value, RecordFault)
    assert store.objects == {}


def test_another_event_at_an_offset_is_never_written_over(
    store: MemoryStore, export: Exporter
) -> None:
    export([received(payment(), 7, event_id=UUID(int=1))])
    before = dict(store.objects)
    with pytest.raises(Unavailable, match="another event at payments-0@7") as caught:
        export([received(payment(), 7, event_id=UUID(int=2))])
    assert "payments/" not in caught.value.reason
    assert store.objects == before


def test_an_object_that_is_damaged_is_left_as_it_is(store: MemoryStore, export: Exporter) -> None:
    name = f"payments/{FIRST}"
    store.objects[name] = damaged = Content(b"PAR1 and then nothing", "v0")
    with pytest.raises(Unavailable, match="can't be read"):
        export([received(payment(), 7)])
    assert store.objects == {name: damaged}


def test_columns_of_older_and_newer_exporters_stay(store: MemoryStore, export: Exporter) -> None:
    older = [name for name in parquet.SCHEMA.names if name != "provider_reference"]
    export([received(payment(), 0)])
    [(name, content)] = store.objects.items()
    table = parquet.columns(name, content.body, older)
    table = table.append_column("a_newer_one", pa.array(["x"]))
    store.objects[name] = Content(parquet._written(table), "v0")
    export([received(payment(), 1)])
    [first, second] = rows(store.objects)[name]
    assert (first["provider_reference"], first["a_newer_one"]) == (None, "x")
    assert (second["provider_reference"], second["a_newer_one"]) == ("ch_1", None)
