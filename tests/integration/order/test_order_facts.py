"""
The order's reactions in a real database: each fact's effect once, with its history and its events,
in any order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import zip_longest
from threading import Barrier, Thread
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from tests.support.builders import received
from tests.support.databases import database_settings, empty_database
from tests.support.fact_schedules import CANCEL, END_OF, fact, schedules
from tests.support.products import add_demo_products
from tests.support.stack import Stack

from orderflow.contracts.events import EVENT_TYPES, Envelope, OrderStatus, PaymentMode
from orderflow.contracts.ids import CustomerId, OrderId, Sku
from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging import postgres
from orderflow.messaging.container.stages.publisher import Publisher
from orderflow.messaging.errors import Poison, RecordFault
from orderflow.messaging.listener import Received
from orderflow.messaging.postgres import Cursor, Session, inbox, outbox
from orderflow.messaging.process.measuring import Rounds
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.telemetry import read_samples, render_metrics
from orderflow.messaging.testing.registry import InMemoryRegistry
from orderflow.services.order.bootstrap import MIGRATIONS
from orderflow.services.order.changes import Origin
from orderflow.services.order.commands import Command, PlaceOrder, execute
from orderflow.services.order.handlers import on_facts
from orderflow.services.order.listeners import LISTENER
from orderflow.services.order.measurements import measurements
from orderflow.services.order.model import Action, Order, RequestedLine, WaitingFor
from orderflow.services.order.place_batch import Placement, writer
from orderflow.services.order.rules import NotAllowed

BATCH = 500
SKU = Sku("MOUSE-01")
REGISTRY = InMemoryRegistry.holding(CATALOGUE)
ENCODER, DECODER = Encoder.load(REGISTRY, CATALOGUE), Decoder(REGISTRY)


@dataclass
class Counting:
    """A cursor that counts its statements."""

    cursor: Cursor
    statements: list[int] = field(default_factory=lambda: [0])

    def execute(self, *arguments: Any) -> object:
        self.statements[0] += 1
        return self.cursor.execute(*arguments)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.cursor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cursor, name)


@dataclass
class Orders:
    """Orders in a database of their own, and the order service's delivery around its handler."""

    url: str
    session: Session

    def place(self, count: int) -> list[Order]:
        command = PlaceOrder(
            customer_id=CustomerId("customer-123"),
            lines=(RequestedLine(sku=SKU, quantity=2),),
            currency="EUR",
            mode=PaymentMode.AUTOMATIC,
            payment_method="pm_ok",
            origin=Origin(type="command", id="place"),
        )
        orders: list[Order] = []

        def answer(order: Order) -> bytes:
            orders.append(order)
            return b""

        with self.session.transaction() as cursor:
            write = writer(24, encode=ENCODER.encode)
            write(cursor, [Placement(command=command, answer=answer) for _ in range(count)])
        return orders

    def handle(self, batch: Sequence[Received], *, session: Session | None = None) -> int:
        """
        As the container does it: inbox, effect, outbox in one transaction. How many statements the
        effect took.
        """
        publisher = Publisher(LISTENER, ENCODER)
        with (session or self.session).transaction() as cursor:
            fresh = inbox.claim(cursor, LISTENER.name, [record.attributes.id for record in batch])
            counting = Counting(cursor)
            new = [record for record in batch if record.attributes.id in fresh]
            caused = on_facts(counting, new)  # type: ignore[arg-type]
            outbox.append_texts(cursor, publisher.rows(caused))
        return counting.statements[0]

    def cancel(self, order: Order) -> None:
        command = Command(
            action=Action.CANCEL,
            order_id=order.order_id,
            customer_id=None,
            origin=Origin(type="command", id="cancel"),
        )
        with self.session.transaction() as cursor:
            try:
                assert execute(cursor, command, encode=ENCODER.encode)
            except NotAllowed as error:
                assert error.order.status is OrderStatus.CANCELLED  # noqa: PT017 - too late, and told so

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with postgres.connect(database_settings(self.url), application_name="test") as connection:
            return connection.execute(query.encode()).fetchall()

    def everything(self) -> list[list[tuple[Any, ...]]]:
        tables = ("orders", "order_history ORDER BY order_id, revision", "outbox ORDER BY sequence")
        return [
            sorted(self.rows(f"SELECT {table.split()[0]}::text FROM {table}")) for table in tables
        ]

    def told(self) -> dict[str, list[tuple[str, Envelope]]]:
        """What each order told, as (event id, event), in the order of its outbox rows."""
        events = defaultdict(list)
        for order_id, event_id, name, payload in self.rows(
            "SELECT aggregateid, id::text, type, payload FROM outbox ORDER BY sequence"
        ):
            events[order_id].append(
                (event_id, DECODER.decode_as(bytes(payload), EVENT_TYPES[name]))
            )
        return events


@pytest.fixture
def orders(stack: Stack) -> Iterator[Orders]:
    with empty_database(stack, "order_facts") as url:
        postgres.migrate(url, MIGRATIONS)
        add_demo_products(url)
        session = Session(database_settings(url), application_name="test")
        yield Orders(url=url, session=session)
        session.close()


def assert_gapless(orders: Orders) -> None:
    """
    Versions on order-events, revisions and ids of the history: each order's are whole, and agree.
    """
    history = defaultdict(list)
    for order_id, *entry in orders.rows(
        "SELECT order_id::text, revision, version, status, event_id::text FROM order_history"
        " ORDER BY 1, 2"
    ):
        history[order_id].append(entry)
    events = orders.told()
    for order_id, version, revision, status in orders.rows(
        "SELECT order_id::text, version, revision, status FROM orders"
    ):
        changes = [
            (event_id, event)
            for event_id, event in events[order_id]
            if event.type_name().endswith("OrderEvent")
        ]
        assert [event.version for _, event in changes] == [*range(1, version + 1)]  # type: ignore[attr-defined]
        assert changes[-1][1].status == status  # type: ignore[attr-defined]
        entries = history[order_id]
        assert [entry[0] for entry in entries] == [*range(1, revision + 1)]
        of_status = [(entry[1], entry[2], entry[3]) for entry in entries if entry[3]]
        assert of_status == [
            (event.version, event.status, event_id)  # type: ignore[attr-defined]
            for event_id, event in changes
        ]
        cancels = [
            event for _, event in events[order_id] if event.type_name().endswith("OrderCancelled")
        ]
        assert len(cancels) == (status == "CANCELLED"), (
            "a refund has one cause, and only a cancelled order has it"
        )


def test_facts_of_500_orders_in_every_interleaving_lead_to_the_same_end(orders: Orders) -> None:
    plans = schedules()
    assert len(plans) >= 500
    placed = orders.place(len(plans))
    heard: list[list[Received]] = []
    for steps in zip_longest(*plans):
        now = [(order, step) for order, step in zip(placed, steps, strict=True) if step is not None]
        for order in (order for order, step in now if step == CANCEL):
            orders.cancel(order)
        facts = [received(fact(step, order)) for order, step in now if step != CANCEL]
        for batch in (facts[start : start + BATCH] for start in range(0, len(facts), BATCH)):
            assert orders.handle(batch) <= 3, "lock, update, history: for a batch as for one"
            heard.append(batch)
    ends = {
        row[0]: row[1:]
        for row in orders.rows("SELECT order_id::text, status, payment_state, stock FROM orders")
    }
    for order, plan in zip(placed, plans, strict=True):
        assert ends[order.order_id] == END_OF[frozenset(plan)], plan
    assert_gapless(orders)

    before = orders.everything()
    for batch in heard:
        orders.handle(batch)
        orders.handle([received(record.event) for record in batch])
    assert orders.everything() == before, (
        "neither a repeat nor the same fact under another id has an effect"
    )


def test_the_same_fact_to_8_workers_at_once_has_one_effect(orders: Orders) -> None:
    placed = orders.place(50)
    facts = [received(fact("succeeded", order)) for order in placed]
    others = [received(record.event) for record in facts]
    sessions = [
        Session(database_settings(orders.url), application_name=f"test-{number}")
        for number in range(8)
    ]
    together, failed = Barrier(8), list[BaseException]()

    def work(number: int) -> None:
        batch = (facts if number % 2 else others)[:: -1 if number % 4 else 1]
        try:
            together.wait(20)
            orders.handle(batch, session=sessions[number])
        except BaseException as error:  # noqa: BLE001 - the test's to judge
            failed.append(error)

    workers = [Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    for session in sessions:
        session.close()
    assert failed == []
    assert set(orders.rows("SELECT status, version, revision FROM orders")) == {("PAID", 2, 3)}
    assert_gapless(orders)


def test_two_facts_of_one_order_in_one_batch_follow_each_other(orders: Orders) -> None:
    """The container never does that; a record under a strange key could."""
    [order] = orders.place(1)
    orders.handle([received(fact("rejected", order)), received(fact("succeeded", order))])
    assert orders.rows("SELECT status, version, revision FROM orders") == [("CANCELLED", 3, 5)]
    assert_gapless(orders)


@pytest.mark.parametrize("strange", ["no such order", "no id at all", "another payment"])
def test_a_fact_about_nothing_of_ours_has_no_effect_and_says_what_is_wrong(
    orders: Orders, strange: str
) -> None:
    [order] = orders.place(1)
    event = fact("succeeded", order)
    if strange == "no such order":
        event = msgspec.structs.replace(event, order_id=OrderId(str(uuid4())))
    elif strange == "no id at all":
        event = msgspec.structs.replace(event, order_id=OrderId("what?"))
    else:
        event = fact("succeeded again", order)
        event = msgspec.structs.replace(event, attempt=1)
    before = orders.everything()
    with pytest.raises((RecordFault, postgres.DataError)) as refusal:
        orders.handle([received(event)])
    if strange == "no such order":
        assert not isinstance(refusal.value, Poison), "it may only not be visible yet"
    assert order.order_id in str(refusal.value) or event.order_id in str(refusal.value)
    assert orders.everything() == before
    assert orders.rows("SELECT * FROM inbox") == []


def test_an_order_is_counted_as_settled_once_and_a_stuck_one_is_measured(orders: Orders) -> None:
    before = exported("orderflow_order_settled_seconds_count")
    (order,) = orders.place(1)
    facts = [received(fact(step, order)) for step in ("succeeded", "reserved")]
    orders.handle(facts[:1])
    assert exported("orderflow_order_settled_seconds_count") == before, "its stock is not settled"

    for _ in range(2):
        orders.handle(facts[1:])
        orders.cancel(order)
    assert exported("orderflow_order_settled_seconds_count") == before + 1

    late = dict.fromkeys(WaitingFor, timedelta(0))
    Rounds(measurements(late), orders.session).measure()
    assert exported("orderflow_orders_stuck", waits_for="REFUND") >= 1
    assert exported("orderflow_orders_stuck_oldest_seconds", waits_for="REFUND") > 0
    assert exported("orderflow_outbox_pending_rows", service="order") > 0, "no relay runs here"
    assert exported("orderflow_outbox_slot_active", service="order") == 0
    assert exported("orderflow_measurement_failing", what="stuck orders") == 0


def exported(name: str, **labels: str) -> float:
    text, _content_type = render_metrics()
    return read_samples(text.decode()).get((name, frozenset(labels.items())), 0.0)
