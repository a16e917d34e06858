"""
What the topics say: each record as far as it is compared, and how records add up.

Pure, but for `records`, which reads a topic from given positions to its present end. Nothing is
kept here: the caller keeps positions and what was added up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from orderflow.books.accounts import Sums, TopicEvent
from orderflow.contracts.topics import (
    BY_CUSTOMER_REPARTITION,
    INVENTORY,
    NOTIFICATIONS,
    ORDER_EVENTS,
    ORDERS,
    PAYMENTS,
    REVENUE_BY_CUSTOMER,
)
from orderflow.messaging.errors import Poison
from orderflow.messaging.event import CE_CAUSATION_ID, CE_ID
from orderflow.messaging.kafka.reader import ConsumerRecord, Offsets, read
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.settings import KafkaSettings

EVENT_TOPICS = (ORDERS, ORDER_EVENTS, PAYMENTS, INVENTORY, NOTIFICATIONS)
"""Their records are events of orders."""

REVENUE_TOPICS = (BY_CUSTOMER_REPARTITION, REVENUE_BY_CUSTOMER)
"""Their records are changes of a customer's revenue, and what these add up to."""


class OrderRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An event of an order, on whatever key it is."""

    order_id: str
    event: TopicEvent


class ChangeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A capture or a refund that revenue re-keyed by customer. `fact_id` counts once."""

    customer_id: str
    fact_id: str
    currency: str
    sums: Sums


class RevenueRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's revenue by currency: the last record is the present."""

    customer_id: str
    revenue: Mapping[str, Sums]


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A record that nobody can read, or that lacks what the books compare; `why`."""

    place: str
    why: str


Entry = OrderRecord | ChangeRecord | RevenueRecord | Unreadable


def records(
    settings: KafkaSettings, topic: str, start: Offsets, decoder: Decoder
) -> Iterator[tuple[ConsumerRecord, Entry]]:
    """
    The committed records of `topic` from `start` on, by offset within each partition, up to its
    present end, one at a time.

    Raises ConfigurationError if there is no such topic; Unavailable if the cluster, or the registry
    for a schema that is new, can't be reached.
    """
    for record in read(settings, topic, start=start, follow=False):
        if record is not None:
            yield record, entry_of(record, decoder)


def entry_of(record: ConsumerRecord, decoder: Decoder) -> Entry:
    """The record as the books compare it. Raises Unavailable while a new schema has no answer."""
    if record.value is None and record.topic == REVENUE_BY_CUSTOMER.name:
        return RevenueRecord(customer_id=_text(record.key), revenue={})

    try:
        full_name, value = decoder.decode(record.value)
        if record.topic == BY_CUSTOMER_REPARTITION.name:
            return _change(value)
        if record.topic == REVENUE_BY_CUSTOMER.name:
            return _revenue(value)
        return OrderRecord(order_id=value["orderId"], event=_event(record, full_name, value))
    except (Poison, LookupError, TypeError) as error:
        place = f"{record.topic}-{record.partition}@{record.offset}"
        return Unreadable(place=place, why=str(error))


def with_event(events: tuple[TopicEvent, ...], event: TopicEvent) -> tuple[TopicEvent, ...]:
    """
    An order's events and one more: in the order of topic, partition and offset. Once more the same
    event, under its own id on its own topic, counts as a repeat of the first.
    """
    for index, known in enumerate(events):
        if (known.event_id, known.topic) == (event.event_id, event.topic):
            once_more = msgspec.structs.replace(known, repeats=known.repeats + 1)
            return (*events[:index], once_more, *events[index + 1 :])
    return tuple(
        sorted((*events, event), key=lambda each: (each.topic, each.partition, each.offset))
    )


def with_sums(sums: Mapping[str, Sums], currency: str, more: Sums) -> dict[str, Sums]:
    """Sums by currency, and one more fact."""
    before = sums.get(currency, Sums())
    after = Sums(
        captured_minor=before.captured_minor + more.captured_minor,
        refunded_minor=before.refunded_minor + more.refunded_minor,
        payments=before.payments + more.payments,
        refunds=before.refunds + more.refunds,
    )
    return {**sums, currency: after}


def fact_of(event: TopicEvent) -> Sums | None:
    """What a payment's event adds to its customer's revenue, once by `subject_id`."""
    match event.type:
        case "PaymentSucceeded":
            return Sums(captured_minor=event.amount_minor, payments=1)
        case "PaymentRefunded":
            return Sums(refunded_minor=event.amount_minor, refunds=1)
    return None


def _event(record: ConsumerRecord, full_name: str, value: Mapping[str, Any]) -> TopicEvent:
    headers = dict(record.headers)
    subject = value.get("notificationId") or value.get("refundId") or value.get("paymentId")
    number = value.get("sequence") or value.get("version") or value.get("attempt")
    cause = value.get("causeId") or _text(headers.get(CE_CAUSATION_ID))

    return TopicEvent(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        event_id=_text(headers.get(CE_ID)),
        type=full_name.rpartition(".")[2],
        written_s=record.timestamp.timestamp(),
        customer_id=value["customerId"],
        number=number or 0,
        subject_id=subject or "",
        status=value.get("status") or "",
        previous_status=value.get("previousStatus") or "",
        reason=value.get("reason") or "",
        amount_minor=value.get("amountMinor") or 0,
        currency=value.get("currency") or "",
        cause_id=cause,
    )


def _change(value: Mapping[str, Any]) -> ChangeRecord:
    return ChangeRecord(
        customer_id=value["customerId"],
        fact_id=value["factId"],
        currency=value["currency"],
        sums=Sums(
            captured_minor=value["capturedMinor"],
            refunded_minor=value["refundedMinor"],
            payments=int(not value["isRefund"]),
            refunds=int(value["isRefund"]),
        ),
    )


def _revenue(value: Mapping[str, Any]) -> RevenueRecord:
    return RevenueRecord(
        customer_id=value["customerId"],
        revenue={
            currency: Sums(
                captured_minor=totals["capturedMinor"],
                refunded_minor=totals["refundedMinor"],
                payments=totals["payments"],
                refunds=totals["refunds"],
            )
            for currency, totals in value["totals"].items()
        },
    )


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")
