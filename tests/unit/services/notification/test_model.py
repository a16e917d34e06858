"""What customers are told, and how their messages are numbered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.builders import an_order, payment_failed
from tests.support.fact_schedules import fact

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import NotificationFailed, NotificationSent, OrderEvent, OrderStatus
from orderflow.contracts.ids import CustomerId, OrderId, notification_id
from orderflow.messaging.derived_ids import DerivedIds
from orderflow.messaging.event import EventId
from orderflow.services.notification.model import (
    Deferred,
    Kind,
    Letter,
    Outcome,
    SendResult,
    Standing,
    give_up,
    number,
    rest_s,
    wording,
)

AT = datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)
A = CustomerId("a")
ORDER = an_order(OrderId("019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10"))
KINDS = {
    "succeeded": "PAYMENT_SUCCEEDED",
    "failed": "PAYMENT_FAILED",
    "refunded": "PAYMENT_REFUNDED",
}


def changed(status: OrderStatus, **more: Any) -> OrderEvent:
    return OrderEvent(
        order_id=ORDER.order_id,
        customer_id=ORDER.customer_id,
        status=status,
        description="",
        timestamp=AT,
        version=2,
        **more,
    )


def letter(customer: str, name: str, *, attempts: int = 0, position: int = 1) -> Letter:
    cause = EventId(uuid5(NAMESPACE, f"{customer}/{name}"))
    return Letter(
        position=position,
        notification_id=notification_id(cause, Kind.ORDER_CREATED),
        customer_id=CustomerId(customer),
        order_id=ORDER.order_id,
        kind=Kind.ORDER_CREATED,
        subject="s",
        text="t\n",
        created_at=AT,
        cause_id=cause,
        cause_type="orderflow.OrderCreated",
        correlation_id=ORDER.order_id,
        traceparent=None,
        tracestate=None,
        attempts=attempts,
    )


def sent(*letters: Letter) -> tuple[Outcome, ...]:
    return tuple(Outcome(letter=each, at=AT) for each in letters)


def test_the_id_of_a_notification_is_derived_from_its_cause_and_its_kind() -> None:
    cause = UUID("019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10")
    assert notification_id(cause, "ORDER_CREATED") == DerivedIds(NAMESPACE).make(
        str(cause), f"{cause}/notification/ORDER_CREATED"
    )


@pytest.mark.parametrize(("step", "kind"), KINDS.items())
def test_customers_are_told_of_their_payments(step: str, kind: str) -> None:
    words = wording(msgspec.convert(fact(step, ORDER), type(fact(step, ORDER))))  # type: ignore[arg-type]
    assert words is not None
    assert words.kind == kind
    assert ORDER.order_id in words.subject


def test_customers_are_told_of_their_orders() -> None:
    events = [
        ORDER,
        fact("rejected", ORDER),
        *map(changed, (OrderStatus.SHIPPED, OrderStatus.DELIVERED)),
    ]
    words = [wording(event) for event in events]  # type: ignore[arg-type]
    kinds = [Kind.ORDER_CREATED, Kind.STOCK_REJECTED, Kind.ORDER_SHIPPED, Kind.ORDER_DELIVERED]
    assert [each and each.kind for each in words] == kinds


def test_customers_are_told_why_an_order_was_cancelled() -> None:
    texts = set()
    for reason in (
        "CUSTOMER",
        "OUT_OF_STOCK",
        "PAYMENT_DEADLINE",
        "STOCK_DEADLINE",
        "OPERATOR",
        "NEVER HEARD OF",
        None,
    ):
        words = wording(changed(OrderStatus.CANCELLED, reason=reason))
        assert words is not None
        assert words.kind is Kind.ORDER_CANCELLED
        texts.add(words.text)
    assert len(texts) == 6


@pytest.mark.parametrize("status", [OrderStatus.CREATED, OrderStatus.PAID])
def test_a_status_that_another_event_announces_is_not_mailed_again(status: OrderStatus) -> None:
    assert wording(changed(status)) is None


def test_numbers_follow_the_customers_own_without_a_gap() -> None:
    a1, a2, b1 = letter("a", "1"), letter("a", "2", position=9), letter("b", "1")
    results = [
        SendResult(customer_id=CustomerId("a"), outcomes=sent(a1, a2)),
        SendResult(customer_id=CustomerId("b"), outcomes=sent(b1)),
    ]
    numbered, after = number(results, {A: Standing(sequence=7), CustomerId("b"): Standing()})
    assert after == {
        A: Standing(sequence=9, position=9),
        CustomerId("b"): Standing(sequence=1, position=1),
    }
    assert [(entry.event.customer_id, entry.event.sequence) for entry in numbered] == [
        ("a", 8),
        ("a", 9),
        ("b", 1),
    ]


def test_a_letter_that_another_sender_settled_keeps_its_number() -> None:
    a1, a2 = letter("a", "1"), letter("a", "2", position=2)
    stale = SendResult(customer_id=A, outcomes=sent(a1, a2))
    settled = {A: Standing(sequence=2, position=2)}
    assert number([stale], settled) == ([], settled)
    [only], _ = number([stale], {A: Standing(sequence=1, position=1)})
    assert (only.letter, only.event.sequence) == (a2, 2)


def test_a_letter_in_two_results_is_numbered_once() -> None:
    a1, a2 = letter("a", "1"), letter("a", "2", position=2)
    results = [SendResult(customer_id=A, outcomes=sent(*letters)) for letters in ((a1,), (a1, a2))]
    numbered, _ = number(results, {A: Standing()})
    assert [(entry.letter, entry.event.sequence) for entry in numbered] == [(a1, 1), (a2, 2)]


def test_a_refused_letter_takes_a_number_and_its_event_has_reason_and_attempts() -> None:
    refused, taken, waiting = (
        letter("a", "1", attempts=2),
        letter("a", "2", position=2),
        letter("a", "3", position=3),
    )
    result = SendResult(
        customer_id=CustomerId("a"),
        outcomes=(Outcome(letter=refused, at=AT, refusal="550 no such mailbox"), *sent(taken)),
        deferred=Deferred(letter=waiting, reason="451 not now"),
    )
    [first, second], after = number([result], {A: Standing()})
    assert after[A].position == taken.position
    assert isinstance(first.event, NotificationFailed)
    assert (first.event.sequence, first.event.reason, first.event.attempts) == (
        1,
        "550 no such mailbox",
        3,
    )
    assert isinstance(second.event, NotificationSent)
    assert second.event.sequence == 2


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 6), max_size=5), start=st.integers(0, 10**9))
def test_however_results_overlap_each_letter_is_numbered_once_and_in_order(
    cuts: list[int], start: int
) -> None:
    letters = [letter("a", str(index), position=3 * index + 1) for index in range(6)]
    standings, seen = {A: Standing(sequence=start)}, []
    # Each result begins at the customer's first letter that was pending when it was leased.
    for cut in [*cuts, 6]:
        result = SendResult(customer_id=A, outcomes=sent(*letters[:cut]))
        numbered, standings = number([result], standings)
        seen += [(entry.letter, entry.event.sequence) for entry in numbered]
    assert seen == [(each, start + index) for index, each in enumerate(letters, start=1)]


def test_a_customer_rests_longer_each_time_and_never_longer_than_the_most() -> None:
    rests = []
    for attempts in (0, 1, 2, 6, 500):
        deferred = Deferred(letter=letter("a", "1", attempts=attempts), reason="451 not now")
        rests.append(rest_s(SendResult(customer_id=CustomerId("a"), deferred=deferred), most=60))
    assert rests == [1, 2, 4, 60, 60]


def test_a_customer_is_due_again_at_once_after_a_mail_was_sent() -> None:
    result = SendResult(customer_id=CustomerId("a"), outcomes=sent(letter("a", "1")))
    assert rest_s(result, most=60) == 0


def test_a_customer_whose_turn_did_not_come_is_first_the_next_time() -> None:
    """Due before every customer who is due at once."""
    assert rest_s(SendResult(customer_id=CustomerId("a")), most=60) < 0


DAYS = 3 * 86_400


@pytest.mark.parametrize(
    ("attempts", "age_s", "ends"),
    [(9, DAYS, True), (500, DAYS + 1, True), (8, DAYS * 10, False), (500, DAYS - 1, False)],
)
def test_what_is_refused_for_now_is_given_up_when_it_is_old_and_was_tried_ten_times(
    attempts: int, age_s: int, ends: bool
) -> None:
    old = letter("customer-1", "old", attempts=attempts)
    deferred = Deferred(letter=old, reason="451 4.3.0 not now")
    outcome = give_up(deferred, at=AT + timedelta(seconds=age_s), give_up_s=DAYS)
    assert (outcome is not None) is ends
    if outcome is None:
        return

    next_one = letter("customer-1", "b", position=2)
    result = SendResult(customer_id=old.customer_id, outcomes=(outcome, *sent(next_one)))
    numbered, _ = number([result], {old.customer_id: Standing(sequence=4)})
    failed, following = (each.event for each in numbered)
    assert isinstance(failed, NotificationFailed)
    assert (failed.sequence, failed.attempts) == (5, attempts + 1)
    assert failed.reason == f"EXPIRED after {attempts + 1} attempts in {age_s} s: 451 4.3.0 not now"
    assert isinstance(following, NotificationSent)
    assert following.sequence == 6


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("card expired", "Nothing was charged: card expired."),
        ("card expired.", "Nothing was charged: card expired."),
        ("a\r\n.\r\nFrom: x\x00\u202ey", "Nothing was charged: a . From: x y."),
        ("x" * 900_000, f"Nothing was charged: {'x' * 200}."),
        (" \n", "Nothing was charged."),
    ],
)
def test_a_providers_words_are_one_short_printable_line_of_a_mail(
    message: str, sentence: str
) -> None:
    failed = msgspec.structs.replace(payment_failed(ORDER), message=message)
    words = wording(failed)
    assert words is not None
    assert words.text == f"Hello,\n\n{sentence}\n\nOrderflow\n"
