"""A record of a topic as the books compare it, and how records add up."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from tests.support import records
from tests.support.examples import EXAMPLES

from orderflow.books.accounts import Sums, TopicEvent
from orderflow.books.sides.topics import (
    EVENT_TOPICS,
    ChangeRecord,
    OrderRecord,
    RevenueRecord,
    Unreadable,
    entry_of,
    fact_of,
    with_event,
    with_sums,
)
from orderflow.contracts.events import (
    CustomerRevenueChange,
    Envelope,
    NotificationSent,
    OrderCreated,
    OrderEvent,
    PaymentRefunded,
    PaymentRequested,
    PaymentSucceeded,
    RevenueByCustomer,
    StockRejected,
)
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import BY_CUSTOMER_REPARTITION, REVENUE_BY_CUSTOMER
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.reader import ConsumerRecord
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.testing.registry import InMemoryRegistry

REGISTRY = InMemoryRegistry.holding(CATALOGUE)
ENCODER = Encoder.load(REGISTRY, CATALOGUE)
DECODER = Decoder(REGISTRY)
EVENT_ID = UUID("019ac5d2-6c4e-7b1a-9d3f-000000000001")
AT = datetime(2026, 11, 29, 12, tzinfo=UTC)


def record(topic: str, event: Envelope, *, offset: int = 7) -> ConsumerRecord:
    return ConsumerRecord(
        topic=topic,
        partition=1,
        offset=offset,
        timestamp=AT,
        key=event.key.encode(),
        value=ENCODER.encode(topic, event),
        headers=records.headers(event, EVENT_ID),
    )


def entry(topic: str, event: Envelope) -> object:
    return entry_of(record(topic, event), DECODER)


def event_of(kind: type[Envelope]) -> TopicEvent:
    [topic] = [each.name for each in EVENT_TOPICS if kind.type_name() in each.types]
    read = entry(topic, EXAMPLES[kind])
    assert isinstance(read, OrderRecord)
    assert read.order_id == getattr(EXAMPLES[kind], "order_id")  # noqa: B009 - of each of them
    return read.event


@pytest.mark.parametrize(
    "kind",
    [kind for kind in EXAMPLES for topic in EVENT_TOPICS if kind.type_name() in topic.types],
)
def test_every_event_of_an_order_is_read_with_its_place_and_its_id(kind: type[Envelope]) -> None:
    event = event_of(kind)
    assert (event.partition, event.offset, event.written_s) == (1, 7, AT.timestamp())
    assert (event.event_id, event.type) == (str(EVENT_ID), kind.__name__)
    assert event.customer_id == getattr(EXAMPLES[kind], "customer_id")  # noqa: B009


def test_an_event_is_read_as_far_as_it_is_compared() -> None:
    created, requested = EXAMPLES[OrderCreated], EXAMPLES[PaymentRequested]
    assert isinstance(created, OrderCreated)
    assert isinstance(requested, PaymentRequested)
    read = event_of(OrderCreated)
    assert (read.number, read.amount_minor, read.currency) == (1, 4498, "EUR")
    assert event_of(PaymentRequested).number == requested.attempt

    refund, status = EXAMPLES[PaymentRefunded], EXAMPLES[OrderEvent]
    assert isinstance(refund, PaymentRefunded)
    assert isinstance(status, OrderEvent)
    assert event_of(PaymentRefunded).subject_id == refund.refund_id
    read = event_of(OrderEvent)
    assert (read.number, read.status) == (status.version, status.status)
    assert read.previous_status == (status.previous_status or "")

    sent, rejected = EXAMPLES[NotificationSent], EXAMPLES[StockRejected]
    assert isinstance(sent, NotificationSent)
    assert isinstance(rejected, StockRejected)
    read = event_of(NotificationSent)
    assert (read.number, read.subject_id, read.cause_id) == (
        sent.sequence,
        sent.notification_id,
        sent.cause_id,
    )
    assert event_of(StockRejected).subject_id == rejected.payment_id


def test_revenue_is_read_by_customer_and_a_tombstone_is_no_revenue() -> None:
    change, total = EXAMPLES[CustomerRevenueChange], EXAMPLES[RevenueByCustomer]
    assert isinstance(change, CustomerRevenueChange)
    assert isinstance(total, RevenueByCustomer)
    read = entry(BY_CUSTOMER_REPARTITION.name, change)
    assert isinstance(read, ChangeRecord)
    assert (read.customer_id, read.fact_id) == (change.customer_id, change.fact_id)
    assert read.sums.captured_minor == change.captured_minor
    assert (read.sums.payments, read.sums.refunds) == (1 - change.is_refund, change.is_refund)

    read = entry(REVENUE_BY_CUSTOMER.name, total)
    assert isinstance(read, RevenueRecord)
    assert {currency: sums.captured_minor for currency, sums in read.revenue.items()} == {
        currency: totals.captured_minor for currency, totals in total.totals.items()
    }
    gone = msgspec.structs.replace(record(REVENUE_BY_CUSTOMER.name, total), value=None)
    assert entry_of(gone, DECODER) == RevenueRecord(customer_id=total.customer_id, revenue={})


def test_what_nobody_can_read_is_named_by_its_place() -> None:
    good = record("orders", EXAMPLES[OrderCreated])
    for value in (None, b"", b"\x00\x00\x00\x03\xe7", b"\x00\x00\x00\x00\x01\xff"):
        read = entry_of(msgspec.structs.replace(good, value=value), DECODER)
        assert isinstance(read, Unreadable)
        assert read.place == "orders-1@7"


def test_a_registry_that_is_away_makes_no_record_unreadable() -> None:
    registry = InMemoryRegistry.holding(CATALOGUE)
    registry.available = False
    with pytest.raises(Unavailable):
        entry_of(record("orders", EXAMPLES[OrderCreated]), Decoder(registry))


def test_the_same_event_once_more_is_a_repeat_of_the_first() -> None:
    first = event_of(OrderCreated)
    later = msgspec.structs.replace(first, offset=9, event_id="another")
    again = msgspec.structs.replace(first, offset=12)
    events = with_event(with_event(with_event((), later), first), again)
    assert [(event.offset, event.repeats) for event in events] == [(7, 1), (9, 0)]


def test_facts_add_up_by_currency() -> None:
    captured, refunded = fact_of(event_of(PaymentSucceeded)), fact_of(event_of(PaymentRefunded))
    assert fact_of(event_of(OrderCreated)) is None
    assert captured is not None
    assert refunded is not None
    sums = with_sums(with_sums({"JPY": Sums(payments=1)}, "EUR", captured), "EUR", refunded)
    assert sums == {
        "JPY": Sums(payments=1),
        "EUR": Sums(
            captured_minor=captured.captured_minor,
            refunded_minor=refunded.refunded_minor,
            payments=1,
            refunds=1,
        ),
    }
