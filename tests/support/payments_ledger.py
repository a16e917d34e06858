"""What a test put on `payments`, payment by payment: to compare copies of the topic with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec.structs import replace
from tests.support.builders import an_order, paid, payment_failed, refunded
from tests.support.service import Service

from orderflow.contracts.events import Event
from orderflow.contracts.topics import PAYMENTS

BEGAN = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)

Status = Literal["SUCCEEDED", "FAILED", "REFUNDED"]
Row = tuple[str, str, str, int]
"""Payment, order, status, amount in minor units."""


class PaymentsLedger:
    """
    Produces by `service`. Of 30 orders two fail and three are refunded; amounts differ.

    `payments`: the latest state of each. `events`: how many records.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self.payments: dict[str, Row] = {}
        self.events = 0

    def add(self, orders: int) -> None:
        for number in range(orders):
            order = an_order(minor=100 + number)
            at = BEGAN + timedelta(milliseconds=len(self.payments))
            failed = number % 15 == 0
            is_refunded = number % 10 == 1
            first: Event = payment_failed(order) if failed else paid(order)
            self._send(first, at)
            if is_refunded:
                self._send(refunded(order), at + timedelta(seconds=1))

            status: Status = "FAILED" if failed else "REFUNDED" if is_refunded else "SUCCEEDED"
            payment = str(first.payment_id)  # type: ignore[attr-defined]
            self.payments[payment] = (payment, str(order.order_id), status, order.amount_minor)
        self._service.flush()

    @property
    def rows(self) -> list[Row]:
        """The warehouse's rows, by payment."""
        return [row for _, row in sorted(self.payments.items())]

    @property
    def net_minor(self) -> int:
        """What was captured and not refunded."""
        return sum(amount for *_, status, amount in self.payments.values() if status == "SUCCEEDED")

    def _send(self, event: Event, at: datetime) -> None:
        self._service.send(PAYMENTS.name, replace(event, occurred_at=at))
        self.events += 1
