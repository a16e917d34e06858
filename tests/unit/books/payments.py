"""Payments as they are announced, and as the copies have them when nothing is wrong."""

from __future__ import annotations

from orderflow.books.accounts import LakeRow, TopicEvent, WarehouseRow
from orderflow.contracts.ids import OrderId, payment_id, refund_id

AMOUNT = 1_990


def paid(order_id: str, offset: int, *, kind: str = "PaymentSucceeded") -> TopicEvent:
    """An event of the first payment of an order, at this offset of partition 0."""
    payment = payment_id(OrderId(order_id), 1)
    return TopicEvent(
        topic="payments",
        partition=0,
        offset=offset,
        event_id=f"event-{order_id}-{kind}",
        type=kind,
        written_s=0.0,
        customer_id="c",
        number=1,
        subject_id=refund_id(payment) if kind == "PaymentRefunded" else payment,
        amount_minor=AMOUNT,
        currency="EUR",
    )


def in_warehouse(order_id: str, status: str = "SUCCEEDED") -> WarehouseRow:
    return WarehouseRow(
        payment_id=payment_id(OrderId(order_id), 1),
        customer_id="c",
        status=status,
        currency="EUR",
        captured_minor=0 if status == "FAILED" else AMOUNT,
        refunded_minor=AMOUNT if status == "REFUNDED" else 0,
    )


def in_lake(order_id: str, event: TopicEvent) -> LakeRow:
    payment = payment_id(OrderId(order_id), 1)
    return LakeRow(
        offset=event.offset,
        event_id=event.event_id,
        type=event.type,
        order_id=order_id,
        payment_id=payment,
        refund_id=refund_id(payment) if event.type == "PaymentRefunded" else None,
        amount_minor=event.amount_minor,
        currency=event.currency,
    )
