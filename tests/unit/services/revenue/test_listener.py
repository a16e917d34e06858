"""
Revenue's own listener and topology on the in-memory bus: what is on its topics, whatever fails.

The kit's tests prove the delivery; these prove what this topology says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from random import Random
from typing import TypeVar

import pytest
from msgspec.structs import replace
from tests.support.builders import AT, an_order, paid, payment_failed, refunded

from orderflow.contracts.events import (
    CurrencyTotals,
    Envelope,
    PaymentRefunded,
    PaymentSucceeded,
    RevenueByCustomer,
    RevenueByHour,
)
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import (
    BY_CUSTOMER_REPARTITION,
    BY_HOUR_REPARTITION,
    PAYMENTS,
    REVENUE_BY_CUSTOMER,
    REVENUE_BY_HOUR,
)
from orderflow.messaging.kafka.group_topics import replay_topic
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.testing.bus import Bus, Faults
from orderflow.services.revenue.listeners import LISTENER
from orderflow.services.revenue.model import HOURS

UNKIND = Faults(
    repeat=0.3, abort=0.15, unknown=0.15, expel=0.05, refuse=0.05, crash=0.1, wave_max=7
)
T = TypeVar("T", RevenueByCustomer, RevenueByHour)
Paid = PaymentSucceeded | PaymentRefunded


class Revenue:
    """The revenue service's listener, alone with Kafka in memory."""

    def __init__(self, *, faults: Faults, workers: int = 1, seed: int = 0) -> None:
        self.bus = Bus((LISTENER,), catalogue=CATALOGUE, faults=faults, workers=workers, seed=seed)
        self._decoder = Decoder(self.bus.registry)

    def publish(self, *events: Envelope, to: str = "") -> None:
        for event in events:
            self.bus.publish(PAYMENTS.name, event, to=to)

    @property
    def customers(self) -> dict[str, RevenueByCustomer]:
        return self._last(REVENUE_BY_CUSTOMER.name, RevenueByCustomer)

    @property
    def hours(self) -> dict[str, RevenueByHour]:
        return self._last(REVENUE_BY_HOUR.name, RevenueByHour)

    def _last(self, topic: str, of: type[T]) -> dict[str, T]:
        """What a reader of the compacted topic knows at its end."""
        return {
            (message.key() or b"").decode(): self._decoder.decode_as(message.value() or b"", of)
            for message in self.bus.records(topic)
        }


def payments(count: int, *, seed: int) -> list[Paid]:
    """Captures of a few customers in a few hours; some of them are refunded."""
    draw, events = Random(seed), list[Paid]()
    for number in range(count):
        order = an_order(customer=f"customer-{number % 4}", minor=draw.randrange(10_000))
        at = AT + timedelta(minutes=draw.randrange(300))
        currency = draw.choice(["EUR", "JPY"])
        events.append(replace(paid(order), occurred_at=at, currency=currency))
        if draw.random() < 0.3:
            later = at + timedelta(minutes=draw.randrange(300))
            events.append(replace(refunded(order), occurred_at=later, currency=currency))
    return events


def summed(events: Iterable[Paid]) -> dict[str, CurrencyTotals]:
    """What these come to in each currency, by plain sums."""
    by_currency: dict[str, list[Paid]] = defaultdict(list)
    for event in events:
        by_currency[event.currency].append(event)
    return {currency: _totals(paid_in) for currency, paid_in in by_currency.items()}


def _totals(events: list[Paid]) -> CurrencyTotals:
    captured = [e.amount_minor for e in events if isinstance(e, PaymentSucceeded)]
    given_back = [e.amount_minor for e in events if isinstance(e, PaymentRefunded)]
    return CurrencyTotals(
        captured_minor=sum(captured),
        refunded_minor=sum(given_back),
        net_minor=sum(captured) - sum(given_back),
        payments=len(captured),
        refunds=len(given_back),
    )


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("workers", [1, 3])
def test_the_topics_say_what_was_captured_and_refunded_whatever_fails(
    seed: int, workers: int
) -> None:
    """
    Goal: repeats, aborts, commits without an answer, lost partitions and kills change no total.

    Method: from the seed; both topics' last records are compared with plain sums of the events.
    """
    revenue = Revenue(faults=UNKIND, workers=workers, seed=seed)
    events = payments(40, seed=seed)
    revenue.publish(*events)
    revenue.bus.run()

    assert {customer: found.totals for customer, found in revenue.customers.items()} == {
        customer: summed(e for e in events if e.customer_id == customer)
        for customer in {e.customer_id for e in events}
    }
    assert {(hour.hour, hour.currency): hour.totals for hour in revenue.hours.values()} == {
        (hour, currency): of_currency
        for hour in {HOURS.start_of(e.occurred_at) for e in events}
        for currency, of_currency in summed(
            e for e in events if HOURS.start_of(e.occurred_at) == hour
        ).items()
    }


def test_a_payment_under_another_event_id_or_from_the_replay_topic_counts_once() -> None:
    revenue = Revenue(faults=Faults())
    payment = paid(an_order(customer="ada", minor=100))
    revenue.publish(payment, payment)
    revenue.publish(payment, to=replay_topic(PAYMENTS, LISTENER.group).name)
    revenue.bus.run()
    assert revenue.customers["ada"].totals["EUR"].payments == 1
    assert [hour.totals.captured_minor for hour in revenue.hours.values()] == [100]


def test_what_is_not_captured_is_skipped_and_moves_nothing() -> None:
    revenue = Revenue(faults=Faults())
    revenue.publish(payment_failed(an_order(customer="grace")), paid(an_order(customer="ada")))
    revenue.bus.run()
    assert list(revenue.customers) == ["ada"]
    assert not revenue.bus.records(f"{PAYMENTS.name}.{LISTENER.group}.dlt")


def test_a_late_payment_restates_its_hour() -> None:
    revenue = Revenue(faults=Faults())
    for at in (AT, AT + timedelta(hours=2), AT + timedelta(minutes=1)):
        revenue.publish(replace(paid(an_order(minor=100)), occurred_at=at))
        revenue.bus.run()
    assert {key: hour.totals.captured_minor for key, hour in revenue.hours.items()} == {
        "2026-01-31T09:00:00Z/EUR": 200,
        "2026-01-31T11:00:00Z/EUR": 100,
    }


def test_each_record_has_the_key_and_subject_of_its_total_and_the_time_of_its_event() -> None:
    revenue = Revenue(faults=Faults())
    revenue.publish(paid(an_order(customer="ada", minor=100)))
    revenue.bus.run()

    hour = "2026-01-31T09:00:00Z/EUR"
    for topic, key in (
        (BY_CUSTOMER_REPARTITION, "ada"),
        (REVENUE_BY_CUSTOMER, "ada"),
        (BY_HOUR_REPARTITION, hour),
        (REVENUE_BY_HOUR, hour),
    ):
        (record,) = revenue.bus.records(topic.name)
        metadata = record.metadata
        assert (record.key(), metadata.subject) == (key.encode(), key)
        assert (metadata.time, metadata.source) == (AT, topic.source)
