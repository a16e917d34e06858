"""Accounts in every state that the rules can meet, built without the code under test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.support.builders import AMOUNT_MINOR, LINES

from orderflow.contracts.ids import CustomerId, OrderId, payment_id, refund_id
from orderflow.services.payment.model import Closing, Payment, PaymentState, Refund, RefundState

NOW = datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=7)
ORDER_ID = OrderId("019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10")
CAUSE = "the event at hand"
ANOTHER_CAUSE = "another event"

CONDITIONS = ("requested", "unknown", "captured", "failed", "refund requested", "refunded")
"""What can be recorded of one payment, its refund included."""
OPEN = ("requested", "unknown")
CLOSING = Closing(ANOTHER_CAUSE, "CUSTOMER")
"""The order was cancelled by another event, whose record has had its turn."""


def recorded(
    condition: str,
    *,
    attempt: int = 1,
    minor: int = AMOUNT_MINOR,
    requested_by: str = CAUSE,
    settled_by: str = ANOTHER_CAUSE,
    refunded_by: str = ANOTHER_CAUSE,
) -> Payment:
    """A payment as the database holds it, requested EARLIER."""
    states = {"requested": "REQUESTED", "unknown": "UNKNOWN", "failed": "FAILED"}
    state = PaymentState(states.get(condition, "SUCCEEDED"))
    is_open = condition in OPEN
    has_refund = condition.startswith("refund")
    payment = payment_id(ORDER_ID, attempt)
    return Payment(
        order_id=ORDER_ID,
        attempt=attempt,
        payment_id=payment,
        customer_id=CustomerId("customer-123"),
        state=state,
        amount_minor=minor,
        currency="EUR",
        payment_method="pm_ok",
        lines=LINES if minor else (),
        provider_reference="ch_1" if state is PaymentState.SUCCEEDED and minor else None,
        reason="DECLINED" if condition == "failed" else None,
        message="the card was declined" if condition == "failed" else None,
        created_at=EARLIER,
        requested_by=requested_by,
        unknown_since=EARLIER if condition == "unknown" else None,
        settled_at=None if is_open else EARLIER,
        settled_by=None if is_open else settled_by,
        refund=refund_in(condition, attempt, minor, refunded_by) if has_refund else None,
    )


def refund_in(condition: str, attempt: int, minor: int, created_by: str) -> Refund:
    succeeded = condition == "refunded"
    return Refund(
        refund_id=refund_id(payment_id(ORDER_ID, attempt)),
        amount_minor=minor,
        reason="CUSTOMER",
        state=RefundState.SUCCEEDED if succeeded else RefundState.REQUESTED,
        provider_reference="re_1" if succeeded and minor else None,
        created_at=EARLIER,
        created_by=created_by,
        settled_at=EARLIER if succeeded else None,
    )
