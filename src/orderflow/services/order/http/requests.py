"""Requests as types. What does not fit is refused here, before it has any effect."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request

from orderflow.contracts import ids
from orderflow.contracts.currencies import known_currency
from orderflow.contracts.events import PaymentMode
from orderflow.contracts.ids import CustomerId, OrderId, Sku
from orderflow.messaging.http.parameters import IDENTIFIER
from orderflow.messaging.http.validation import END
from orderflow.messaging.telemetry.trace_context import TraceContext
from orderflow.services.order.changes import Origin
from orderflow.services.order.commands import PlaceOrder
from orderflow.services.order.config import OrderSettings
from orderflow.services.order.http import problems
from orderflow.services.order.idempotency import Claim
from orderflow.services.order.model import (
    AMOUNT_MINOR_MAX,
    LINES_MAX,
    QUANTITY_MAX,
    RequestedLine,
)
from orderflow.services.order.traces import begin_trace


def _identifier(example: str) -> Meta:
    return Meta(
        pattern=rf"^{IDENTIFIER}{END}",
        max_length=64,
        description="1 to 64 letters, digits and . _ : @ + -, beginning with a letter or digit",
        examples=[example],
    )


# The examples are accepted together by a new installation of the local stack.
Identifier = Annotated[str, _identifier("customer-123")]
SkuText = Annotated[str, _identifier("KEYBOARD-01")]
PaymentMethodText = Annotated[str, _identifier("pm_ok")]
Currency = Annotated[
    str,
    Meta(
        pattern=rf"^[A-Z]{{3}}{END}",
        description="a currency of ISO 4217, in three capital letters",
        examples=["EUR"],
        extra={"checks": (known_currency,)},
    ),
]
Quantity = Annotated[int, Meta(ge=1, le=QUANTITY_MAX, examples=[2])]
Money = Annotated[int, Meta(ge=0, le=AMOUNT_MINOR_MAX, description="In minor units")]


class LineRequest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """`expectedUnitPriceMinor`: the price that the client has seen; if it is another now, 409."""

    sku: SkuText
    quantity: Quantity
    expected_unit_price_minor: Money | None = None


class OrderRequest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """
    Prices come from the catalogue, never from here.

    `paymentMode`: AUTOMATIC asks for the payment at once, ON_REQUEST with a pay command.
    `expectedAmountMinor`: the total that the client has seen; if it is another now, 409.
    """

    customer_id: Identifier
    lines: Annotated[tuple[LineRequest, ...], Meta(min_length=1, max_length=LINES_MAX)]
    currency: Currency | None = None
    payment_method: PaymentMethodText | None = None
    expected_amount_minor: Money | None = None
    payment_mode: PaymentMode = PaymentMode.AUTOMATIC

    def __post_init__(self) -> None:
        _refuse_unknown(self.currency)


class ShortOrderRequest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """Nothing is charged until a pay command, unless `paymentMode` is AUTOMATIC."""

    customer_id: Identifier
    lines: Annotated[tuple[LineRequest, ...], Meta(max_length=LINES_MAX)] = ()
    currency: Currency | None = None
    payment_method: PaymentMethodText | None = None
    expected_amount_minor: Money | None = None
    payment_mode: PaymentMode = PaymentMode.ON_REQUEST

    def __post_init__(self) -> None:
        _refuse_unknown(self.currency)
        if not self.lines and self.payment_mode is PaymentMode.AUTOMATIC:
            raise ValueError("without lines there is nothing to pay at once: add some")


class PayRequest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """Without a payment method: the order's own, else the service's default."""

    payment_method: PaymentMethodText | None = None


AnyOrderRequest = OrderRequest | ShortOrderRequest


def _refuse_unknown(currency: str | None) -> None:
    if currency is not None:
        known_currency(currency)


def place_command(
    request: AnyOrderRequest, *, settings: OrderSettings, origin: Origin
) -> PlaceOrder:
    """The command of a valid request, with the service's defaults where the client has none."""
    automatic = request.payment_mode is PaymentMode.AUTOMATIC

    return PlaceOrder(
        customer_id=CustomerId(request.customer_id),
        lines=tuple(
            RequestedLine(
                sku=Sku(line.sku),
                quantity=line.quantity,
                expected_unit_price_minor=line.expected_unit_price_minor,
            )
            for line in request.lines
        ),
        currency=request.currency or settings.default_currency,
        mode=request.payment_mode,
        payment_method=request.payment_method
        or (settings.default_payment_method if automatic else None),
        origin=origin,
        expected_amount_minor=request.expected_amount_minor,
    )


def claim_of(key: bytes | None, *, scope: str, request: msgspec.Struct) -> Claim | None:
    """The Idempotency-Key of a request, if it has one. Raises a problem (400) if malformed."""
    if key is None:
        return None
    if not IDEMPOTENCY_KEY.fullmatch(key):
        raise problems.key_malformed()
    return Claim(scope=scope, key=key.decode(), request_hash=request_hash(request))


def wait_of(prefer: str, *, at_most_s: float) -> float:
    """
    How long the client wants to wait, in seconds; `at_most_s` if `Prefer` does not say.

    Source: RFC 7240, `wait=n` and `respond-async`.
    """
    if wait := _WAIT.search(prefer):
        return min(float(wait[1]), at_most_s)
    return 0.0 if _ASYNC.search(prefer) else at_most_s


def order_id_of(request: Request) -> OrderId:
    """The order id in the path. Raises a problem (404) if it is no UUID."""
    try:
        return ids.order_id_of(request.path_params["order_id"])
    except ValueError:
        raise problems.no_such_order() from None


def request_hash(request: msgspec.Struct) -> bytes:
    """
    The hash of a parsed request: the same however its JSON was written.

    Fields that the client left out do not count, so that a field that is new tomorrow does not
    make another request of a repeated one.
    """
    return hashlib.sha256(msgspec.json.encode(request)).digest()


IDEMPOTENCY_KEY = re.compile(rb"[\x21-\x7e]{1,255}")

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?=[,;]|$)", re.IGNORECASE)
_ASYNC = re.compile(r"(?:^|[,;])\s*respond-async\s*(?=[,;]|$)", re.IGNORECASE)


def origin_of(request: Request, *, cause_type: str, cause_id: str) -> Origin:
    """The origin of what a request changes, with the client's trace, if it has one."""
    given = request.headers.get("traceparent")
    traceparent = given if TraceContext.parse(given) else str(begin_trace(None))
    return Origin(type=cause_type, id=cause_id, traceparent=traceparent)
