"""What a client may send, and what becomes of it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.contracts.events import PaymentMode
from orderflow.contracts.ids import order_id_of
from orderflow.messaging.telemetry.trace_context import TraceContext
from orderflow.services.order.changes import Origin
from orderflow.services.order.config import OrderSettings
from orderflow.services.order.http.requests import (
    AnyOrderRequest,
    OrderRequest,
    ShortOrderRequest,
    place_command,
    request_hash,
    wait_of,
)
from orderflow.services.order.model import LINES_MAX, QUANTITY_MAX
from orderflow.services.order.traces import begin_trace

SETTINGS = OrderSettings.model_validate({"database": {"dsn": "postgresql://db.test/order"}})
LINE = {"sku": "KEYBOARD-01", "quantity": 2}
ORDER = {"customerId": "customer-123", "lines": [LINE]}
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ORIGIN = Origin(type="command", id="place", traceparent=TRACEPARENT)
NEW_TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00")


def parse(value: object, form: type[AnyOrderRequest] = OrderRequest) -> AnyOrderRequest:
    return msgspec.json.decode(msgspec.json.encode(value), type=form)


def test_the_long_form_is_paid_at_once_and_the_short_form_on_request() -> None:
    settings = SETTINGS.model_copy(update={"default_payment_method": "pm_ok"})
    long = place_command(parse(ORDER), settings=settings, origin=ORIGIN)
    assert (long.mode, long.currency, long.payment_method) == (
        PaymentMode.AUTOMATIC,
        "EUR",
        "pm_ok",
    )
    short = place_command(
        parse({"customerId": "customer-123"}, ShortOrderRequest),
        settings=SETTINGS,
        origin=ORIGIN,
    )
    assert (short.mode, short.lines, short.payment_method) == (PaymentMode.ON_REQUEST, (), None)


@pytest.mark.parametrize("form", [OrderRequest, ShortOrderRequest])
@pytest.mark.parametrize("mode", PaymentMode)
def test_how_an_order_is_paid_is_a_field_of_both_forms(
    form: type[AnyOrderRequest], mode: PaymentMode
) -> None:
    request = parse({**ORDER, "paymentMode": mode, "paymentMethod": "pm_ok"}, form)
    assert place_command(request, settings=SETTINGS, origin=ORIGIN).mode is mode


def test_what_has_no_lines_is_not_paid_at_once() -> None:
    with pytest.raises(msgspec.ValidationError, match="nothing to pay at once"):
        parse({"customerId": "customer-123", "paymentMode": "AUTOMATIC"}, ShortOrderRequest)


def test_no_payment_method_is_a_default_unless_an_operator_names_it() -> None:
    """A simulator's token would charge whoever names none."""
    assert place_command(parse(ORDER), settings=SETTINGS, origin=ORIGIN).payment_method is None


def test_what_the_client_has_seen_comes_with_the_command() -> None:
    line = {**LINE, "expectedUnitPriceMinor": 8_990}
    request = parse({**ORDER, "lines": [line], "expectedAmountMinor": 17_980})
    command = place_command(request, settings=SETTINGS, origin=ORIGIN)
    assert command.lines[0].expected_unit_price_minor == 8_990
    assert command.expected_amount_minor == 17_980


def test_currency_and_payment_method_are_the_clients_where_it_names_them() -> None:
    command = place_command(
        parse({**ORDER, "currency": "JPY", "paymentMethod": "pm_slow"}),
        settings=SETTINGS,
        origin=ORIGIN,
    )
    assert (command.currency, command.payment_method) == ("JPY", "pm_slow")


@pytest.mark.parametrize("quantity", [1, QUANTITY_MAX])
def test_the_smallest_and_the_largest_quantity_are_taken(quantity: int) -> None:
    assert parse({**ORDER, "lines": [{**LINE, "quantity": quantity}]}).lines[0].quantity == quantity


@pytest.mark.parametrize("quantity", [0, -1, QUANTITY_MAX + 1, 10**30, 1.5, "2", None, True, [2]])
def test_any_other_quantity_is_refused(quantity: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        parse({**ORDER, "lines": [{**LINE, "quantity": quantity}]})


@pytest.mark.parametrize(
    "customer", ["", " ", "a b", "-a", "a" * 65, "a\n", "a\u0000", "é", "a\u202e", None, 7, ["a"]]
)
@pytest.mark.parametrize("form", [OrderRequest, ShortOrderRequest])
def test_a_customer_that_is_no_identifier_is_refused(
    customer: object, form: type[AnyOrderRequest]
) -> None:
    with pytest.raises(msgspec.ValidationError):
        parse({"customerId": customer, "lines": [LINE]}, form)


@pytest.mark.parametrize(
    "change", [{"price": 1}, {"lines": [{**LINE, "unitPriceMinor": 1}]}, {"customer_id": "a"}]
)
def test_an_unknown_field_is_refused_a_price_above_all(change: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        parse({**ORDER, **change})


@pytest.mark.parametrize("currency", ["", "eur", "EURO", "EU", "EUR\n", 978])
def test_a_currency_is_three_capital_letters(currency: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        parse({**ORDER, "currency": currency})


@pytest.mark.parametrize("kind", [OrderRequest, ShortOrderRequest])
def test_a_currency_that_does_not_exist_is_refused_in_words(
    kind: type[OrderRequest | ShortOrderRequest],
) -> None:
    for code in ("ZZZ", "XXX", "DEM"):
        with pytest.raises(msgspec.ValidationError, match=f"{code} is no currency of ISO 4217"):
            parse({**ORDER, "currency": code}, kind)


def test_lines_are_1_to_100_and_none_only_in_the_short_form() -> None:
    full = [LINE] * LINES_MAX
    assert len(parse({**ORDER, "lines": full}).lines) == LINES_MAX
    for lines in ([], [*full, LINE]):
        with pytest.raises(msgspec.ValidationError):
            parse({**ORDER, "lines": lines})
    assert parse({**ORDER, "lines": []}, ShortOrderRequest).lines == ()


def test_a_customers_name_never_holds_what_a_record_a_log_or_a_page_would_misread() -> None:
    @given(st.text(max_size=70))
    def check(text: str) -> None:
        try:
            customer = parse({**ORDER, "customerId": text}).customer_id
        except msgspec.ValidationError:
            return
        assert customer == text
        assert customer.isascii()
        assert customer.isprintable()
        assert 1 <= len(customer) <= 64

    check()


def test_the_hash_is_of_what_was_asked_not_of_how_it_was_written() -> None:
    terse, spacious = (
        b'{"customerId":"c","lines":[{"sku":"A","quantity":1}]}',
        b' {"lines": [{"quantity": 1, "sku": "A"}], "customerId": "c"} ',
    )
    terse_request, same = (
        msgspec.json.decode(text, type=OrderRequest) for text in (terse, spacious)
    )
    assert request_hash(terse_request) == request_hash(same)
    assert request_hash(terse_request) != request_hash(
        msgspec.structs.replace(terse_request, customer_id="d")
    )


ORDER_ID = "019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10"


@pytest.mark.parametrize(
    "spelt", [ORDER_ID, ORDER_ID.upper(), ORDER_ID.replace("-", ""), f"urn:uuid:{ORDER_ID}"]
)
def test_an_order_id_has_one_form_whatever_its_spelling(spelt: str) -> None:
    assert order_id_of(spelt) == ORDER_ID


class RequestOfTomorrow(OrderRequest, frozen=True, kw_only=True):
    """As today's, with a field that nobody sends yet."""

    gift: bool | None = None


def test_a_field_that_is_new_tomorrow_does_not_make_another_request_of_a_repeated_one() -> None:
    today = parse(ORDER)
    tomorrow = msgspec.json.decode(msgspec.json.encode(ORDER), type=RequestOfTomorrow)
    assert request_hash(today) == request_hash(tomorrow)


def test_the_clients_trace_goes_on_in_a_span_of_ours() -> None:
    begun, client = begin_trace(TRACEPARENT), TraceContext.parse(TRACEPARENT)
    assert client is not None
    assert begun.trace_id == client.trace_id
    assert begun.span_id != client.span_id


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"nonsense",
        TRACEPARENT.upper().encode(),
        TRACEPARENT.replace("00-", "ff-", 1).encode(),
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01",
        TRACEPARENT.encode() + b"\n",
        b"\xff" * 55,
    ],
)
def test_any_other_is_replaced_by_a_new_one(header: bytes | None) -> None:
    text = None if header is None else header.decode("latin-1")
    made = begin_trace(text)
    assert NEW_TRACE.fullmatch(str(made))
    assert made.trace_id not in (text or "").lower()
    assert made.trace_id != begin_trace(text).trace_id


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("", 10),
        ("wait=3", 3),
        ("wait=0", 0),
        ("wait=3600", 10),
        ("return=minimal, wait=2", 2),
        ("return=minimal; wait=2", 2),
        ('wait="4"', 4),
        ("Wait = 5", 5),
        ("respond-async", 0),
        ("respond-async, wait=6", 6),
        ("wait=soon", 10),
        ("await=1", 10),
        ("wait=1.5", 10),
        ("wait=-1", 10),
        ("handling=lenient", 10),
    ],
)
def test_the_longest_wait_is_what_the_client_says_within_the_limit(
    prefer: str, seconds: float
) -> None:
    assert wait_of(prefer, at_most_s=10) == seconds


@pytest.mark.parametrize(
    ("form", "default"),
    [(OrderRequest, PaymentMode.AUTOMATIC), (ShortOrderRequest, PaymentMode.ON_REQUEST)],
)
def test_a_payment_mode_that_is_the_default_does_not_make_another_request(
    form: type[AnyOrderRequest], default: PaymentMode
) -> None:
    """A key that was used before there was such a field is still good for its repeat."""
    said = parse({**ORDER, "paymentMode": default}, form)
    assert b"paymentMode" not in msgspec.json.encode(said)
    assert request_hash(said) == request_hash(parse(ORDER, form))
