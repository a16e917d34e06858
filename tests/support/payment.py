"""The payment service with its provider as processes, orders to be paid, and both ledgers to judge by."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import uuid_utils.compat
from tests.support.order_service import deploy_contracts
from tests.support.psp import Psp, running_psp
from tests.support.service import Process, Said, Service, service_deployed
from tests.support.stack import Stack

from orderflow.contracts.events import OrderCancelled, OrderCreated, OrderLine, PaymentRequested
from orderflow.contracts.ids import CustomerId, OrderId, PaymentId, Sku, payment_id
from orderflow.contracts.topics import ORDERS, PAYMENTS
from orderflow.messaging.errors import Transient
from orderflow.messaging.kafka import groups
from orderflow.messaging.kafka.group_topics import replay_topic
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.testing.eventually import eventually

GROUP = "payment-service"
AMOUNT_MINOR = 4_498
LINES = (
    OrderLine(sku=Sku("MOUSE-01"), quantity=2, unit_price_minor=1_999),
    OrderLine(sku=Sku("KEYBOARD-01"), quantity=1, unit_price_minor=500),
)
SUCCEEDED, FAILED, REFUNDED = "PaymentSucceeded", "PaymentFailed", "PaymentRefunded"


def now() -> datetime:
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def new_order_id() -> OrderId:
    return OrderId(str(uuid_utils.compat.uuid7()))


def created(order_id: OrderId, *, token: str = "pm_ok", minor: int = AMOUNT_MINOR) -> OrderCreated:
    return OrderCreated(
        order_id=order_id,
        customer_id=CustomerId("customer-123"),
        version=1,
        lines=LINES if minor else (),
        amount_minor=minor,
        currency="EUR",
        payment_mode="AUTOMATIC",
        attempt=1,
        payment_id=payment_id(order_id, 1),
        payment_method=token,
        occurred_at=now(),
    )


def created_on_request(order_id: OrderId) -> OrderCreated:
    return OrderCreated(
        order_id=order_id,
        customer_id=CustomerId("customer-123"),
        version=1,
        lines=(),
        amount_minor=0,
        currency="EUR",
        payment_mode="ON_REQUEST",
        attempt=0,
        occurred_at=now(),
    )


def requested(
    order_id: OrderId, attempt: int, *, token: str = "pm_ok", minor: int = AMOUNT_MINOR
) -> PaymentRequested:
    return PaymentRequested(
        order_id=order_id,
        customer_id=CustomerId("customer-123"),
        attempt=attempt,
        payment_id=payment_id(order_id, attempt),
        amount_minor=minor,
        currency="EUR",
        payment_method=token,
        lines=LINES if minor else (),
        occurred_at=now(),
    )


def cancelled(order_id: OrderId, reason: str = "CUSTOMER") -> OrderCancelled:
    return OrderCancelled(
        order_id=order_id,
        customer_id=CustomerId("customer-123"),
        version=2,
        reason=reason,
        description="cancelled by a test",
        occurred_at=now(),
    )


@dataclass
class Paying:
    """The service, its provider, and the orders that this test has placed. `environment` is for all its processes."""

    service: Service
    psp: Psp
    orders: list[OrderId] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def start(
        self, roles: str = "listener", *, slot: int = 0, wait: bool = True, **environment: str
    ) -> Process:
        told = {"ORDERFLOW_PAYMENT__PSP__URL": self.psp.url, **self.environment, **environment}
        return self.service.start(roles, slot=slot, wait=wait, **told)

    def place(self, count: int, *, tokens: Sequence[str] = ("pm_ok",)) -> list[OrderId]:
        """Produce so many OrderCreated with these test tokens in turn."""
        placed = [new_order_id() for _ in range(count)]
        for number, order_id in enumerate(placed):
            self.send(created(order_id, token=tokens[number % len(tokens)]))
        self.service.flush()
        self.orders += placed
        return placed

    def send(
        self,
        event: OrderCreated | OrderCancelled | PaymentRequested,
        *,
        event_id: UUID | None = None,
    ) -> UUID:
        chosen = event_id or uuid4()
        self.service.send(ORDERS.name, event, event_id=chosen)
        return chosen

    def replay(
        self, event: OrderCreated | OrderCancelled | PaymentRequested, *, event_id: UUID
    ) -> None:
        """Produce it where dead letters are sent back: another partition than its order's."""
        self.service.send(
            ORDERS.name, event, event_id=event_id, to=replay_topic(ORDERS, GROUP).name
        )

    def said(self) -> list[Said]:
        """What was announced of this test's orders."""
        mine = set(self.orders)
        return [one for one in self.service.said(PAYMENTS.name) if one.key in mine]

    def announced(self) -> dict[str, list[str]]:
        """The types of what was announced of each order, in their order."""
        found: dict[str, list[str]] = defaultdict(list)
        for one in self.said():
            found[one.key].append(one.type)
        return found

    def eventually_announced(
        self, count: int | None = None, *, within_s: float = 90
    ) -> dict[str, list[str]]:
        """Wait until so many records (or one for each order) are there; then all there are."""
        wanted = len(self.orders) if count is None else count
        enough = lambda: len(self.said()) >= wanted  # noqa: E731
        eventually(
            enough,
            within_s=within_s,
            every_s=0.5,
            why=f"{wanted} announcements of {len(self.orders)} orders",
        )
        return self.announced()

    def sums(self) -> dict[str, dict[str, int]]:
        """Our books, by currency."""
        names = ("capturedMinor", "refundedMinor", "captures", "refunds")
        query = """
            SELECT currency, sum(captured_minor)::bigint, sum(refunded_minor)::bigint,
                   count(*) FILTER (WHERE captured_minor > 0), count(*) FILTER (WHERE refunded_minor > 0)
            FROM payment GROUP BY currency HAVING sum(captured_minor) > 0
        """
        rows: Iterable[Any] = self.service.rows(query)
        return {currency: dict(zip(names, sums, strict=True)) for currency, *sums in rows}

    def assert_ledgers_agree(self) -> None:
        """
        To the minor unit, and no reference was captured twice.

        First all must be at rest: on a stack that is shared, others may have placed orders too, and theirs count.
        """
        self.service.eventually_at_rest()
        captures = self.psp.captures()
        captures.pop("probe", None)
        twice = [reference for reference, count in captures.items() if count > 1]
        assert not twice, (
            f"captured twice: {[call for call in self.psp.calls() if call['reference'] in twice]}"
        )
        totals = self.psp.ledger()["totals"]
        theirs = {name: sums for name, sums in totals.items() if sums["captures"] and name == "EUR"}
        assert {
            currency: {name: sums[name] for name in NAMES} for currency, sums in theirs.items()
        } == self.sums()
        assert {row[0] for row in self.service.rows("SELECT state FROM payment")} <= {
            "SUCCEEDED",
            "FAILED",
        }
        assert {row[0] for row in self.service.rows("SELECT state FROM refund")} <= {"SUCCEEDED"}

    def assert_one_key_for_each_payment(self) -> None:
        keys: dict[str, set[str]] = defaultdict(set)
        for call in self.psp.calls():
            if call["operation"] in ("charge", "refund"):
                keys[call["reference"]].add(call["key"])
        assert keys
        assert {reference: {reference} for reference in keys} == keys

    def assert_each_said_once(self) -> None:
        """By event id, and by what it says of the order."""
        said = self.said()
        assert max(Counter(one.id for one in said).values()) == 1
        assert max(Counter((one.key, one.type, one.cause) for one in said).values()) == 1


NAMES = ("capturedMinor", "refundedMinor", "captures", "refunds")


def payment_of(order_id: OrderId, attempt: int = 1) -> PaymentId:
    return payment_id(order_id, attempt)


@contextmanager
def paying(stack: Stack, home: Path, **psp_environment: str) -> Iterator[Paying]:
    """Deployed, the provider running, no worker yet. What was on `orders` before is none of its business."""
    deploy_contracts(stack)
    with (
        running_psp(home, **psp_environment) as psp,
        service_deployed(stack, home, "payment", group=GROUP, hears=(ORDERS.name,)) as service,
    ):
        _begin_at_the_end(service)
        yield Paying(service=service, psp=psp)


def _begin_at_the_end(service: Service) -> None:
    """Once the group's former members are gone, which takes their session's time if they were killed."""

    def begin() -> bool:
        for topic in (ORDERS, replay_topic(ORDERS, GROUP)):
            groups.begin_at(
                service.kafka, GROUP, topic.name, end_offsets(service.kafka, topic.name)
            )
        return True

    try:
        begin()
    except Transient:
        eventually(begin, within_s=60, every_s=1, why=f"{GROUP} is empty")
