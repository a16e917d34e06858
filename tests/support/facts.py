"""
What payment and inventory can say of an order, and every order in which the order service may come to hear it.

A schedule is a list of steps: facts by their short names, and `cancel`, which the customer asks for. Refunds and
releases come after the cancellation that causes them; all else comes in any order, and one step comes twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import permutations

from orderflow.contracts.events import (
    CancelReason,
    OrderCreated,
    PaymentFailed,
    PaymentFailureReason,
    PaymentRefunded,
    PaymentSucceeded,
    StockLine,
    StockRejected,
    StockRejectionReason,
    StockReleased,
    StockReserved,
)
from orderflow.contracts.ids import CustomerId, OrderId, payment_id, refund_id
from orderflow.contracts.topics import INVENTORY, PAYMENTS
from orderflow.services.order.model import Order
from orderflow.services.order.rules import Fact

AT = datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)

Schedule = tuple[str, ...]
CANCEL = "cancel"

SCENARIOS: tuple[Schedule, ...] = (
    ("succeeded",),
    ("failed",),
    ("succeeded", "reserved"),
    ("succeeded", "rejected", "refunded"),
    ("failed", "succeeded again"),
    ("failed", "succeeded again", "reserved again"),
    ("failed", CANCEL),
    (CANCEL, "succeeded", "refunded"),
    (CANCEL, "succeeded", "rejected", "refunded"),
    (CANCEL, "succeeded", "reserved", "refunded", "released"),
)
"""What happens to one order in all. Cancelling one that is out of stock may come too late: then it is refused."""


def schedules() -> list[Schedule]:
    """Every possible one, once: more than 500."""
    return list(dict.fromkeys(_all()))


def fact(step: str, order: Order | OrderCreated) -> Fact:
    """A fact about this order, by its short name."""
    name, _, again = step.partition(" ")
    attempt = 2 if again else 1
    order_id, customer_id, lines = (
        OrderId(order.order_id),
        CustomerId(order.customer_id),
        order.lines,
    )
    payment = payment_id(order_id, attempt)
    pieces = tuple(StockLine(sku=line.sku, quantity=line.quantity) for line in lines)
    match name:
        case "succeeded":
            return PaymentSucceeded(
                order_id=order_id,
                customer_id=customer_id,
                attempt=attempt,
                payment_id=payment,
                amount_minor=order.amount_minor,
                currency=order.currency,
                payment_method="pm_ok",
                provider_reference="ch_1",
                lines=lines,
                occurred_at=AT,
            )
        case "failed":
            return PaymentFailed(
                order_id=order_id,
                customer_id=customer_id,
                attempt=attempt,
                payment_id=payment,
                amount_minor=order.amount_minor,
                currency=order.currency,
                reason=PaymentFailureReason.DECLINED,
                message="The provider declined the payment",
                occurred_at=AT,
            )
        case "refunded":
            return PaymentRefunded(
                order_id=order_id,
                customer_id=customer_id,
                attempt=attempt,
                payment_id=payment,
                refund_id=refund_id(payment),
                amount_minor=order.amount_minor,
                currency=order.currency,
                reason=CancelReason.CUSTOMER,
                provider_reference="re_1",
                occurred_at=AT,
            )
        case "reserved":
            return StockReserved(
                order_id=order_id,
                customer_id=customer_id,
                payment_id=payment,
                lines=pieces,
                occurred_at=AT,
            )
        case "rejected":
            return StockRejected(
                order_id=order_id,
                customer_id=customer_id,
                payment_id=payment,
                reason=StockRejectionReason.OUT_OF_STOCK,
                shortages=(),
                occurred_at=AT,
            )
    assert name == "released", step
    return StockReleased(
        order_id=order_id,
        customer_id=customer_id,
        payment_id=payment,
        lines=pieces,
        reason=CancelReason.CUSTOMER,
        occurred_at=AT,
    )


def topic_of(event: Fact) -> str:
    return PAYMENTS.name if event.type_name() in PAYMENTS.types else INVENTORY.name


END_OF: Mapping[frozenset[str], tuple[str, str, str]] = {
    frozenset({"succeeded"}): ("PAID", "SUCCEEDED", "NONE"),
    frozenset({"failed"}): ("CREATED", "FAILED", "NONE"),
    frozenset({"succeeded", "reserved"}): ("PAID", "SUCCEEDED", "RESERVED"),
    frozenset({"succeeded", "rejected", "refunded"}): ("CANCELLED", "REFUNDED", "REJECTED"),
    frozenset({"failed", "succeeded again"}): ("PAID", "SUCCEEDED", "NONE"),
    frozenset({"failed", "succeeded again", "reserved again"}): ("PAID", "SUCCEEDED", "RESERVED"),
    frozenset({"failed", CANCEL}): ("CANCELLED", "FAILED", "NONE"),
    frozenset({CANCEL, "succeeded", "refunded"}): ("CANCELLED", "REFUNDED", "NONE"),
    frozenset({CANCEL, "succeeded", "rejected", "refunded"}): ("CANCELLED", "REFUNDED", "REJECTED"),
    frozenset({CANCEL, "succeeded", "reserved", "refunded", "released"}): (
        "CANCELLED",
        "REFUNDED",
        "RELEASED",
    ),
}
"""Status, payment and stock after all steps: whatever their order, and however often each came."""


def _all() -> Iterator[Schedule]:
    for scenario in SCENARIOS:
        for steps in permutations(scenario):
            if _possible(steps):
                yield steps
                for again in range(len(steps)):
                    for place in range(again + 1, len(steps) + 1):
                        if steps[again] != CANCEL:
                            yield (*steps[:place], steps[again], *steps[place:])


def _possible(steps: Schedule) -> bool:
    """Whether each refund has its cause before it, and each release as well."""
    known: set[str] = set()
    for step in steps:
        if step in {"refunded", "released"} and not (
            CANCEL in known or {"succeeded", "rejected"} <= known
        ):
            return False
        known.add(step)
    return True
