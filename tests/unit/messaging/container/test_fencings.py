"""A worker ends only for another worker in its slot, never for the broker's time-outs."""

from __future__ import annotations

from orderflow.messaging.container.client.fencings import Fencings


def test_time_outs_of_the_broker_never_end_a_worker() -> None:
    fencings = Fencings()
    assert not any(fencings.is_replaced(open_s=15.2, now=20.0 * n) for n in range(10))


def test_a_second_newer_producer_within_a_minute_ends_it() -> None:
    fencings = Fencings()
    assert not fencings.is_replaced(open_s=0.1, now=1_000.0)
    assert fencings.is_replaced(open_s=0.1, now=1_059.0)


def test_a_second_newer_producer_much_later_is_the_first_one_again() -> None:
    fencings = Fencings()
    assert not fencings.is_replaced(open_s=0.1, now=1_000.0)
    assert not fencings.is_replaced(open_s=15.2, now=1_030.0)
    assert not fencings.is_replaced(open_s=0.1, now=1_061.0)


def test_an_instance_id_that_is_taken_twice_within_a_minute_is_another_workers() -> None:
    fencings = Fencings()
    assert not fencings.is_second_instance(1_000.0)
    assert fencings.is_second_instance(1_059.0)
    assert not fencings.is_second_instance(1_120.0)
