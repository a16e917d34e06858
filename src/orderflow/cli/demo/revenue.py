"""How the demo's payments and refunds move their customers' revenue: over HTTP, and as records."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from threading import Event
from typing import Any

import msgspec

from orderflow.cli.demo.services import Services
from orderflow.cli.demo.stories import Story
from orderflow.cli.records import ReadableRecord, readable_records
from orderflow.contracts.events import CurrencyTotals
from orderflow.contracts.topics import REVENUE_BY_CUSTOMER
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.kafka.reader import Offsets, end_offsets
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.settings import KafkaSettings

MOVED_WITHIN_S = 60.0
LOOK_EVERY_S = 0.2
NOTHING = CurrencyTotals(captured_minor=0, refunded_minor=0, net_minor=0, payments=0, refunds=0)
LOOK_THERE = "see `orderflow status`, then `orderflow logs revenue`"

Totals = dict[str, CurrencyTotals]


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """
    A customer's revenue in the currency of an order: before it, as it must become, as it is.

    `record`: the last one of the customer on `revenue-by-customer` since then, None if there is
    none; `agrees`: it has the same totals as the answer over HTTP.
    """

    story: Story
    currency: str
    before: CurrencyTotals
    wanted: CurrencyTotals
    now: CurrencyTotals
    record: ReadableRecord | None
    agrees: bool

    @property
    def fits(self) -> bool:
        # Of a customer who never paid there is no record, and no answer but 404.
        return self.now == self.wanted and (self.agrees or self.now == self.before)


class Revenue:
    """
    Revenue of these customers from now on.

    Waits until the revenue service answers. Raises OrderflowError if it does not within 60 s.
    """

    def __init__(
        self, services: Services, kafka: KafkaSettings, decoder: Decoder, customers: Iterable[str]
    ) -> None:
        self._services, self._kafka, self._decoder = services, kafka, decoder
        until = time.monotonic() + MOVED_WITHIN_S
        self._before = {customer: self._totals(customer, until) for customer in customers}
        self._start: Offsets = end_offsets(kafka, REVENUE_BY_CUSTOMER.name)

    def moved(self, orders: Iterable[tuple[Story, Mapping[str, Any]]]) -> list[Moved]:
        """Each customer's row, once all are as they must become, or as they are after 60 s."""
        pairs = list(orders)
        until = time.monotonic() + MOVED_WITHIN_S
        patience = Event()
        while True:
            totals = {story.customer: self._totals(story.customer, until) for story, _ in pairs}
            records = self._records()
            rows = [
                moved(
                    story,
                    order,
                    before=self._before[story.customer],
                    now=totals[story.customer],
                    record=records.get(story.customer),
                )
                for story, order in pairs
            ]

            if all(row.fits for row in rows) or time.monotonic() > until:
                return rows
            patience.wait(LOOK_EVERY_S)

    def _totals(self, customer: str, until: float) -> Totals:
        """What the revenue service says; a part that is being handed over is waited for."""
        patience = Event()
        while (totals := self._services.revenue(customer)) is None:
            if time.monotonic() > until:
                raise OrderflowError(
                    f"after {MOVED_WITHIN_S:.0f} s the revenue of {customer} "
                    f"can't be asked for: {LOOK_THERE}"
                )
            patience.wait(LOOK_EVERY_S)
        return totals

    def _records(self) -> dict[str, ReadableRecord]:
        """Each customer's last record since the beginning."""
        topic = REVENUE_BY_CUSTOMER.name
        records = readable_records(
            self._kafka, self._decoder, topic, start=self._start, follow=False
        )
        return {record.key: record for record in records if record is not None and record.key}


def moved(
    story: Story,
    order: Mapping[str, Any],
    *,
    before: Totals,
    now: Totals,
    record: ReadableRecord | None,
) -> Moved:
    """What the story's captures and refunds must make of revenue, beside what they made."""
    currency, amount = order["currency"], order["amountMinor"]
    earlier = before.get(currency, NOTHING)
    captured = earlier.captured_minor + story.captures * amount
    refunded = earlier.refunded_minor + story.refunds * amount

    return Moved(
        story=story,
        currency=currency,
        before=earlier,
        wanted=CurrencyTotals(
            captured_minor=captured,
            refunded_minor=refunded,
            net_minor=captured - refunded,
            payments=earlier.payments + story.captures,
            refunds=earlier.refunds + story.refunds,
        ),
        now=now.get(currency, NOTHING),
        record=record,
        agrees=record is not None and _totals_of(record) == now,
    )


def _totals_of(record: ReadableRecord) -> Totals | None:
    return None if record.value is None else msgspec.convert(record.value["totals"], Totals)
