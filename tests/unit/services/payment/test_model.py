"""Payments and refunds: how each ends, and which event announces the end."""

from __future__ import annotations

import msgspec
import pytest
from tests.support.builders import AMOUNT_MINOR, LINES, an_order, payment_requested
from tests.unit.services.payment.accounts import (
    ANOTHER_CAUSE,
    CAUSE,
    CONDITIONS,
    EARLIER,
    NOW,
    OPEN,
    ORDER_ID,
    recorded,
)

from orderflow.contracts.events import (
    OrderCreated,
    PaymentFailed,
    PaymentFailureReason,
    PaymentRefunded,
    PaymentRequested,
    PaymentSucceeded,
)
from orderflow.contracts.ids import CustomerId, PaymentId, payment_id, refund_id
from orderflow.messaging.errors import Poison
from orderflow.services.payment import model
from orderflow.services.payment.model import (
    NEW_ORDER,
    OrderAccount,
    Payment,
    PaymentState,
    Refund,
    RefundState,
)


@pytest.mark.parametrize(
    "event",
    [an_order(ORDER_ID), payment_requested(an_order(ORDER_ID), 3)],
    ids=["created", "requested"],
)
def test_a_requested_payment_is_what_its_event_asks_for(
    event: OrderCreated | PaymentRequested,
) -> None:
    assert model.requested_payment(event, cause=CAUSE, now=NOW) == Payment(
        order_id=ORDER_ID,
        attempt=event.attempt,
        payment_id=payment_id(ORDER_ID, event.attempt),
        customer_id=CustomerId("customer-123"),
        state=PaymentState.REQUESTED,
        amount_minor=AMOUNT_MINOR,
        currency="EUR",
        payment_method="pm_ok",
        lines=LINES,
        created_at=NOW,
        requested_by=CAUSE,
    )


def test_an_event_without_a_payment_method_leaves_it_empty() -> None:
    event = msgspec.structs.replace(an_order(ORDER_ID), payment_method=None)
    assert model.requested_payment(event, cause=CAUSE, now=NOW).payment_method == ""


@pytest.mark.parametrize("foreign", [payment_id(ORDER_ID, 2), PaymentId("anything")])
def test_a_payment_id_that_is_not_the_attempts_own_is_poison(foreign: PaymentId) -> None:
    event = msgspec.structs.replace(an_order(ORDER_ID), payment_id=foreign)
    with pytest.raises(Poison, match=f"payment {foreign} is not attempt 1 of order {ORDER_ID}"):
        model.requested_payment(event, cause=CAUSE, now=NOW)


@pytest.mark.parametrize("condition", OPEN)
@pytest.mark.parametrize("reference", ["ch_9", None])
def test_a_captured_payment_keeps_all_it_was_and_is_settled(
    condition: str, reference: str | None
) -> None:
    payment = recorded(condition)
    captured = model.captured(payment, reference, cause=CAUSE, now=NOW)
    assert captured.settled
    assert captured == msgspec.structs.replace(
        payment,
        state=PaymentState.SUCCEEDED,
        provider_reference=reference,
        settled_at=NOW,
        settled_by=CAUSE,
        unknown_since=None,
    )


@pytest.mark.parametrize("condition", OPEN)
@pytest.mark.parametrize("reason", PaymentFailureReason)
def test_a_failed_payment_says_why_and_has_no_reference(
    condition: str, reason: PaymentFailureReason
) -> None:
    payment = recorded(condition)
    failed = model.failed(payment, reason, "no", cause=CAUSE, now=NOW)
    assert failed.settled
    assert type(failed.reason) is str, "a text on the wire and in the database"
    assert failed == msgspec.structs.replace(
        payment,
        state=PaymentState.FAILED,
        reason=reason.value,
        message="no",
        settled_at=NOW,
        settled_by=CAUSE,
        unknown_since=None,
    )


@pytest.mark.parametrize("condition", OPEN)
def test_a_payment_whose_result_is_lost_stays_open(condition: str) -> None:
    payment = recorded(condition)
    lost = model.unknown(payment, record="orders-0@7", now=NOW)
    assert lost == msgspec.structs.replace(
        recorded("unknown"),
        unknown_since=payment.unknown_since or NOW,
        waiting_record="orders-0@7",
        waiting_since=NOW,
    )
    assert not lost.settled


def test_each_record_waits_for_an_answer_from_its_own_first_look_up() -> None:
    """A late cancellation, or a retry after a day, has an hour of its own."""
    first = model.unknown(recorded("requested"), record="orders-0@7", now=EARLIER)
    again = model.unknown(first, record="orders-0@7", now=NOW)
    retried = model.unknown(again, record="orders-0@900", now=NOW)
    assert (first.waiting_since, again.waiting_since, retried.waiting_since) == (
        EARLIER,
        EARLIER,
        NOW,
    )
    assert {each.unknown_since for each in (first, again, retried)} == {EARLIER}
    answered = model.captured(retried, "ch_1", cause=CAUSE, now=NOW)
    assert (answered.unknown_since, answered.waiting_record, answered.waiting_since) == (None,) * 3


def test_a_refund_is_of_the_whole_payment_and_has_an_id_of_its_own() -> None:
    payment = recorded("captured")
    refund = model.requested_refund(payment, "OUT_OF_STOCK", cause=CAUSE, now=NOW)
    assert refund == Refund(
        refund_id=refund_id(payment.payment_id),
        amount_minor=AMOUNT_MINOR,
        reason="OUT_OF_STOCK",
        state=RefundState.REQUESTED,
        created_at=NOW,
        created_by=CAUSE,
    )


def test_a_refund_of_nothing_has_succeeded_at_once() -> None:
    refund = model.requested_refund(recorded("captured", minor=0), "OPERATOR", cause=CAUSE, now=NOW)
    assert (refund.state, refund.settled_at) == (RefundState.SUCCEEDED, NOW)
    assert (refund.amount_minor, refund.provider_reference) == (0, None)


def test_a_refund_that_succeeded_keeps_who_caused_it() -> None:
    refund = recorded("refund requested").refund
    assert refund is not None
    assert model.refunded(refund, "re_9", now=NOW) == msgspec.structs.replace(
        refund, state=RefundState.SUCCEEDED, provider_reference="re_9", settled_at=NOW
    )


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_payment_is_settled_once_it_is_captured_or_failed(condition: str) -> None:
    assert recorded(condition).settled == (condition not in OPEN)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_live_payment_is_the_one_that_did_not_fail(condition: str) -> None:
    payment = recorded(condition, attempt=2)
    account = OrderAccount(payments=(recorded("failed"), payment))
    assert account.live == (None if condition == "failed" else payment)


def test_a_payment_is_looked_up_by_its_attempt() -> None:
    first, second = recorded("failed"), recorded("captured", attempt=2)
    account = OrderAccount(payments=(first, second))
    assert [account.payment(attempt) for attempt in (1, 2, 3)] == [first, second, None]
    assert (NEW_ORDER.payment(1), NEW_ORDER.live, NEW_ORDER.closed) == (None, None, False)


SUCCEEDED = PaymentSucceeded(
    order_id=ORDER_ID,
    customer_id=CustomerId("customer-123"),
    attempt=1,
    payment_id=payment_id(ORDER_ID, 1),
    amount_minor=AMOUNT_MINOR,
    currency="EUR",
    payment_method="pm_ok",
    provider_reference="ch_1",
    lines=LINES,
    occurred_at=EARLIER,
)
FAILED = PaymentFailed(
    order_id=ORDER_ID,
    customer_id=CustomerId("customer-123"),
    attempt=1,
    payment_id=payment_id(ORDER_ID, 1),
    amount_minor=AMOUNT_MINOR,
    currency="EUR",
    reason="DECLINED",
    message="the card was declined",
    occurred_at=EARLIER,
)
REFUNDED = PaymentRefunded(
    order_id=ORDER_ID,
    customer_id=CustomerId("customer-123"),
    attempt=1,
    payment_id=payment_id(ORDER_ID, 1),
    refund_id=refund_id(payment_id(ORDER_ID, 1)),
    amount_minor=AMOUNT_MINOR,
    currency="EUR",
    reason="CUSTOMER",
    provider_reference="re_1",
    occurred_at=EARLIER,
)
OUTCOMES = {
    "captured": SUCCEEDED,
    "failed": FAILED,
    "refund requested": SUCCEEDED,
    "refunded": SUCCEEDED,
}


@pytest.mark.parametrize("refunded_by", [CAUSE, ANOTHER_CAUSE])
@pytest.mark.parametrize("settled_by", [CAUSE, ANOTHER_CAUSE])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_record_announces_what_was_settled_because_of_it(
    condition: str, settled_by: str, refunded_by: str
) -> None:
    """The outcome under the event that settled it, the refund under the event that caused it."""
    payment = recorded(condition, settled_by=settled_by, refunded_by=refunded_by)
    expected: list[object] = []
    if condition not in OPEN and settled_by == CAUSE:
        expected.append(OUTCOMES[condition])
    if condition == "refunded" and refunded_by == CAUSE:
        expected.append(REFUNDED)
    assert list(model.announcements([payment], CAUSE)) == expected


def test_the_announcements_of_several_payments_are_in_the_order_of_their_attempts() -> None:
    payments = [
        recorded("failed", settled_by=CAUSE),
        recorded("refunded", attempt=2, settled_by=CAUSE, refunded_by=CAUSE),
    ]
    events = model.announcements(payments, CAUSE)
    assert [(type(event), getattr(event, "attempt", 0)) for event in events] == [
        (PaymentFailed, 1),
        (PaymentSucceeded, 2),
        (PaymentRefunded, 2),
    ]


def test_a_failure_without_reason_or_message_is_announced_with_empty_texts() -> None:
    bare = msgspec.structs.replace(recorded("failed"), reason=None, message=None)
    event = model.outcome_event(bare)
    assert isinstance(event, PaymentFailed)
    assert (event.reason, event.message) == ("", "")
