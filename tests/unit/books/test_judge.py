"""
The judge: no history of an order's life has a difference at rest, and each rule that is broken
alone is named, by its check and with both figures.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.books.lives import AT, Life

from orderflow.books.accounts import (
    CustomerAccount,
    CustomerSide,
    OpenLetter,
    OrderAccount,
    SkuAccount,
    Sums,
    TopicEvent,
)
from orderflow.books.judge import (
    explanation,
    judge_customer,
    judge_order,
    judge_sku,
    unexplained,
)
from orderflow.books.report import Check


def delivered() -> OrderAccount:
    life = Life()
    life.succeeds()
    life.ship()
    life.deliver()
    return life.account()


def cancelled() -> OrderAccount:
    life = Life()
    life.succeeds()
    life.cancel()
    return life.account()


def paid_at_last() -> OrderAccount:
    life = Life(mode="ON_REQUEST")
    life.pay()
    life.fails()
    life.pay()
    life.succeeds()
    return life.account()


steps = st.sampled_from(["fails", "pay", "succeeds", "rejected", "ship", "deliver", "cancel"])


@given(
    mode=st.sampled_from(["AUTOMATIC", "ON_REQUEST"]),
    total=st.sampled_from([0, 1_990]),
    wishes=st.lists(steps, max_size=12),
)
def test_a_whole_life_has_no_difference_at_any_rest(
    mode: str, total: int, wishes: list[str]
) -> None:
    life = Life(mode=mode, total=total)
    assert judge_order(life.account()) == []
    for wish in wishes:
        if not allowed(life, wish):
            continue
        if wish == "rejected":
            life.succeeds(in_stock=False)
        else:
            getattr(life, wish)()
        assert judge_order(life.account()) == []


def allowed(life: Life, wish: str) -> bool:
    match wish:
        case "fails" | "succeeds" | "rejected":
            return life.status == "CREATED" and life.state == "REQUESTED"
        case "pay":
            may_pay = life.status == "CREATED" and life.state in ("NONE", "FAILED")
            return may_pay and life.attempt < 5
        case "ship":
            return life.status == "PAID"
        case "deliver":
            return life.status == "SHIPPED"
    return life.status in ("CREATED", "PAID")


def without(account: OrderAccount, kind: str, *, last: bool = False) -> OrderAccount:
    """Without one event of that type."""
    [*_, dropped] = events = account.of_type(kind)
    dropped = dropped if last else events[0]
    return replace(account, events=tuple(event for event in account.events if event is not dropped))


def again(account: OrderAccount, kind: str, **fields: Any) -> OrderAccount:
    """With one event of that type once more, under another id."""
    event = account.of_type(kind)[0]
    twin = replace(event, event_id="twin", offset=event.offset + 1_000, **fields)
    return replace(account, events=(*account.events, twin))


def with_order(account: OrderAccount, **fields: Any) -> OrderAccount:
    assert account.order is not None
    return replace(account, order=replace(account.order, **fields))


def with_payment(account: OrderAccount, **fields: Any) -> OrderAccount:
    assert account.payment is not None
    payment = replace(account.payment.payments[0], **fields)
    return replace(account, payment=replace(account.payment, payments=(payment,)))


def of_reservation(account: OrderAccount, **fields: Any) -> OrderAccount:
    assert account.reservation is not None
    return replace(account, reservation=replace(account.reservation, **fields))


def of_shipment(account: OrderAccount, **fields: Any) -> OrderAccount:
    assert account.shipment is not None
    return replace(account, shipment=replace(account.shipment, **fields))


def of_followed(account: OrderAccount, **fields: Any) -> OrderAccount:
    assert account.followed is not None
    return replace(account, followed=replace(account.followed, **fields))


Break = Callable[[], OrderAccount]

BROKEN: dict[str, tuple[Break, Check]] = {
    "OrderCreated is lost": (lambda: without(delivered(), "OrderCreated"), Check.COMMITTED),
    "OrderCreated is there twice": (lambda: again(delivered(), "OrderCreated"), Check.COMMITTED),
    "another total was announced": (
        lambda: again(without(delivered(), "OrderCreated"), "OrderShipped", type="OrderCreated"),
        Check.COMMITTED,
    ),
    "payment does not know it": (lambda: replace(delivered(), payment=None), Check.COMMITTED),
    "OrderShipped is lost": (lambda: without(delivered(), "OrderShipped"), Check.COMMITTED),
    "OrderCancelled is lost": (lambda: without(cancelled(), "OrderCancelled"), Check.COMMITTED),
    "OrderCancelled of nobody": (
        lambda: again(delivered(), "OrderShipped", type="OrderCancelled"),
        Check.COMMITTED,
    ),
    "PaymentRequested is lost": (
        lambda: without(paid_at_last(), "PaymentRequested"),
        Check.COMMITTED,
    ),
    "a version is lost": (lambda: without(delivered(), "OrderEvent", last=True), Check.VERSIONS),
    "a version is there twice": (lambda: again(delivered(), "OrderEvent"), Check.VERSIONS),
    "a version of nobody": (lambda: again(delivered(), "OrderEvent", number=9), Check.VERSIONS),
    "history has a gap": (
        lambda: with_order(delivered(), changes=delivered().order.changes[1:]),  # type: ignore[union-attr]
        Check.VERSIONS,
    ),
    "the row is ahead": (lambda: with_order(delivered(), version=5), Check.VERSIONS),
    "an illegal status": (lambda: with_order(cancelled(), status="SHIPPED"), Check.STATUSES),
    "captured too little": (lambda: with_payment(delivered(), captured_minor=1), Check.MONEY),
    "refunded though delivered": (
        lambda: with_payment(delivered(), refunded_minor=1_990),
        Check.MONEY,
    ),
    "kept though cancelled": (lambda: with_payment(cancelled(), refunded_minor=0), Check.MONEY),
    "PaymentSucceeded is lost": (
        lambda: without(delivered(), "PaymentSucceeded"),
        Check.PAYMENTS,
    ),
    "PaymentSucceeded is there twice": (
        lambda: again(delivered(), "PaymentSucceeded"),
        Check.PAYMENTS,
    ),
    "PaymentRefunded is lost": (lambda: without(cancelled(), "PaymentRefunded"), Check.PAYMENTS),
    "a payment of nobody": (
        lambda: again(delivered(), "PaymentSucceeded", subject_id="payment-9"),
        Check.PAYMENTS,
    ),
    "the order missed its payment": (
        lambda: with_order(delivered(), payment_state="REQUESTED"),
        Check.PAYMENTS,
    ),
    "the provider has nothing": (lambda: replace(delivered(), ledger=()), Check.LEDGER),
    "charged twice": (
        lambda: replace(
            delivered(),
            ledger=(*delivered().ledger, replace(delivered().ledger[0], entry_id="l-9")),
        ),
        Check.LEDGER,
    ),
    "another amount was charged": (
        lambda: replace(delivered(), ledger=(replace(delivered().ledger[0], amount_minor=1),)),
        Check.LEDGER,
    ),
    "the refund was not sent": (
        lambda: replace(cancelled(), ledger=cancelled().ledger[:1]),
        Check.LEDGER,
    ),
    "no reservation": (lambda: replace(delivered(), reservation=None), Check.RESERVATIONS),
    "shipped, and still reserved": (
        lambda: of_reservation(delivered(), status="RESERVED"),
        Check.RESERVATIONS,
    ),
    "StockReserved is lost": (lambda: without(delivered(), "StockReserved"), Check.RESERVATIONS),
    "StockReserved is there twice": (
        lambda: again(delivered(), "StockReserved"),
        Check.RESERVATIONS,
    ),
    "the order missed its stock": (
        lambda: with_order(delivered(), stock="NONE"),
        Check.RESERVATIONS,
    ),
    "no shipment": (lambda: replace(delivered(), shipment=None), Check.SHIPMENTS),
    "the shipment is behind": (lambda: of_shipment(delivered(), version=3), Check.SHIPMENTS),
    "the shipment was not called off": (
        lambda: of_shipment(cancelled(), status="PREPARED"),
        Check.SHIPMENTS,
    ),
    "a customer was not told": (
        lambda: replace(delivered(), notifications=delivered().notifications[1:]),
        Check.NOTIFICATIONS,
    ),
    "a customer was told twice": (
        lambda: replace(
            delivered(), notifications=(*delivered().notifications, delivered().notifications[0])
        ),
        Check.NOTIFICATIONS,
    ),
    "an outcome was not announced": (
        lambda: without(delivered(), "NotificationSent"),
        Check.NOTIFICATIONS,
    ),
    "analytics is behind": (lambda: of_followed(delivered(), version=3), Check.ANALYTICS),
    "analytics counted less": (lambda: of_followed(delivered(), counted=()), Check.ANALYTICS),
    "a group has no effect of an event": (
        lambda: replace(
            delivered(),
            unhandled={"order-service": (delivered().of_type("StockReserved")[0].event_id,)},
        ),
        Check.HANDLED,
    ),
    "nobody is waited for": (
        lambda: with_order(paid_at_last(), waiting_for=None),
        Check.DEADLINES,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_rule_is_named(name: str) -> None:
    break_it, check = BROKEN[name]
    differences = judge_order(break_it())
    assert check in {each.check for each in differences}, differences
    assert all(each.id == "1" and each.expected != each.actual for each in differences)


def test_the_cases_break_every_rule() -> None:
    assert {check for _break, check in BROKEN.values()} >= set(Check) - {
        Check.STOCK,
        Check.REVENUE,
        Check.SEQUENCES,
        Check.DEAD_LETTERS,
        Check.WAREHOUSE,
        Check.LAKE,
    }


def test_payment_need_not_know_an_order_before_it_is_asked_for_one() -> None:
    life = Life(mode="ON_REQUEST")
    assert judge_order(replace(life.account(), payment=None)) == []
    life.pay()
    [unknown, *_] = judge_order(replace(life.account(), payment=None))
    assert unknown.check is Check.COMMITTED


def test_an_order_that_only_others_know_is_named() -> None:
    [difference] = judge_order(replace(delivered(), order=None))
    assert "payment" in difference.expected
    assert "topic orders" in difference.expected
    assert difference.actual == "order: none"
    assert judge_order(OrderAccount(order_id="2")) == []


def test_what_was_written_before_the_books_began_is_not_missed() -> None:
    topics = ("orders", "order-events", "payments", "inventory", "notifications")
    later = dict.fromkeys(topics, AT + timedelta(hours=1))
    old = replace(delivered(), events=(), unknown_before=later)
    assert [each for each in judge_order(old) if each.check is not Check.NOTIFICATIONS] == []
    assert judge_order(replace(old, unknown_before={})) != []


def test_a_notification_that_waits_is_no_difference() -> None:
    account = delivered()
    last = account.notifications[-1]
    waiting = replace(last, state="PENDING", sequence=None)
    events = [each for each in account.events if each.subject_id != last.notification_id]
    assert (
        judge_order(
            replace(
                account,
                notifications=(*account.notifications[:-1], waiting),
                events=tuple(events),
            )
        )
        == []
    )


def test_versions_out_of_order_on_the_topic_are_a_difference() -> None:
    account = delivered()

    def moved(event: TopicEvent) -> TopicEvent:
        return replace(event, partition=1) if event.number == 2 else event

    split = tuple(moved(event) if event.type == "OrderEvent" else event for event in account.events)
    assert Check.VERSIONS in {each.check for each in judge_order(replace(account, events=split))}


@pytest.mark.parametrize(
    ("group", "explained"),
    [("payment-service", True), ("order-service", True), ("analytics-service", False)],
)
def test_an_open_dead_letter_explains_what_its_group_holds_up(group: str, explained: bool) -> None:
    letter = OpenLetter(topic=f"orders.{group}.dlt", partition=0, offset=7, group=group)
    account = with_payment(replace(delivered(), letters=(letter,)), captured_minor=1)
    [difference] = judge_order(account)
    assert difference.check is Check.MONEY
    assert (unexplained(account) == []) is explained
    reason = f"open dead letter: `orderflow dlt show orders.{group}.dlt/0/7`"
    assert explanation(account, difference) == (reason if explained else "")


STOCK = SkuAccount(
    sku="A",
    on_hand=7,
    reserved=2,
    shipped=3,
    received=9,
    corrected=1,
    movements=5,
    open_reserved=2,
    moved_on_hand=7,
    moved_received=9,
    moved_corrected=1,
    moved_shipped=3,
    moved_count=5,
    last_sequence=5,
)


def test_stock_that_is_conserved_has_no_difference() -> None:
    assert judge_sku(STOCK) == []


@pytest.mark.parametrize("field", [name for name in SkuAccount.__struct_fields__ if name != "sku"])
def test_each_figure_of_stock_counts(field: str) -> None:
    differences = judge_sku(replace(STOCK, **{field: getattr(STOCK, field) + 1}))
    assert differences
    assert {each.check for each in differences} == {Check.STOCK}


CUSTOMER = CustomerAccount(
    customer_id="c",
    paid={"EUR": Sums(captured_minor=5, payments=1)},
    changed={"EUR": Sums(captured_minor=5, payments=1)},
    revenue={"EUR": Sums(captured_minor=5, payments=1)},
    announced=3,
    last_announced=3,
    notified=CustomerSide(numbered=3, last_sequence=3),
)


@pytest.mark.parametrize(
    ("fields", "check"),
    [
        ({"paid": {}}, Check.REVENUE),
        ({"changed": {"EUR": Sums(captured_minor=4, payments=1)}}, Check.REVENUE),
        ({"revenue": {"EUR": Sums(captured_minor=5, payments=2)}}, Check.REVENUE),
        ({"revenue": {**CUSTOMER.revenue, "JPY": Sums(payments=1)}}, Check.REVENUE),
        ({"announced": 2}, Check.SEQUENCES),
        ({"last_announced": 4}, Check.SEQUENCES),
        ({"notified": CustomerSide(numbered=2, last_sequence=3)}, Check.SEQUENCES),
        ({"notified": None}, Check.SEQUENCES),
    ],
)
def test_each_figure_of_a_customer_counts(fields: dict[str, Any], check: Check) -> None:
    assert judge_customer(CUSTOMER) == []
    broken = msgspec.structs.replace(CUSTOMER, **fields)
    assert {each.check for each in judge_customer(broken)} == {check}
    assert judge_customer(replace(broken, is_complete=False)) == []
