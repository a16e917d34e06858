"""
Milestone 4: stock is reserved once, all lines of an order or none, whoever repeats, races or is
killed.

On a stack of its own, with eight partitions, so that eight workers have one each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from uuid import UUID, uuid4

import pytest
from tests.support.builders import an_order, paid, refunded, shipped
from tests.support.kafka_tools import orderflow
from tests.support.service import Published, Service, service_deployed
from tests.support.stack import OwnStack
from tests.support.stock import audited, receive

from orderflow.contracts.events import PaymentSucceeded
from orderflow.contracts.ids import OrderId
from orderflow.contracts.topics import INVENTORY, ORDERS, PAYMENTS
from orderflow.messaging.kafka.group_topics import dead_letter_topic
from orderflow.messaging.testing.eventually import eventually

PARTITIONS = 8
GROUP = "inventory-service"
KILLS = [1, pytest.param(10, marks=pytest.mark.long), pytest.param(100, marks=pytest.mark.soak)]


@pytest.fixture(scope="module")
def service(own_stack: OwnStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    deployed = orderflow(own_stack, "topics", "apply", ORDERFLOW_TOPICS__PARTITIONS=str(PARTITIONS))
    assert deployed.returncode == 0, deployed.stderr
    assert orderflow(own_stack, "schemas", "apply").returncode == 0
    logs = tmp_path_factory.mktemp("inventory")
    with service_deployed(own_stack, logs, "inventory") as service:
        yield service


@pytest.fixture
def relay(service: Service) -> Iterator[None]:
    process = service.start("relay")
    yield
    assert process.terminate() == 0, process.log.read_text()


@dataclass
class Orders:
    """
    What a test sends, and what has to be true of these orders, and of nothing but them, at its
    end.
    """

    service: Service
    on_hand: dict[str, int]
    paid: dict[OrderId, PaymentSucceeded] = field(default_factory=dict)
    ids: dict[OrderId, UUID] = field(default_factory=dict)
    refunded: set[OrderId] = field(default_factory=set)
    shipped: set[OrderId] = field(default_factory=set)

    def __post_init__(self) -> None:
        receive(self.service.database_url, self.on_hand)

    def pay(self, *lines: tuple[str, int]) -> OrderId:
        order_id = OrderId(str(uuid4()))
        self.paid[order_id], self.ids[order_id] = paid(an_order(order_id, *lines)), uuid4()
        self.repeat(order_id)
        return order_id

    def repeat(self, order_id: OrderId, *, key: str | None = None, partition: int = -1) -> None:
        """The same event, with the same id."""
        event = self.paid[order_id]
        self.service.send(
            PAYMENTS.name, event, event_id=self.ids[order_id], key=key, partition=partition
        )

    def refund(self, order_id: OrderId) -> None:
        self.refunded.add(order_id)
        self.service.send(PAYMENTS.name, refunded(an_order(order_id)))

    def ship(self, order_id: OrderId) -> None:
        self.shipped.add(order_id)
        self.service.send(ORDERS.name, shipped(an_order(order_id)))

    def stock(self) -> list[tuple[object, ...]]:
        """
        Its rows, with the transaction that wrote each and where it lies: a row written again is
        another.
        """
        names = ", ".join(f"'{sku}'" for sku in self.on_hand)
        return self.service.rows(
            f"SELECT ctid::text, xmin::text, * FROM stock WHERE sku IN ({names}) ORDER BY sku"
        )

    def published(self) -> list[Published]:
        return [said for said in self.service.published(INVENTORY.name) if said.key in self.paid]

    def answers(self) -> dict[OrderId, str]:
        """
        StockReserved or StockRejected for each order: exactly one, caused by its payment, once
        each is there.
        """

        def all_answered() -> bool:
            return len(
                {said.key for said in self.published() if said.type != "StockReleased"}
            ) == len(self.paid)

        eventually(
            all_answered, within_s=90, every_s=0.5, why="every order has its answer on the topic"
        )
        self.service.eventually_caught_up()
        [(published,)] = self.service.rows("SELECT count(*)::int FROM outbox")
        eventually(
            lambda: len(self.service.records(INVENTORY.name)) >= int(str(published)),
            within_s=30,
            why="all of it is relayed",
        )
        assert len(self.service.records(INVENTORY.name)) == published
        said = self.published()
        counted = Counter(said_of.key for said_of in said if said_of.type != "StockReleased")
        assert set(counted.values()) == {1}, "an order was answered twice"
        assert len({record.id for record in said}) == len(said)
        answers = {OrderId(record.key): record for record in said if record.type != "StockReleased"}
        assert {order: answer.cause for order, answer in answers.items()} == {
            k: str(v) for k, v in self.ids.items()
        }
        return {order: answer.type for order, answer in answers.items()}

    def assert_balanced(self) -> None:
        """
        Every piece is where the reservations say; what was told is what is kept; nothing became a
        dead letter.
        """
        answers = self.answers()
        status = {
            OrderId(str(order)): (str(state), lines)
            for order, state, lines in self.service.rows(
                "SELECT order_id, status, lines FROM reservation"
            )
            if order in self.paid
        }
        assert status.keys() == answers.keys()
        kept: Counter[str] = Counter()
        left: Counter[str] = Counter()
        released = {OrderId(said.key) for said in self.published() if said.type == "StockReleased"}
        for order, (state, lines) in status.items():
            assert lines == [
                {"sku": line.sku, "quantity": line.quantity} for line in self.paid[order].lines
            ]
            assert (answers[order] == "StockRejected") == (state == "REJECTED")
            assert (order in self.refunded) == (order in released) == (state == "RELEASED")
            assert (order in self.shipped) == (state == "SHIPPED")
            pile = {"RESERVED": kept, "SHIPPED": left}.get(state, Counter())
            pile.update({line.sku: line.quantity for line in self.paid[order].lines})
        for sku, on_hand, reserved, gone in (row[2:6] for row in self.stock()):
            assert (reserved, gone) == (kept[str(sku)], left[str(sku)])
            assert int(str(on_hand)) + int(str(gone)) == self.on_hand[str(sku)]
        assert audited(self.service.database_url) == [], "the books say something else"
        for topic in (PAYMENTS, ORDERS):
            assert self.service.records(dead_letter_topic(topic, GROUP).name) == []
        # PostgreSQL counts a deadlock when it ends one, whoever hears of it.
        assert self.service.rows(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ) == [(0,)]


def test_a_listener_does_not_begin_before_its_relay_has_a_position(service: Service) -> None:
    orders = Orders(service, {"EARLY": 1})
    orders.pay(("EARLY", 1))
    service.flush()
    listener = service.start("listener", wait=False)
    eventually(
        lambda: "first position" in str(listener.reasons),
        within_s=60,
        why="it says what it waits for",
    )
    assert [row[4] for row in orders.stock()] == [0]
    relay = service.start("relay")
    eventually(listener.ready, within_s=60, why="it listens")
    orders.assert_balanced()
    assert set(orders.answers().values()) == {"StockReserved"}
    assert (listener.terminate(), relay.terminate()) == (0, 0)


@pytest.mark.usefixtures("relay")
def test_the_same_payment_again_and_again_has_one_effect_and_is_told_once(service: Service) -> None:
    orders = Orders(service, {"REPEATED": 100})
    listener = service.start("listener")
    order = orders.pay(("REPEATED", 2))
    service.flush()
    orders.assert_balanced()
    [row] = before = orders.stock()
    assert row[4] == 2, "the first effect is there"
    for _ in range(3):
        orders.repeat(order)
        service.flush()
        service.eventually_caught_up()
    # Within one batch: on one key, where the second waits for the first, and on two keys, where
    # both are in one wave.
    orders.repeat(order)
    orders.repeat(order)
    orders.repeat(order, key="another key")
    service.flush()
    service.eventually_caught_up()
    assert listener.terminate() == 0
    assert orders.stock() == before
    assert [said.type for said in orders.published()] == ["StockReserved"]


@pytest.mark.usefixtures("relay")
def test_the_same_payments_at_eight_workers_at_once_have_one_effect_each(service: Service) -> None:
    orders = Orders(service, {"EVERYWHERE": 1_000})
    known = [orders.pay(("EVERYWHERE", 1)) for _ in range(20)]
    service.flush()
    workers = [service.start("listener", slot=slot, wait=False) for slot in range(PARTITIONS)]
    eventually(
        lambda: all(worker.ready() for worker in workers),
        within_s=90,
        why="eight workers are ready",
    )
    orders.assert_balanced()
    before = orders.stock()
    for order in known:
        for partition in range(PARTITIONS):
            orders.repeat(order, partition=partition)
    service.flush()
    service.eventually_caught_up()
    assert orders.stock() == before
    assert len(orders.published()) == len(known)
    # And once more with payments that nobody has seen before.
    for _ in range(50):
        order = orders.pay(("EVERYWHERE", 1))
        for partition in range(PARTITIONS):
            orders.repeat(order, partition=partition)
    service.flush()
    orders.assert_balanced()
    assert len(orders.published()) == len(orders.paid) == 70
    assert [worker.terminate() for worker in workers] == [0] * PARTITIONS


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize("count", [2_000, pytest.param(5_000, marks=pytest.mark.long)])
def test_thousands_of_orders_for_a_few_hundred_pieces_reserve_exactly_what_fits(
    service: Service, count: int
) -> None:
    skus = [f"WANTED-{count}-{number:02}" for number in range(20)]
    orders = Orders(service, dict.fromkeys(skus, count // 50))
    workers = [service.start("listener", slot=slot, wait=False) for slot in range(4)]
    eventually(
        lambda: all(worker.ready() for worker in workers), within_s=60, why="four workers are ready"
    )
    random = Random(4)
    for _ in range(count):
        orders.pay(*((sku, random.randint(1, 3)) for sku in random.sample(skus, 3)))
    service.flush()
    orders.assert_balanced()
    answers = orders.answers()
    left = {
        str(sku): int(str(on_hand)) - int(str(reserved))
        for sku, on_hand, reserved, _ in (r[2:6] for r in orders.stock())
    }
    for order, answer in answers.items():
        fits = all(line.quantity <= left[line.sku] for line in orders.paid[order].lines)
        assert not (fits and answer == "StockRejected"), "rejected, and it would still fit"
    assert sum(left.values()) < 100, (
        "hardly anything is left when demand is ten times what there is"
    )
    assert [worker.terminate() for worker in workers] == [0] * 4


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.parametrize(
    "line",
    [
        "inventory.between_lines",
        "listener.before_database_commit",
        "listener.after_database_commit",
    ],
)
def test_killed_at_any_line_nothing_is_partial_nothing_lost_nothing_done_twice(
    service: Service, line: str, kills: int
) -> None:
    skus = [f"{line}-{kills}-{number}" for number in range(3)]
    orders = Orders(service, dict.fromkeys(skus, 40 * kills))

    def more() -> list[OrderId]:
        return [orders.pay(*((sku, 1) for sku in skus)) for _ in range(20)]

    for _ in range(kills):
        doomed = service.start("listener", wait=False, ORDERFLOW_FAILPOINTS=f"{line}=kill@2")
        for number, order in enumerate(more()):
            # The second record of a key is in a later wave than the first.
            if number % 3 == 0:
                orders.refund(order)
        service.flush()
        doomed.assert_killed()
    last = more()
    service.flush()
    listener = service.start("listener")
    assert set(orders.answers()) >= set(last)
    for order in last[:5]:
        orders.ship(order)
    service.flush()
    orders.assert_balanced()
    assert sum(int(str(row[5])) for row in orders.stock()) == 15, (
        "five orders of three pieces each left"
    )
    assert listener.terminate() == 0
