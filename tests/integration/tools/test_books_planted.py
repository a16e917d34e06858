"""
A difference of each kind is planted in a small system whose books balance: the books name it, the
order, SKU or customer that it is about, and both figures, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from uuid import UUID, uuid4

import msgspec
import pytest
from msgspec.structs import replace
from tests.support.books import SmallSystem, small_system
from tests.support.examples import EXAMPLES

from orderflow.books.report import Check
from orderflow.contracts.events import (
    Envelope,
    OrderCreated,
    OrderEvent,
    OrderStatus,
    RevenueByCustomer,
)
from orderflow.contracts.ids import CustomerId, OrderId, payment_id

T = TypeVar("T", bound=Envelope)


@pytest.fixture(scope="module")
def system() -> Iterator[SmallSystem]:
    with small_system() as system:
        yield system


class Planted(msgspec.Struct, frozen=True, kw_only=True):
    """
    One change of a service's database. `about`: the order of that life, a customer or a SKU.
    `says`: the check that finds it first, with words of both figures; `besides`: others that see
    it.
    """

    service: str
    tables: tuple[str, ...]
    sql: str
    about: str
    says: tuple[Check, str, str]
    besides: frozenset[Check] = frozenset()


def example(kind: type[T]) -> T:
    """The fixed event of a type."""
    event = EXAMPLES[kind]
    assert isinstance(event, kind)
    return event


CREATED, STATUS_CHANGE = example(OrderCreated), example(OrderEvent)
REVENUE = example(RevenueByCustomer)


def of(*checks: Check) -> frozenset[Check]:
    return frozenset(checks)


PLANTED: Mapping[str, Planted] = {
    "an order is gone": Planted(
        service="order",
        tables=("orders", "order_history"),
        sql="DELETE FROM order_history WHERE order_id = '{delivered}';"
        " DELETE FROM orders WHERE order_id = '{delivered}'",
        about="delivered",
        says=(Check.COMMITTED, "known to payment, the provider, inventory", "order: none"),
    ),
    "a status was changed": Planted(
        service="order",
        tables=("orders",),
        sql="UPDATE orders SET status = 'SHIPPED' WHERE order_id = '{delivered}'",
        about="delivered",
        says=(Check.STATUSES, "order: SHIPPED", "its history: DELIVERED"),
        besides=of(Check.SHIPMENTS, Check.ANALYTICS, Check.DEADLINES),
    ),
    "a total was changed": Planted(
        service="order",
        tables=("orders",),
        sql="UPDATE orders SET amount_minor = amount_minor + 1 WHERE order_id = '{paid}'",
        about="paid",
        says=(Check.MONEY, "order: PAID, 8271 EUR", "captured − refunded is 8270 EUR"),
        besides=of(Check.COMMITTED),
    ),
    "a version is missing in the history": Planted(
        service="order",
        tables=("order_history",),
        sql="DELETE FROM order_history WHERE order_id = '{delivered}' AND version = 3",
        about="delivered",
        says=(Check.VERSIONS, "order: version 4", "its history: 1, 2, 4"),
        besides=of(Check.COMMITTED, Check.STATUSES, Check.ANALYTICS),
    ),
    "an event's id was changed": Planted(
        service="order",
        tables=("order_history",),
        sql="UPDATE order_history SET event_id = gen_random_uuid()"
        " WHERE order_id = '{paid}' AND status = 'PAID' AND event_id IS NOT NULL",
        about="paid",
        says=(Check.VERSIONS, "version 2 is PAID, event", "order-events: PAID"),
    ),
    "an order was never announced": Planted(
        service="order",
        tables=("orders", "order_history"),
        sql="INSERT INTO orders SELECT ('019ac5d2' || substr(order_id::text, 9))::uuid,"
        " customer_id, 'CREATED', 1, 1, 1, 'REQUESTED', payment_id, 'NONE', payment_mode,"
        " payment_method, lines, amount_minor, currency, created_at, updated_at, false, 'PAYMENT',"
        " waiting_since FROM orders WHERE order_id = '{paid}';"
        " INSERT INTO order_history SELECT ('019ac5d2' || substr(order_id::text, 9))::uuid,"
        " revision, version, status, description, occurred_at, gen_random_uuid(), cause_type,"
        " cause_id FROM order_history WHERE order_id = '{paid}' AND revision = 1",
        about="019ac5d2{paid tail}",
        says=(Check.COMMITTED, "order: committed, 8270 EUR", "orders: no OrderCreated"),
        besides=of(Check.VERSIONS, Check.ANALYTICS),
    ),
    "payment does not know an order": Planted(
        service="payment",
        tables=("known_order", "closed_order"),
        sql="DELETE FROM known_order WHERE order_id = '{declined}'",
        about="declined",
        says=(Check.COMMITTED, "order: committed", "payment: does not know the order"),
    ),
    "more was captured than the provider took": Planted(
        service="payment",
        tables=("payment", "refund"),
        sql="UPDATE payment SET amount_minor = amount_minor + 1,"
        " captured_minor = captured_minor + 1 WHERE order_id = '{paid}'",
        about="paid",
        says=(Check.LEDGER, "captured 8271 EUR", "no such entry"),
        besides=of(Check.MONEY, Check.PAYMENTS),
    ),
    "a payment is gone": Planted(
        service="payment",
        tables=("payment", "refund"),
        sql="DELETE FROM payment WHERE order_id = '{paid}'",
        about="paid",
        says=(Check.PAYMENTS, "order: attempt 1 requested", "payment: no such attempt"),
        besides=of(Check.MONEY, Check.LEDGER),
    ),
    "a refund is gone": Planted(
        service="payment",
        tables=("refund",),
        sql="DELETE FROM refund WHERE order_id = '{refunded}'",
        about="refunded",
        says=(Check.LEDGER, "payment: no such row", "refunded 8270 EUR"),
        besides=of(Check.PAYMENTS),
    ),
    "a cancelled order kept its money": Planted(
        service="payment",
        tables=("payment", "refund"),
        sql="UPDATE payment SET refunded_minor = 0 WHERE order_id = '{short}'",
        about="short",
        says=(Check.MONEY, "order: CANCELLED, 0 EUR", "captured − refunded is 101090 EUR"),
    ),
    "a reservation is gone": Planted(
        service="inventory",
        tables=("reservation",),
        sql="DELETE FROM reservation WHERE order_id = '{shipped}'",
        about="shipped",
        says=(Check.RESERVATIONS, "payments: PaymentSucceeded", "inventory: no reservation"),
    ),
    "stock was released without an event": Planted(
        service="inventory",
        tables=("reservation", "stock"),
        sql="UPDATE reservation SET status = 'RELEASED' WHERE order_id = '{paid}';"
        " UPDATE stock SET reserved = reserved - 2 WHERE sku = 'MOUSE-01';"
        " UPDATE stock SET reserved = reserved - 1 WHERE sku = 'CABLE-USBC-2M'",
        about="paid",
        says=(Check.RESERVATIONS, "inventory: RELEASED", "order: stock RESERVED"),
    ),
    "more is reserved than reservations say": Planted(
        service="inventory",
        tables=("stock",),
        sql="UPDATE stock SET reserved = reserved + 1 WHERE sku = 'MOUSE-01'",
        about="MOUSE-01",
        says=(Check.STOCK, "stock: reserved 3", "open reservations add up to 2"),
    ),
    "pieces came in without a movement": Planted(
        service="inventory",
        tables=("stock",),
        sql="UPDATE stock SET on_hand = on_hand + 5, received = received + 5 WHERE sku = 'LAMP-01'",
        about="LAMP-01",
        says=(Check.STOCK, "stock: on hand 1000005", "movements add up to 1000000"),
    ),
    "a movement is gone": Planted(
        service="inventory",
        tables=("stock_movement",),
        sql="DELETE FROM stock_movement WHERE sku = 'MOUSE-01' AND order_id = '{shipped}'",
        about="MOUSE-01",
        says=(Check.STOCK, "stock: shipped 4", "shipments add up to 2"),
    ),
    "an event has no effect in a group": Planted(
        service="inventory",
        tables=("inbox",),
        sql="DELETE FROM inbox WHERE event_id = '{paid event}'",
        about="paid",
        says=(Check.HANDLED, "effect of inventory-service", "not in its inbox"),
    ),
    "a shipment is gone": Planted(
        service="fulfilment",
        tables=("shipment",),
        sql="DELETE FROM shipment WHERE order_id = '{shipped}'",
        about="shipped",
        says=(Check.SHIPMENTS, "order: SHIPPED", "fulfilment: no shipment"),
    ),
    "a shipment is behind its order": Planted(
        service="fulfilment",
        tables=("shipment",),
        sql="UPDATE shipment SET status = 'PREPARED', version = 2 WHERE order_id = '{shipped}'",
        about="shipped",
        says=(Check.SHIPMENTS, "version 3: TRACKED", "fulfilment: PREPARED, version 2"),
    ),
    "a customer was not told": Planted(
        service="notification",
        tables=("delivery",),
        sql="DELETE FROM delivery WHERE order_id = '{declined}' AND kind = 'PAYMENT_FAILED'",
        about="declined",
        says=(Check.NOTIFICATIONS, "one notification PAYMENT_FAILED", "notification: none"),
        besides=of(Check.SEQUENCES),
    ),
    "a customer was told of what never happened": Planted(
        service="notification",
        tables=("delivery",),
        sql="INSERT INTO delivery (notification_id, customer_id, order_id, kind, channel, subject,"
        " text, cause_id, cause_type, correlation_id, state) SELECT gen_random_uuid(),"
        " customer_id, order_id, kind, channel, subject, text, gen_random_uuid(), cause_type,"
        " correlation_id, 'HELD' FROM delivery"
        " WHERE order_id = '{paid}' AND kind = 'PAYMENT_SUCCEEDED'",
        about="paid",
        says=(Check.NOTIFICATIONS, "topics: no event", "notification: PAYMENT_SUCCEEDED"),
    ),
    "a status change was not counted": Planted(
        service="analytics",
        tables=("status_change",),
        sql="DELETE FROM status_change WHERE order_id = '{shipped}' AND version = 2",
        about="shipped",
        says=(Check.ANALYTICS, "1 CREATED, 2 PAID, 3 SHIPPED", "counted: 1 CREATED, 3 SHIPPED"),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_change_in_a_service_is_named_and_nothing_else(system: SmallSystem, name: str) -> None:
    planted = PLANTED[name]
    names = {
        **system.orders,
        "paid event": event_of_payment(system, "paid"),
        "paid tail": system.orders["paid"][8:],
    }
    sql, about = planted.sql, planted.about
    for key, value in names.items():
        sql, about = (text.replace(f"{{{key}}}", value) for text in (sql, about))

    with system.changed(planted.service, planted.tables, sql):
        assert_named(system, about=about, says=planted.says, besides=planted.besides, but=set())
    assert system.differences() == set()


def assert_named(
    system: SmallSystem,
    *,
    about: str,
    says: tuple[Check, str, str],
    besides: frozenset[Check] = frozenset(),
    but: set[object],
) -> None:
    """The differences `but` those there were before: of these checks, about this and no other."""
    subject = system.orders.get(about, about)
    check, expected, actual = says
    differences = [each for each in system.differences() if each not in but]
    shown = "\n".join(f"{d.check}: {d.id}: {d.expected} | {d.actual}" for d in differences)
    assert {each.check for each in differences} == {check, *besides}, shown
    assert {each.id for each in differences} <= {subject, f"customer-{about}"}, shown
    assert any(
        each.check is check
        and each.id == subject
        and expected in each.expected
        and actual in each.actual
        for each in differences
    ), shown


LEDGERS: Mapping[str, tuple[Callable[[list[Any], str], list[Any]], tuple[Check, str, str]]] = {
    "the provider took the money twice": (
        lambda entries, payment: [
            *entries,
            *(
                {**entry, "chargeId": "ch_again", "key": "another"}
                for entry in entries
                if _is_charge(entry, payment)
            ),
        ],
        (Check.LEDGER, "payment: no such row", "captured 8270 EUR"),
    ),
    "the provider took more": (
        lambda entries, payment: [
            {**entry, "request": {**entry["request"], "amountMinor": 8271}}
            if _is_charge(entry, payment)
            else entry
            for entry in entries
        ],
        (Check.LEDGER, "captured 8270 EUR", "no such entry"),
    ),
    "the provider knows nothing of a payment": (
        lambda entries, payment: [entry for entry in entries if not _is_charge(entry, payment)],
        (Check.LEDGER, "captured 8270 EUR", "no such entry"),
    ),
}


@pytest.mark.parametrize("name", LEDGERS)
def test_a_change_in_the_providers_ledger_is_named(system: SmallSystem, name: str) -> None:
    change, says = LEDGERS[name]
    payment = payment_id(OrderId(system.orders["paid"]), 1)
    with system.changed_ledger(lambda entries: change(entries, payment)):
        assert_named(system, about="paid", says=says, but=set())
    assert system.differences() == set()


def test_an_event_that_is_published_again_under_its_id_is_no_difference(
    system: SmallSystem,
) -> None:
    order_id = system.orders["paid"]
    [changes] = [side.changes for side in system.sides.order.read([order_id]).values()]
    again = replace(
        STATUS_CHANGE,
        order_id=OrderId(order_id),
        customer_id=CustomerId("customer-paid"),
        status=OrderStatus.CREATED,
        version=1,
        previous_status=None,
    )
    system.produce("order-events", again, event_id=UUID(changes[0].event_id))
    assert system.differences() == set()


def test_a_record_too_many_is_named(system: SmallSystem) -> None:
    """The last test: nothing takes a record away again."""
    nobody = OrderId(str(uuid4()))
    phantom = replace(CREATED, order_id=nobody, customer_id=CustomerId("customer-phantom"))
    system.produce("orders", phantom)
    assert_named(
        system,
        about=nobody,
        says=(Check.COMMITTED, "known to topic orders", "order: none"),
        but=set(),
    )

    before: set[object] = {*system.differences()}
    extra = replace(
        STATUS_CHANGE,
        order_id=OrderId(system.orders["paid"]),
        customer_id=CustomerId("customer-paid"),
        status=OrderStatus.SHIPPED,
        version=3,
        previous_status=OrderStatus.PAID,
    )
    system.produce("order-events", extra)
    assert_named(
        system,
        about="paid",
        says=(Check.VERSIONS, "order: no version 3", "order-events"),
        besides=of(Check.NOTIFICATIONS, Check.HANDLED),
        but=before,
    )

    before = {*system.differences()}
    totals = {
        "EUR": replace(REVENUE.totals["EUR"], captured_minor=1, refunded_minor=0, net_minor=1)
    }
    wrong = replace(REVENUE, customer_id=CustomerId("customer-shipped"), totals=totals)
    system.produce("revenue-by-customer", wrong)
    assert_named(
        system,
        about="customer-shipped",
        says=(Check.REVENUE, "re-keyed: 8270", "revenue: 1 "),
        but=before,
    )


def _is_charge(entry: Mapping[str, Any], payment: str) -> bool:
    return bool(entry["entry"] == "charge" and entry["request"]["reference"] == payment)


def event_of_payment(system: SmallSystem, life: str) -> str:
    """The event by which the order of that life was paid."""
    rows = system.sides.notification.read([system.orders[life]])[system.orders[life]]
    return next(row.cause_id for row in rows if row.kind == "PAYMENT_SUCCEEDED")
