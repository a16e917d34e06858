"""What the counts mean."""

from __future__ import annotations

from random import Random

from tests.support.builders import CANCELLED, CREATED, DELIVERED, LIVES, PAID, SHIPPED, life

from orderflow.services.analytics.model import Passage, Step, conversion, entered, newest

PASSAGES = (
    Passage(status=SHIPPED, to=DELIVERED, orders=2),
    Passage(status=PAID, to=CANCELLED, orders=1),
    Passage(status=CREATED, to=None, orders=3),
    Passage(status=PAID, to=SHIPPED, orders=5),
    Passage(status=CREATED, to=PAID, orders=6),
    Passage(status=SHIPPED, to=None, orders=3),
    Passage(status=CANCELLED, to=None, orders=1),
    Passage(status=DELIVERED, to=None, orders=2),
)


def test_an_order_that_left_a_status_had_entered_it() -> None:
    assert entered(PASSAGES) == {CREATED: 9, PAID: 6, SHIPPED: 5, DELIVERED: 2, CANCELLED: 1}
    assert set(entered(()).values()) == {0}


def test_steps_are_shares_of_all_that_ever_entered_a_status() -> None:
    """In the order of an order's life, whatever the order of the passages."""
    assert conversion(PASSAGES) == [
        Step(status=CREATED, to=PAID, orders=6, share=0.6667),
        Step(status=PAID, to=SHIPPED, orders=5, share=0.8333),
        Step(status=PAID, to=CANCELLED, orders=1, share=0.1667),
        Step(status=SHIPPED, to=DELIVERED, orders=2, share=0.4),
    ]
    assert conversion(()) == []


def test_of_each_order_the_newest_event_counts_whatever_came_last() -> None:
    lives = [life(statuses) for statuses in LIVES.values()]
    events = [event for events in lives for event in events]
    Random(7).shuffle(events)
    assert newest(events) == sorted(
        (events[-1] for events in lives), key=lambda event: event.order_id
    )
