"""Orders and their events for tests: `an_order()`, `paid(order)`, `refunded(order)`, `life(…)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Protocol
from uuid import UUID

import uuid_utils.compat
from tests.support import records

from orderflow.contracts.events import (
    CancelReason,
    Envelope,
    OrderCancelled,
    OrderCreated,
    OrderEvent,
    OrderLine,
    OrderShipped,
    OrderStatus,
    PaymentFailed,
    PaymentFailureReason,
    PaymentMode,
    PaymentRefunded,
    PaymentRequested,
    PaymentSucceeded,
    StockLine,
    StockRejected,
    StockRejectionReason,
    StockReleased,
    StockReserved,
)
from orderflow.contracts.ids import CustomerId, OrderId, Sku, payment_id, refund_id
from orderflow.contracts.roster import TOPICS
from orderflow.messaging.listener import Received

AT = datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)
"""When facts of payment and inventory happened."""

CUSTOMER = CustomerId("customer-123")
AMOUNT_MINOR = 4_498
LINES = (
    OrderLine(sku=Sku("MOUSE-01"), quantity=2, unit_price_minor=1_999),
    OrderLine(sku=Sku("KEYBOARD-01"), quantity=1, unit_price_minor=500),
)

CREATED, PAID, SHIPPED, DELIVERED, CANCELLED = OrderStatus
LIVES: Mapping[str, tuple[OrderStatus, ...]] = {
    "waits for money": (CREATED,),
    "is given up": (CREATED, CANCELLED),
    "is to be packed": (CREATED, PAID),
    "is refunded": (CREATED, PAID, CANCELLED),
    "is on its way": (CREATED, PAID, SHIPPED),
    "is delivered": (CREATED, PAID, SHIPPED, DELIVERED),
}
"""Every sequence of statuses that an order can have, by what it comes to."""


class AnyOrder(Protocol):
    """
    What facts repeat of the order they are about: an OrderCreated or the order service's Order.
    """

    @property
    def order_id(self) -> OrderId: ...
    @property
    def customer_id(self) -> CustomerId: ...
    @property
    def lines(self) -> tuple[OrderLine, ...]: ...
    @property
    def amount_minor(self) -> int: ...
    @property
    def currency(self) -> str: ...


def now() -> datetime:
    """The present, in the milliseconds that the wire keeps."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def new_order_id() -> OrderId:
    return OrderId(str(uuid_utils.compat.uuid7()))


def an_order(
    order_id: OrderId | None = None,
    *lines: tuple[str, int],
    customer: str = CUSTOMER,
    token: str = "pm_ok",
    minor: int | None = None,
    at: datetime | None = None,
) -> OrderCreated:
    """
    An order that is paid for at once. `lines`: (sku, quantity), at 1 minor unit a piece; without
    them LINES.

    `token`: the payment method. `minor=0`: an order of nothing. `at`: now, unless given.
    """
    order_id = order_id or new_order_id()
    chosen: tuple[OrderLine, ...] = LINES
    if lines:
        chosen = tuple(
            OrderLine(sku=Sku(sku), quantity=quantity, unit_price_minor=1)
            for sku, quantity in lines
        )
    amount_minor = sum(line.quantity * line.unit_price_minor for line in chosen)

    return OrderCreated(
        order_id=order_id,
        customer_id=CustomerId(customer),
        version=1,
        lines=() if minor == 0 else chosen,
        amount_minor=amount_minor if minor is None else minor,
        currency="EUR",
        payment_mode=PaymentMode.AUTOMATIC,
        attempt=1,
        payment_id=payment_id(order_id, 1),
        payment_method=token,
        occurred_at=at or now(),
    )


def an_order_on_request(
    order_id: OrderId | None = None, *, customer: str = CUSTOMER
) -> OrderCreated:
    """An order of nothing, of the short form: nobody is charged before `pay`."""
    return OrderCreated(
        order_id=order_id or new_order_id(),
        customer_id=CustomerId(customer),
        version=1,
        lines=(),
        amount_minor=0,
        currency="EUR",
        payment_mode=PaymentMode.ON_REQUEST,
        attempt=0,
        occurred_at=now(),
    )


def payment_requested(order: AnyOrder, attempt: int, *, token: str = "pm_ok") -> PaymentRequested:
    return PaymentRequested(
        order_id=order.order_id,
        customer_id=order.customer_id,
        attempt=attempt,
        payment_id=payment_id(order.order_id, attempt),
        amount_minor=order.amount_minor,
        currency=order.currency,
        payment_method=token,
        lines=order.lines,
        occurred_at=now(),
    )


def cancelled(order: AnyOrder, reason: str = CancelReason.CUSTOMER) -> OrderCancelled:
    return OrderCancelled(
        order_id=order.order_id,
        customer_id=order.customer_id,
        version=2,
        reason=reason,
        description="cancelled by a test",
        occurred_at=now(),
    )


def shipped(order: AnyOrder) -> OrderShipped:
    return OrderShipped(
        order_id=order.order_id, customer_id=order.customer_id, version=3, occurred_at=AT
    )


def paid(order: AnyOrder, attempt: int = 1) -> PaymentSucceeded:
    return PaymentSucceeded(
        order_id=order.order_id,
        customer_id=order.customer_id,
        attempt=attempt,
        payment_id=payment_id(order.order_id, attempt),
        amount_minor=order.amount_minor,
        currency=order.currency,
        payment_method="pm_ok",
        provider_reference="ch_1" if order.amount_minor else None,
        lines=order.lines,
        occurred_at=AT,
    )


def payment_failed(order: AnyOrder, attempt: int = 1) -> PaymentFailed:
    return PaymentFailed(
        order_id=order.order_id,
        customer_id=order.customer_id,
        attempt=attempt,
        payment_id=payment_id(order.order_id, attempt),
        amount_minor=order.amount_minor,
        currency=order.currency,
        reason=PaymentFailureReason.DECLINED,
        message="The provider declined the payment",
        occurred_at=AT,
    )


def refunded(order: AnyOrder, attempt: int = 1) -> PaymentRefunded:
    payment = payment_id(order.order_id, attempt)

    return PaymentRefunded(
        order_id=order.order_id,
        customer_id=order.customer_id,
        attempt=attempt,
        payment_id=payment,
        refund_id=refund_id(payment),
        amount_minor=order.amount_minor,
        currency=order.currency,
        reason=CancelReason.CUSTOMER,
        provider_reference="re_1" if order.amount_minor else None,
        occurred_at=AT,
    )


def reserved(order: AnyOrder, attempt: int = 1) -> StockReserved:
    return StockReserved(
        order_id=order.order_id,
        customer_id=order.customer_id,
        payment_id=payment_id(order.order_id, attempt),
        lines=_stock_lines(order),
        occurred_at=AT,
    )


def rejected(order: AnyOrder, attempt: int = 1) -> StockRejected:
    return StockRejected(
        order_id=order.order_id,
        customer_id=order.customer_id,
        payment_id=payment_id(order.order_id, attempt),
        reason=StockRejectionReason.OUT_OF_STOCK,
        shortages=(),
        occurred_at=AT,
    )


def released(order: AnyOrder, attempt: int = 1) -> StockReleased:
    return StockReleased(
        order_id=order.order_id,
        customer_id=order.customer_id,
        payment_id=payment_id(order.order_id, attempt),
        lines=_stock_lines(order),
        reason=CancelReason.CUSTOMER,
        occurred_at=AT,
    )


def status_changed(
    order: AnyOrder,
    status: OrderStatus,
    *,
    version: int = 2,
    previous: OrderStatus | None = None,
    reason: str | None = None,
    at: datetime | None = None,
) -> OrderEvent:
    """A record of the life-cycle feed."""
    return OrderEvent(
        order_id=order.order_id,
        customer_id=order.customer_id,
        status=status,
        description=f"order {status.lower()}",
        timestamp=at or now(),
        version=version,
        previous_status=previous,
        reason=reason,
    )


def life(
    statuses: Sequence[OrderStatus],
    *,
    order_id: OrderId | None = None,
    begin: datetime = AT,
    seconds: float = 60,
) -> list[OrderEvent]:
    """One order's records of the life-cycle feed, `seconds` apart."""
    order = an_order(order_id)
    steps = [(None, statuses[0]), *pairwise(statuses)]

    return [
        status_changed(
            order,
            status,
            version=number + 1,
            previous=previous,
            reason="CUSTOMER" if status is CANCELLED else None,
            at=begin + number * timedelta(seconds=seconds),
        )
        for number, (previous, status) in enumerate(steps)
    ]


def topic_of(event: Envelope) -> str:
    """The name of the topic on which events of this type belong."""
    [topic] = [topic for topic in TOPICS if event.type_name() in topic.types]
    return topic.name


def received(event: Envelope, *, event_id: UUID | None = None) -> Received:
    """The record that a handler gets for `event`, from the topic on which it belongs."""
    return records.received(event, topic=topic_of(event), event_id=event_id)


def _stock_lines(order: AnyOrder) -> tuple[StockLine, ...]:
    return tuple(StockLine(sku=line.sku, quantity=line.quantity) for line in order.lines)
