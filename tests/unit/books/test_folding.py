"""Records of the topics, added to what the books know of orders and customers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest
from tests.support import records
from tests.support.examples import EXAMPLES
from tests.unit.books.test_topic_records import AT, DECODER, ENCODER

from orderflow.books.accounts import Sums
from orderflow.books.folding import fold
from orderflow.books.store import BooksStore
from orderflow.contracts.events import (
    CustomerRevenueChange,
    Envelope,
    NotificationSent,
    OrderCreated,
    PaymentSucceeded,
    RevenueByCustomer,
)
from orderflow.contracts.topics import (
    BY_CUSTOMER_REPARTITION,
    DEAD_LETTER_DISPOSITIONS,
    NOTIFICATIONS,
    ORDERS,
    PAYMENTS,
    REVENUE_BY_CUSTOMER,
)
from orderflow.messaging.event import DLT_ORIGINAL_CONSUMER_GROUP
from orderflow.messaging.kafka.reader import ConsumerRecord

DLT = "orders.payment-service.dlt"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BooksStore]:
    store = BooksStore(tmp_path)
    yield store
    store.close()


def record(
    topic: str, event: Envelope, *, offset: int = 7, event_id: UUID | None = None
) -> ConsumerRecord:
    return ConsumerRecord(
        topic=topic,
        partition=0,
        offset=offset,
        timestamp=AT,
        key=event.key.encode(),
        value=ENCODER.encode(topic, event),
        headers=records.headers(event, event_id or uuid4()),
    )


def add(store: BooksStore, *added: ConsumerRecord) -> None:
    fold(store, added, {(each.topic, each.partition): each.offset + 1 for each in added}, DECODER)


PAID = EXAMPLES[PaymentSucceeded]
CHANGE = EXAMPLES[CustomerRevenueChange]


def test_a_payment_counts_once_for_its_customer_in_one_batch_and_later(store: BooksStore) -> None:
    assert isinstance(PAID, PaymentSucceeded)
    event_id = uuid4()
    first = record(PAYMENTS.name, PAID, event_id=event_id)
    again = record(PAYMENTS.name, PAID, event_id=event_id, offset=8)
    add(store, first, again)
    add(store, record(PAYMENTS.name, PAID, event_id=event_id, offset=9))

    [event] = store.events([PAID.order_id])[PAID.order_id]
    assert (event.offset, event.repeats) == (7, 2)
    fold_of = store.customers([PAID.customer_id])[PAID.customer_id]
    assert fold_of.paid == {PAID.currency: Sums(captured_minor=PAID.amount_minor, payments=1)}


def test_the_same_payment_under_another_id_is_kept_apart_and_counts_once(
    store: BooksStore,
) -> None:
    assert isinstance(PAID, PaymentSucceeded)
    add(store, record(PAYMENTS.name, PAID), record(PAYMENTS.name, PAID, offset=8))
    assert len(store.events([PAID.order_id])[PAID.order_id]) == 2
    assert store.customers([PAID.customer_id])[PAID.customer_id].paid[PAID.currency].payments == 1


def test_a_change_counts_once_beside_the_payment_of_the_same_id(store: BooksStore) -> None:
    assert isinstance(PAID, PaymentSucceeded)
    assert isinstance(CHANGE, CustomerRevenueChange)
    change = msgspec.structs.replace(
        CHANGE, customer_id=PAID.customer_id, fact_id=PAID.payment_id, is_refund=False
    )
    topic = BY_CUSTOMER_REPARTITION.name
    add(store, record(PAYMENTS.name, PAID), record(topic, change))
    add(store, record(topic, change, offset=8))

    fold_of = store.customers([PAID.customer_id])[PAID.customer_id]
    assert fold_of.changed[change.currency].payments == 1
    assert fold_of.paid[PAID.currency].payments == 1


def test_the_last_record_of_revenue_is_the_present(store: BooksStore) -> None:
    revenue = EXAMPLES[RevenueByCustomer]
    assert isinstance(revenue, RevenueByCustomer)
    nothing = msgspec.structs.replace(revenue, totals={})
    add(
        store,
        record(REVENUE_BY_CUSTOMER.name, nothing),
        record(REVENUE_BY_CUSTOMER.name, revenue, offset=8),
    )
    assert set(store.customers([revenue.customer_id])[revenue.customer_id].revenue) == set(
        revenue.totals
    )


def test_outcomes_of_notifications_are_counted(store: BooksStore) -> None:
    sent = EXAMPLES[NotificationSent]
    assert isinstance(sent, NotificationSent)
    add(store, record(NOTIFICATIONS.name, sent))
    fold_of = store.customers([sent.customer_id])[sent.customer_id]
    assert (fold_of.announced, fold_of.last_announced) == (1, sent.sequence)


def test_a_payment_that_was_asked_for_names_its_order(store: BooksStore) -> None:
    created = EXAMPLES[OrderCreated]
    assert isinstance(created, OrderCreated)
    add(store, record(ORDERS.name, created))
    assert store.orders_of([str(created.payment_id)]) == {created.payment_id: created.order_id}


def letter(offset: int = 3) -> ConsumerRecord:
    made = record(ORDERS.name, EXAMPLES[OrderCreated])
    return msgspec.structs.replace(
        made,
        topic=DLT,
        offset=offset,
        headers=[*made.headers, (DLT_ORIGINAL_CONSUMER_GROUP, b"payment-service")],
    )


@pytest.mark.parametrize(
    ("value", "kind"),
    [(b'{"kind": "REPLAYED"}', "REPLAYED"), (b"\xff?", "OTHER"), (None, "")],
)
def test_a_dead_letter_is_its_orders_and_knows_what_became_of_it(
    store: BooksStore, value: bytes | None, kind: str
) -> None:
    disposition = ConsumerRecord(
        topic=DEAD_LETTER_DISPOSITIONS.name,
        partition=0,
        offset=0,
        timestamp=AT,
        key=f"{DLT}/0/3".encode(),
        value=value,
        headers=[],
    )
    # In either order, for the topics are others.
    add(store, disposition, letter())

    created = EXAMPLES[OrderCreated]
    assert isinstance(created, OrderCreated)
    [row] = store.letters([created.order_id])[created.order_id]
    assert row.disposition == kind
    assert (row.letter.name, row.letter.group) == (f"{DLT}/0/3", "payment-service")
    assert row.letter.type == "OrderCreated"


def test_a_letter_is_of_the_group_whose_topic_it_is_on(store: BooksStore) -> None:
    """Its headers may say anything, and a group's letters explain only what that group does."""
    forged = letter()
    headers = [*forged.headers, (DLT_ORIGINAL_CONSUMER_GROUP, b"order-service")]
    add(store, msgspec.structs.replace(forged, headers=headers))
    created = EXAMPLES[OrderCreated]
    assert isinstance(created, OrderCreated)
    [row] = store.letters([created.order_id])[created.order_id]
    assert row.letter.group == "payment-service"


def test_what_nobody_can_read_is_passed(store: BooksStore) -> None:
    poison = msgspec.structs.replace(record(ORDERS.name, EXAMPLES[OrderCreated]), value=b"poison")
    add(store, poison)
    assert store.positions() == {(ORDERS.name, 0): 8}
    assert store.count_orders() == 0
