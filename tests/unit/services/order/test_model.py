"""The order's rules: every state, and every order that can be asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.contracts.currencies import amount_text
from orderflow.contracts.events import OrderLine, OrderStatus, PaymentMode
from orderflow.contracts.ids import CustomerId, OrderId, PaymentId, Sku, payment_id
from orderflow.services.order.model import (
    AMOUNT_MINOR_MAX,
    LINES_MAX,
    QUANTITY_MAX,
    Action,
    AmountTooLarge,
    NoPrice,
    Order,
    Payment,
    PaymentState,
    Product,
    RepeatedSku,
    RequestedLine,
    StockState,
    UnknownSku,
    allowed_actions,
    place,
    priced,
)

ORDER_ID = OrderId("0198a0b2-1111-7222-8333-444455556666")
NOW = datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)
KEYBOARD = Product(sku=Sku("KEYBOARD"), name="Keyboard", prices={"EUR": 8_990, "JPY": 14_200})
MOUSE = Product(sku=Sku("MOUSE"), name="Mouse", prices={"EUR": 3_490})
CATALOGUE = {product.sku: product for product in (KEYBOARD, MOUSE)}


def placed(mode: PaymentMode = PaymentMode.AUTOMATIC, lines: tuple[OrderLine, ...] = ()) -> Order:
    return place(
        order_id=ORDER_ID,
        customer_id=CustomerId("customer-123"),
        lines=lines,
        currency="EUR",
        mode=mode,
        payment_method="pm_ok",
        now=NOW,
    )


def line(sku: str, quantity: int = 1) -> RequestedLine:
    return RequestedLine(sku=Sku(sku), quantity=quantity)


def in_state(status: OrderStatus, payment: PaymentState, attempt: int, stock: StockState) -> Order:
    paid = Payment(attempt=attempt, state=payment, payment_id=PaymentId("some-payment"))
    return msgspec.structs.replace(placed(), status=status, payment=paid, stock=stock)


def test_in_every_state_the_allowed_actions_are_those_of_the_table() -> None:
    for status, payment, attempt, stock in product(OrderStatus, PaymentState, range(6), StockState):
        expected = set()
        if status == "CREATED" and payment in {"NONE", "FAILED"} and attempt < 5:
            expected.add("pay")
        if status in {"CREATED", "PAID"}:
            expected.add("cancel")
        if status == "PAID" and stock == "RESERVED":
            expected.add("ship")
        if status == "SHIPPED":
            expected.add("deliver")
        actions = allowed_actions(in_state(status, payment, attempt, stock))
        assert set(actions) == expected, (status, payment, attempt, stock)
        assert len(actions) == len(expected)


@pytest.mark.parametrize("status", [OrderStatus.DELIVERED, OrderStatus.CANCELLED])
def test_nothing_follows_the_end(status: OrderStatus) -> None:
    assert not any(
        allowed_actions(in_state(status, payment, attempt, stock))
        for payment, attempt, stock in product(PaymentState, range(6), StockState)
    )


def test_an_automatic_order_asks_for_its_first_payment() -> None:
    order = placed()
    assert order.payment == Payment(
        attempt=1, state=PaymentState.REQUESTED, payment_id=payment_id(ORDER_ID, 1)
    )
    assert allowed_actions(order) == (Action.CANCEL,)


def test_an_order_on_request_waits_to_be_asked_and_may_be_empty() -> None:
    order = placed(PaymentMode.ON_REQUEST)
    assert order.payment == Payment(attempt=0, state=PaymentState.NONE, payment_id=None)
    assert order.amount_minor == 0
    assert allowed_actions(order) == (Action.PAY, Action.CANCEL)


@pytest.mark.parametrize("mode", list(PaymentMode))
def test_a_new_order_is_created_at_version_and_revision_1(mode: PaymentMode) -> None:
    order = placed(mode)
    assert (order.status, order.version, order.revision, order.stock) == (
        OrderStatus.CREATED,
        1,
        1,
        StockState.NONE,
    )
    assert order.created_at == order.updated_at == NOW


def test_prices_are_the_catalogues_in_the_orders_currency_and_lines_keep_their_order() -> None:
    lines = priced([line("MOUSE", 3), line("KEYBOARD", 2)], catalogue=CATALOGUE, currency="EUR")
    assert [(line.sku, line.quantity, line.unit_price_minor) for line in lines] == [
        ("MOUSE", 3, 3_490),
        ("KEYBOARD", 2, 8_990),
    ]
    assert placed(lines=lines).amount_minor == 3 * 3_490 + 2 * 8_990


def test_an_unknown_product_is_refused_by_name() -> None:
    with pytest.raises(UnknownSku, match="ANVIL"):
        priced([line("MOUSE"), line("ANVIL")], catalogue=CATALOGUE, currency="EUR")


def test_a_product_without_a_price_in_the_currency_is_refused_and_never_converted() -> None:
    with pytest.raises(NoPrice, match=r"MOUSE.*JPY.*EUR"):
        priced([line("KEYBOARD"), line("MOUSE")], catalogue=CATALOGUE, currency="JPY")


def test_a_product_named_twice_is_refused() -> None:
    with pytest.raises(RepeatedSku, match="MOUSE"):
        priced(
            [line("MOUSE", 1), line("KEYBOARD"), line("MOUSE", 2)],
            catalogue=CATALOGUE,
            currency="EUR",
        )


@given(st.lists(st.tuples(st.integers(1, QUANTITY_MAX), st.integers(0, 2**40)), max_size=LINES_MAX))
def test_a_total_is_exact_or_refused_and_always_fits_the_wire(pairs: list[tuple[int, int]]) -> None:
    lines = tuple(
        OrderLine(sku=Sku(f"SKU-{number}"), quantity=quantity, unit_price_minor=price)
        for number, (quantity, price) in enumerate(pairs)
    )
    total = sum(quantity * price for quantity, price in pairs)
    if total > AMOUNT_MINOR_MAX:
        with pytest.raises(AmountTooLarge):
            placed(lines=lines)
    else:
        assert placed(lines=lines).amount_minor == total < 2**53


@given(
    currency=st.sampled_from(["JPY", "EUR", "KWD"]),
    cart=st.lists(
        st.tuples(st.integers(0, 10**9), st.integers(1, QUANTITY_MAX)), min_size=1, max_size=20
    ),
)
def test_a_cart_costs_the_sum_of_its_lines_in_any_currency_as_number_and_as_text(
    currency: str, cart: list[tuple[int, int]]
) -> None:
    """Whether a currency has 0, 2 or 3 digits: nothing is rounded on the way to a person."""
    products = {
        Sku(f"SKU-{number}"): Product(sku=Sku(f"SKU-{number}"), name="x", prices={currency: price})
        for number, (price, _) in enumerate(cart)
    }
    requested = [
        RequestedLine(sku=sku, quantity=quantity)
        for sku, (_, quantity) in zip(products, cart, strict=True)
    ]
    order = place(
        order_id=ORDER_ID,
        customer_id=CustomerId("customer-123"),
        lines=priced(requested, catalogue=products, currency=currency),
        currency=currency,
        mode=PaymentMode.AUTOMATIC,
        payment_method="pm_ok",
        now=NOW,
    )
    assert order.amount_minor == sum(price * quantity for price, quantity in cart)
    lines = [amount(line.quantity * line.unit_price_minor, currency) for line in order.lines]
    assert amount(order.amount_minor, currency) == sum(lines)


def amount(minor: int, currency: str) -> Decimal:
    """The number that a person reads."""
    return Decimal(amount_text(minor, currency).split()[0].replace(",", ""))
