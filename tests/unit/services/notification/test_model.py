"""What customers are told, and how their messages are numbered."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid5

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.builders import an_order, status_changed
from tests.support.fact_schedules import fact

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import NotificationFailed, NotificationSent, OrderEvent, OrderStatus
from orderflow.contracts.ids import CustomerId, NotificationId, OrderId, notification_id
from orderflow.messaging.event import EventId
from orderflow.services.notification.model import (
    Held,
    Kind,
    Letter,
    Round,
    Settled,
    number,
    rest_s,
    wording,
)

AT = datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)
ORDER = an_order(OrderId("019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10"))
TOLD = {
    "succeeded": "PAYMENT_SUCCEEDED",
    "failed": "PAYMENT_FAILED",
    "refunded": "PAYMENT_REFUNDED",
}


def changed(status: OrderStatus, reason: str | None = None) -> OrderEvent:
    return status_changed(ORDER, status, reason=reason, at=AT)


def letter(customer: str, name: str, *, attempts: int = 0) -> Letter:
    cause = EventId(uuid5(NAMESPACE, f"{customer}/{name}"))
    return Letter(
        notification_id=notification_id(cause, Kind.ORDER_CREATED),
        customer_id=CustomerId(customer),
        order_id=ORDER.order_id,
        kind=Kind.ORDER_CREATED,
        subject="s",
        text="t\n",
        noted_at=AT,
        cause_id=cause,
        cause_type="orderflow.OrderCreated",
        correlation_id=ORDER.order_id,
        traceparent=None,
        tracestate=None,
        attempts=attempts,
    )


def settled(*letters: Letter) -> tuple[Settled, ...]:
    return tuple(Settled(letter=one, at=AT) for one in letters)


def ids(*letters: Letter) -> set[NotificationId]:
    return {one.notification_id for one in letters}


def test_the_id_of_a_notification_is_derived_from_its_cause_and_its_kind() -> None:
    cause = UUID("019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10")
    assert notification_id(cause, "ORDER_CREATED") == str(
        uuid5(NAMESPACE, f"{cause}/notification/ORDER_CREATED")
    )


@pytest.mark.parametrize(("step", "kind"), TOLD.items())
def test_customers_are_told_of_their_payments(step: str, kind: str) -> None:
    said = wording(msgspec.convert(fact(step, ORDER), type(fact(step, ORDER))))  # type: ignore[arg-type]
    assert said is not None
    assert said.kind == kind
    assert ORDER.order_id in said.subject


def test_customers_are_told_of_their_orders() -> None:
    events = [
        ORDER,
        fact("rejected", ORDER),
        *map(changed, (OrderStatus.SHIPPED, OrderStatus.DELIVERED)),
    ]
    said = [wording(event) for event in events]  # type: ignore[arg-type]
    kinds = [Kind.ORDER_CREATED, Kind.STOCK_REJECTED, Kind.ORDER_SHIPPED, Kind.ORDER_DELIVERED]
    assert [one and one.kind for one in said] == kinds


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
        said = wording(changed(OrderStatus.CANCELLED, reason=reason))
        assert said is not None
        assert said.kind is Kind.ORDER_CANCELLED
        texts.add(said.text)
    assert len(texts) == 6


@pytest.mark.parametrize("status", [OrderStatus.CREATED, OrderStatus.PAID])
def test_a_status_that_another_event_tells_of_is_nothing_to_say(status: OrderStatus) -> None:
    assert wording(changed(status)) is None


def test_numbers_follow_the_customers_own_without_a_gap() -> None:
    a1, a2, b1 = letter("a", "1"), letter("a", "2"), letter("b", "1")
    rounds = [
        Round(customer_id=CustomerId("a"), settled=settled(a1, a2)),
        Round(customer_id=CustomerId("b"), settled=settled(b1)),
    ]
    numbered = number(
        rounds, sequences={CustomerId("a"): 7, CustomerId("b"): 0}, pending=ids(a1, a2, b1)
    )
    assert [(one.event.customer_id, one.event.sequence) for one in numbered] == [
        ("a", 8),
        ("a", 9),
        ("b", 1),
    ]


def test_what_was_settled_meanwhile_has_its_number() -> None:
    a1, a2 = letter("a", "1"), letter("a", "2")
    stale = Round(customer_id=CustomerId("a"), settled=settled(a1, a2))
    assert number([stale], sequences={CustomerId("a"): 2}, pending=set()) == []
    [only] = number([stale], sequences={CustomerId("a"): 1}, pending=ids(a2))
    assert (only.letter, only.event.sequence) == (a2, 2)


def test_a_customer_of_two_rounds_is_numbered_once() -> None:
    a1, a2 = letter("a", "1"), letter("a", "2")
    rounds = [
        Round(customer_id=CustomerId("a"), settled=settled(*letters))
        for letters in ((a1,), (a1, a2))
    ]
    numbered = number(rounds, sequences={CustomerId("a"): 0}, pending=ids(a1, a2))
    assert [(one.letter, one.event.sequence) for one in numbered] == [(a1, 1), (a2, 2)]


def test_a_refusal_takes_a_number_too_and_says_why_and_after_how_many_attempts() -> None:
    refused, taken, held = letter("a", "1", attempts=2), letter("a", "2"), letter("a", "3")
    round_ = Round(
        customer_id=CustomerId("a"),
        settled=(Settled(letter=refused, at=AT, refusal="550 no such mailbox"), *settled(taken)),
        held=Held(letter=held, reason="451 not now"),
    )
    first, second = number(
        [round_], sequences={CustomerId("a"): 0}, pending=ids(refused, taken, held)
    )
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
def test_however_rounds_overlap_each_message_is_numbered_once_and_in_order(
    cuts: list[int], start: int
) -> None:
    letters = [letter("a", str(index)) for index in range(6)]
    left, last, seen = ids(*letters), start, []
    for cut in [
        *cuts,
        6,
    ]:  # Each round begins at the customer's first letter that was pending when it was leased.
        one = Round(customer_id=CustomerId("a"), settled=settled(*letters[:cut]))
        numbered = number([one], sequences={CustomerId("a"): last}, pending=left)
        left -= ids(*(found.letter for found in numbered))
        last += len(numbered)
        seen += [(found.letter, found.event.sequence) for found in numbered]
    assert seen == [(one, start + index) for index, one in enumerate(letters, start=1)]


def test_a_customer_rests_longer_each_time_and_never_longer_than_the_most() -> None:
    rests = []
    for attempts in (0, 1, 2, 6, 500):
        held = Held(letter=letter("a", "1", attempts=attempts), reason="451 not now")
        rests.append(rest_s(Round(customer_id=CustomerId("a"), held=held), most=60))
    assert rests == [1, 2, 4, 60, 60]


def test_a_customer_who_was_told_something_is_due_at_once_and_one_whose_turn_did_not_come_before_that() -> (
    None
):
    told = Round(customer_id=CustomerId("a"), settled=settled(letter("a", "1")))
    assert rest_s(told, most=60) == 0
    assert rest_s(Round(customer_id=CustomerId("a")), most=60) < 0
