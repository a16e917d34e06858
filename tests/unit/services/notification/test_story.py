"""
A customer is told what became of an order in the order in which it happened, however the topics
that say so are interleaved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import (
    an_order,
    paid,
    payment_failed,
    refunded,
    rejected,
    status_changed,
)

from orderflow.contracts.events import OrderStatus
from orderflow.contracts.ids import NotificationId, OrderId
from orderflow.services.notification.model import Kind, NotificationState, wording
from orderflow.services.notification.story import Fact, place_of, tell

ORDER = an_order(OrderId("019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10"))


def _cancelled(reason: str, previous: OrderStatus) -> Any:
    return status_changed(ORDER, OrderStatus.CANCELLED, previous=previous, reason=reason)


REFUSED = msgspec.structs.replace(payment_failed(ORDER), reason="ORDER_CANCELLED")
SHIPPED = status_changed(ORDER, OrderStatus.SHIPPED, version=3)
DELIVERED = status_changed(ORDER, OrderStatus.DELIVERED, version=4)
CANCELLED_UNPAID = _cancelled("CUSTOMER", OrderStatus.CREATED)
CANCELLED_PAID = _cancelled("CUSTOMER", OrderStatus.PAID)
OUT_OF_STOCK = _cancelled("OUT_OF_STOCK", OrderStatus.PAID)

STORIES: dict[str, tuple[Any, ...]] = {
    "delivered": (ORDER, paid(ORDER), SHIPPED, DELIVERED),
    "paid at the second attempt": (
        ORDER,
        payment_failed(ORDER),
        paid(ORDER, 2),
        SHIPPED,
        DELIVERED,
    ),
    "out of stock": (ORDER, paid(ORDER), rejected(ORDER), OUT_OF_STOCK, refunded(ORDER)),
    "cancelled after it was paid": (ORDER, paid(ORDER), CANCELLED_PAID, refunded(ORDER)),
    "cancelled before it was charged": (ORDER, CANCELLED_UNPAID, REFUSED),
}
CHARGED_MEANWHILE = (ORDER, CANCELLED_UNPAID, paid(ORDER), refunded(ORDER))
"""Cancelled while it was being charged: the success is no news any more."""
NEVER_PAID = (ORDER, payment_failed(ORDER), _cancelled("PAYMENT_DEADLINE", OrderStatus.CREATED))


def _facts(story: Sequence[Any]) -> list[Fact]:
    return [
        Fact(
            notification_id=NotificationId(str(number)),
            kind=words.kind,
            rank=place[0],
            follows=place[1],
            state=NotificationState.HELD,
        )
        for number, event in enumerate(story)
        if (words := wording(event)) is not None and (place := place_of(event, words.kind))
    ]


class Order:
    """What is stored of one order, and what its customer was told, in this order."""

    def __init__(self) -> None:
        self.facts: dict[NotificationId, Fact] = {}
        self.told: list[Kind] = []

    def hear(self, batch: Sequence[Fact], *, released: Sequence[NotificationId] = ()) -> None:
        self.facts |= {fact.notification_id: fact for fact in batch}
        decided = tell(self.facts.values(), released=released)
        for each in decided.pending:
            self.told.append(self.facts[each].kind)
            self._move(each, NotificationState.PENDING)
        for each in decided.overtaken:
            self._move(each, NotificationState.OVERTAKEN)

    def state(self, state: NotificationState) -> list[NotificationId]:
        return [fact.notification_id for fact in self.facts.values() if fact.state is state]

    def _move(self, each: NotificationId, state: NotificationState) -> None:
        self.facts[each] = msgspec.structs.replace(self.facts[each], state=state)


def _batches(facts: Sequence[Fact]) -> Iterator[list[list[Fact]]]:
    """One by one; all at once; the first alone and the rest at once."""
    yield [[fact] for fact in facts]
    yield [list(facts)]
    yield [[facts[0]], list(facts[1:])]


@pytest.mark.parametrize("name", STORIES)
def test_the_whole_story_is_told_in_its_order_however_it_is_heard(name: str) -> None:
    facts = _facts(STORIES[name])
    for heard in permutations(facts):
        for batches in _batches(heard):
            order = Order()
            for batch in batches:
                order.hear(batch)
            assert order.told == [fact.kind for fact in facts]
            assert order.state(NotificationState.HELD) == []


def _tellings(story: Sequence[Any]) -> set[tuple[Kind, ...]]:
    """All that a customer may be told of this story, by the order in which it is heard."""
    tellings = set()
    for heard in permutations(_facts(story)):
        order = Order()
        for fact in heard:
            order.hear([fact])
        tellings.add(tuple(order.told))
        assert order.state(NotificationState.HELD) == []
    return tellings


def test_a_payment_that_succeeds_after_the_cancellation_is_told_before_it_or_not_at_all() -> None:
    begin, end = Kind.ORDER_CREATED, (Kind.ORDER_CANCELLED, Kind.PAYMENT_REFUNDED)
    assert _tellings(CHARGED_MEANWHILE) == {(begin, *end), (begin, Kind.PAYMENT_SUCCEEDED, *end)}


def test_a_failed_payment_is_no_news_once_its_order_is_cancelled() -> None:
    begin, end = Kind.ORDER_CREATED, Kind.ORDER_CANCELLED
    assert _tellings(NEVER_PAID) == {(begin, end), (begin, Kind.PAYMENT_FAILED, end)}


@given(
    name=st.sampled_from(sorted(STORIES)),
    choice=st.randoms(use_true_random=False),
    lost=st.integers(0, 4),
)
def test_what_can_not_come_any_more_holds_nothing_for_ever(
    name: str, choice: Any, lost: int
) -> None:
    """One record is a dead letter; the others are heard in any order, and then released."""
    facts = _facts(STORIES[name])
    missing = facts.pop(lost % len(facts))
    order = Order()
    for fact in choice.sample(facts, len(facts)):
        order.hear([fact])
    order.hear([], released=order.state(NotificationState.HELD))
    assert order.told == [fact.kind for fact in facts]

    # The dead letter is replayed: what is overtaken is not told.
    before = list(order.told)
    order.hear([missing])
    later = [fact for fact in facts if fact.rank > missing.rank]
    assert order.told == (before if later else [*before, missing.kind])


@given(
    name=st.sampled_from(sorted(STORIES)),
    choice=st.randoms(use_true_random=False),
    data=st.data(),
)
def test_told_is_never_out_of_order_whenever_what_is_held_is_released(
    name: str, choice: Any, data: st.DataObject
) -> None:
    facts = _facts(STORIES[name])
    order = Order()
    for fact in choice.sample(facts, len(facts)):
        order.hear([fact])
        if data.draw(st.booleans()):
            held = order.state(NotificationState.HELD)
            order.hear([], released=choice.sample(held, len(held) // 2 + len(held) % 2))
    story = [fact.kind for fact in facts]
    assert order.told == [kind for kind in story if kind in order.told]
    assert len(set(order.told)) == len(order.told)


def test_a_fact_that_is_announced_again_under_another_id_is_not_told_again() -> None:
    facts = _facts(STORIES["delivered"])
    order = Order()
    order.hear(facts[:2])
    order.hear([msgspec.structs.replace(facts[1], notification_id=NotificationId("again"))])
    assert order.told == [Kind.ORDER_CREATED, Kind.PAYMENT_SUCCEEDED]
