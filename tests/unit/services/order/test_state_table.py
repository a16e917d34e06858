"""
The life cycle as one table: every state of an order, with every command and fact.

What is expected is written down here once more, by status, from the design and not the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product

import msgspec
import pytest
from tests.support.fact_schedules import fact

from orderflow.contracts.events import (
    CancelReason,
    OrderCancelled,
    OrderEvent,
    OrderLine,
    OrderShipped,
    OrderStatus,
    PaymentMode,
    PaymentRequested,
)
from orderflow.contracts.ids import CustomerId, OrderId, Sku, payment_id
from orderflow.services.order.change_events import events
from orderflow.services.order.model import Action, Order, Payment, PaymentState, StockState, place
from orderflow.services.order.rules import (
    Change,
    NotAllowed,
    StockNotSettled,
    cancel,
    deliver,
    is_payment_settled,
    on_fact,
    pay,
    ship,
    ship_when_reserved,
)

NOW = datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)
PLACED = place(
    order_id=OrderId("0198a0b2-1111-7222-8333-444455556666"),
    customer_id=CustomerId("customer-123"),
    lines=(OrderLine(sku=Sku("MOUSE-01"), quantity=2, unit_price_minor=3_490),),
    currency="EUR",
    mode=PaymentMode.AUTOMATIC,
    payment_method="pm_ok",
    now=NOW,
)
FACTS = ("succeeded", "failed", "refunded", "reserved", "rejected", "released")
COMMANDS: dict[Action, Callable[[Order], Change]] = {
    Action.PAY: lambda order: pay(order, payment_method="pm_other", now=LATER),
    Action.SHIP: lambda order: ship(order, now=LATER),
    Action.DELIVER: lambda order: deliver(order, now=LATER),
    Action.CANCEL: lambda order: cancel(order, reason=CancelReason.CUSTOMER, now=LATER),
}
NEXT = {Action.SHIP: "SHIPPED", Action.DELIVER: "DELIVERED", Action.CANCEL: "CANCELLED"}
EDGES = {
    ("CREATED", "PAID"),
    ("PAID", "SHIPPED"),
    ("SHIPPED", "DELIVERED"),
    ("CREATED", "CANCELLED"),
    ("PAID", "CANCELLED"),
}


def states() -> Iterator[Order]:
    """Every combination of columns, those included that no history leads to."""
    for status, payment, attempt, stock, ships_later in product(
        OrderStatus, PaymentState, range(6), StockState, (False, True)
    ):
        if (payment is PaymentState.NONE) == (attempt == 0):
            paid = Payment(
                attempt=attempt,
                state=payment,
                payment_id=payment_id(PLACED.order_id, attempt) if attempt else None,
            )
            yield msgspec.structs.replace(
                PLACED,
                status=status,
                version=2,
                revision=7,
                payment=paid,
                stock=stock,
                ship_when_reserved=ships_later,
            )


def may(order: Order, action: Action) -> bool:
    match action:
        case Action.PAY:
            again = order.payment.state in ("NONE", "FAILED") and order.payment.attempt < 5
            return order.status == "CREATED" and again
        case Action.SHIP:
            return order.status == "PAID" and order.stock == "RESERVED"
        case Action.DELIVER:
            return order.status == "SHIPPED"
        case Action.CANCEL:
            return order.status in ("CREATED", "PAID")


def assert_one_step(change: Change) -> None:
    """
    One revision more; one version more exactly if the status changed.

    Then the change is along an edge, and has exactly one OrderEvent.
    """
    before, after = change.before, change.after

    assert after.revision == before.revision + 1
    moved = after.status is not before.status
    assert after.version == before.version + moved
    assert not moved or (before.status, after.status) in EDGES
    published = [event for event in events(change) if isinstance(event, OrderEvent)]
    assert [(event.status, event.previous_status, event.version) for event in published] == (
        [(after.status, before.status, after.version)] if moved else []
    )
    assert {event.happened_at for event in events(change)} <= {LATER}
    untouched = (
        "order_id",
        "customer_id",
        "lines",
        "amount_minor",
        "currency",
        "payment_mode",
        "created_at",
    )
    assert [getattr(after, name) for name in untouched] == [
        getattr(before, name) for name in untouched
    ]


def test_there_are_as_many_states_as_the_columns_allow() -> None:
    assert len(list(states())) == 5 * (1 + 4 * 5) * 4 * 2


@pytest.mark.parametrize("action", list(Action))
def test_in_every_state_a_command_is_obeyed_or_refused_as_the_table_says(action: Action) -> None:
    for order in states():
        if may(order, action):
            change = COMMANDS[action](order)
            assert_one_step(change)
            assert change.before == order
            assert change.after.status == NEXT.get(action, order.status)
        elif action is Action.SHIP and (order.status, order.stock) == ("PAID", "NONE"):
            with pytest.raises(StockNotSettled):
                COMMANDS[action](order)
        else:
            with pytest.raises(NotAllowed) as refused:
                COMMANDS[action](order)
            assert refused.value.order is order


def test_each_command_tells_whom_it_concerns_what_to_do() -> None:
    published = {
        action: {
            type(event)
            for order in states()
            if may(order, action)
            for event in events(COMMANDS[action](order))
        }
        for action in Action
    }

    assert published == {
        Action.PAY: {PaymentRequested},
        Action.SHIP: {OrderShipped, OrderEvent},
        Action.DELIVER: {OrderEvent},
        Action.CANCEL: {OrderCancelled, OrderEvent},
    }


def test_paying_asks_for_the_next_attempt_with_an_id_and_a_method_of_its_own() -> None:
    for order in states():
        if not may(order, Action.PAY):
            continue
        change = COMMANDS[Action.PAY](order)
        [request] = events(change)
        assert isinstance(request, PaymentRequested)
        attempt = order.payment.attempt + 1
        assert change.after.payment == Payment(
            attempt=attempt,
            state=PaymentState.REQUESTED,
            payment_id=payment_id(order.order_id, attempt),
        )
        assert (request.attempt, request.payment_id) == (
            attempt,
            payment_id(order.order_id, attempt),
        )
        assert (request.amount_minor, request.currency, request.lines) == (
            order.amount_minor,
            "EUR",
            order.lines,
        )
        assert request.payment_method == change.after.payment_method == "pm_other"


def test_ship_when_reserved_ships_once_stock_is_reserved() -> None:
    """It is recorded once, before inventory has answered; a repeat changes nothing."""
    for order in states():
        if (order.status, order.stock) != ("PAID", "NONE"):
            continue
        change = ship_when_reserved(order, now=LATER)
        if order.ship_when_reserved:
            assert change is None
            remembered = order
        else:
            assert change is not None
            assert_one_step(change)
            assert events(change) == ()
            remembered = change.after
        statuses = [
            change.after.status
            for change in on_fact(remembered, fact("reserved", order), now=LATER)
        ]
        assert statuses == ["PAID", "SHIPPED"]
        statuses = [
            change.after.status
            for change in on_fact(remembered, fact("rejected", order), now=LATER)
        ]
        assert statuses == ["PAID", "CANCELLED"]


def test_shipping_later_is_shipping_now_or_a_refusal_once_stock_is_settled() -> None:
    for order in states():
        if may(order, Action.SHIP):
            assert ship_when_reserved(order, now=LATER) == COMMANDS[Action.SHIP](order)
        elif (order.status, order.stock) != ("PAID", "NONE"):
            with pytest.raises(NotAllowed):
                ship_when_reserved(order, now=LATER)


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("again", ["", " again"])
def test_in_every_state_a_fact_moves_its_own_column_only(name: str, again: str) -> None:
    """Up or not at all, and no state refuses it."""
    for order in states():
        said = fact(f"{name}{again}", order)
        changes = on_fact(order, said, now=LATER)
        if not changes:
            continue
        for index, change in enumerate(changes):
            assert_one_step(change)
            assert change.before == (changes[index - 1].after if index else order)
        noted = changes[0]
        assert not noted.is_of_status
        if name in ("succeeded", "failed", "refunded"):
            assert rank(noted.after) > rank(order)
            assert noted.after.stock is order.stock
        else:
            assert (order.stock, noted.after.stock) in {
                ("NONE", "RESERVED"),
                ("NONE", "REJECTED"),
                ("NONE", "RELEASED"),
                ("RESERVED", "RELEASED"),
            }
            assert noted.after.payment == order.payment
        end = changes[-1].after
        assert on_fact(end, said, now=LATER) == [], "the same fact again does nothing"
        assert not rules_left(end)


def test_terminal_states_note_facts_and_stay() -> None:
    for order, name in product(states(), FACTS):
        if order.status in ("DELIVERED", "CANCELLED"):
            assert {
                change.after.status for change in on_fact(order, fact(name, order), now=LATER)
            } <= {order.status}


def test_a_client_waits_until_its_payment_is_settled() -> None:
    """It failed, or the order is paid and stock is settled, or the order is cancelled."""
    for order in states():
        waits = (order.status == "CREATED" and order.payment.state != "FAILED") or (
            order.status == "PAID" and order.stock == "NONE"
        )
        assert is_payment_settled(order, order.payment.attempt) is not waits
        assert is_payment_settled(order, 0) or order.status == "PAID" or order.payment.attempt == 0


def rank(order: Order) -> tuple[int, int]:
    ranks = {"NONE": 0, "REQUESTED": 1, "FAILED": 2, "SUCCEEDED": 2, "REFUNDED": 3}
    return order.payment.attempt, ranks[order.payment.state]


def rules_left(order: Order) -> bool:
    paid = order.status == "CREATED" and order.payment.state == "SUCCEEDED"
    return paid or (order.status == "PAID" and order.stock == "REJECTED")
