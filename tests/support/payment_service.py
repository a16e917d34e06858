"""
The payment service and its provider as processes, orders to be paid, and both ledgers to judge by.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from tests.support.builders import an_order, new_order_id
from tests.support.order_service import deploy_contracts
from tests.support.psp import Psp, psp_running
from tests.support.service import Process, Published, Service, service_deployed
from tests.support.stack import Stack

from orderflow.contracts.events import OrderCancelled, OrderCreated, PaymentRequested
from orderflow.contracts.ids import OrderId
from orderflow.contracts.topics import ORDERS, PAYMENTS
from orderflow.messaging.errors import Transient
from orderflow.messaging.kafka import groups
from orderflow.messaging.kafka.group_topics import replay_topic
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.testing.eventually import eventually

GROUP = "payment-service"
SUCCEEDED, FAILED, REFUNDED = "PaymentSucceeded", "PaymentFailed", "PaymentRefunded"
TOTALS = ("capturedMinor", "refundedMinor", "captures", "refunds")

Command = OrderCreated | OrderCancelled | PaymentRequested


@dataclass
class PaymentService:
    """
    The service, its provider, and the orders of this test. `environment`: settings of all its
    processes.
    """

    service: Service
    psp: Psp
    orders: list[OrderId] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def start(
        self, roles: str = "listener", *, slot: int = 0, wait: bool = True, **environment: str
    ) -> Process:
        settings = {"ORDERFLOW_PAYMENT__PSP__URL": self.psp.url, **self.environment, **environment}
        return self.service.start(roles, slot=slot, wait=wait, **settings)

    def place(self, count: int, *, tokens: Sequence[str] = ("pm_ok",)) -> list[OrderId]:
        """Produce so many OrderCreated with these test tokens in turn."""
        placed = [new_order_id() for _ in range(count)]
        for number, order_id in enumerate(placed):
            self.send(an_order(order_id, token=tokens[number % len(tokens)]))
        self.service.flush()
        self.orders += placed
        return placed

    def send(self, event: Command, *, event_id: UUID | None = None) -> UUID:
        """Produce an event on `orders`; its id."""
        event_id = event_id or uuid4()
        self.service.send(ORDERS.name, event, event_id=event_id)
        return event_id

    def skip_all(self) -> None:
        """Let the service, which is stopped, never hear of what is on its topics now."""
        begin_at_the_end(self.service)

    def replay(self, event: Command, *, event_id: UUID) -> None:
        """Produce it on the replay topic, which is another partition than its order's."""
        replay = replay_topic(ORDERS, GROUP).name
        self.service.send(ORDERS.name, event, event_id=event_id, to=replay)

    def published(self) -> list[Published]:
        """The records on `payments` about this test's orders."""
        orders = set(self.orders)
        return [record for record in self.service.published(PAYMENTS.name) if record.key in orders]

    def published_types(self) -> dict[str, list[str]]:
        """The types of the records about each order, in their order."""
        types: dict[str, list[str]] = defaultdict(list)
        for record in self.published():
            types[record.key].append(record.type)
        return types

    def eventually_published(
        self, count: int | None = None, *, within_s: float = 90
    ) -> dict[str, list[str]]:
        """
        Wait for so many records (without `count`: one for each order); the types of all records
        there are.
        """
        expected = len(self.orders) if count is None else count
        eventually(
            lambda: len(self.published()) >= expected,
            within_s=within_s,
            every_s=0.5,
            why=f"{expected} records about {len(self.orders)} orders",
        )
        return self.published_types()

    def totals(self) -> dict[str, dict[str, int]]:
        """The totals of the service's own books, by currency."""
        query = """
            SELECT currency, sum(captured_minor)::bigint, sum(refunded_minor)::bigint,
                   count(*) FILTER (WHERE captured_minor > 0),
                   count(*) FILTER (WHERE refunded_minor > 0)
            FROM payment GROUP BY currency HAVING sum(captured_minor) > 0
        """
        rows: Iterable[Any] = self.service.rows(query)
        return {currency: dict(zip(TOTALS, totals, strict=True)) for currency, *totals in rows}

    def assert_ledgers_agree(self) -> None:
        """
        To the minor unit, and no reference was captured twice.

        Waits until all orders on the topic are consumed: on a shared stack, orders of other tests
        count too.
        """
        self.service.eventually_caught_up()
        captures = self.psp.captures()
        captures.pop("probe", None)
        twice = [reference for reference, count in captures.items() if count > 1]
        calls = [call for call in self.psp.calls() if call["reference"] in twice]
        assert not twice, f"captured twice: {calls}"

        by_currency = self.psp.ledger()["totals"]
        provider = {
            currency: {name: totals[name] for name in TOTALS}
            for currency, totals in by_currency.items()
            if totals["captures"] and currency == "EUR"
        }
        assert provider == self.totals()

        payments = {row[0] for row in self.service.rows("SELECT state FROM payment")}
        refunds = {row[0] for row in self.service.rows("SELECT state FROM refund")}
        assert payments <= {"SUCCEEDED", "FAILED"}
        assert refunds <= {"SUCCEEDED"}

    def assert_one_key_for_each_payment(self) -> None:
        keys: dict[str, set[str]] = defaultdict(set)
        for call in self.psp.calls():
            if call["operation"] in ("charge", "refund"):
                keys[call["reference"]].add(call["key"])
        assert keys
        assert {reference: {reference} for reference in keys} == keys

    def assert_each_published_once(self) -> None:
        """By event id, and by order, type and cause."""
        records = self.published()
        assert max(Counter(record.id for record in records).values()) == 1
        contents = Counter((record.key, record.type, record.cause) for record in records)
        assert max(contents.values()) == 1


@contextmanager
def payment_deployed(stack: Stack, home: Path, **psp_environment: str) -> Iterator[PaymentService]:
    """
    Deploy the service, run the provider; no worker runs yet. Its group begins at the ends of its
    topics.
    """
    deploy_contracts(stack)
    with (
        psp_running(home, **psp_environment) as psp,
        service_deployed(stack, home, "payment") as service,
    ):
        begin_at_the_end(service)
        yield PaymentService(service=service, psp=psp)


def begin_at_the_end(service: Service) -> None:
    """
    Move the group to the ends; if former members were killed, once their session has timed out.
    """

    def begin() -> bool:
        for topic in (ORDERS, replay_topic(ORDERS, GROUP)):
            ends = end_offsets(service.kafka, topic.name)
            groups.begin_at(service.kafka, GROUP, topic.name, ends)
        return True

    try:
        begin()
    except Transient:
        eventually(begin, within_s=60, every_s=1, why=f"{GROUP} is empty")
