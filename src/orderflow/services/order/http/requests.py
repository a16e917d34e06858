"""What a client may send, as types; everything else is refused here, before anything happens."""

from __future__ import annotations

import hashlib
import re
from random import getrandbits
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta
from starlette.requests import Request

from orderflow.contracts.events import PaymentMode
from orderflow.contracts.ids import CustomerId, OrderId, Sku
from orderflow.services.order.config import OrderSettings
from orderflow.services.order.handlers import PlaceOrder
from orderflow.services.order.http import problems
from orderflow.services.order.idempotency import Claim
from orderflow.services.order.model import LINES_MAX, QUANTITY_MAX, RequestedLine

_END = r"(?![\s\S])"
"""The end of the text in every regex dialect: Python's `$` lets a newline pass, and `\\Z` is not JavaScript."""

Identifier = Annotated[
    str,
    Meta(
        pattern=rf"^[A-Za-z0-9][A-Za-z0-9._:@+-]{{0,63}}{_END}",
        description="1 to 64 letters, digits and . _ : @ + -, beginning with a letter or digit",
        examples=["customer-123"],
    ),
]
Currency = Annotated[
    str, Meta(pattern=rf"^[A-Z]{{3}}{_END}", description="ISO 4217", examples=["EUR"])
]
Quantity = Annotated[int, Meta(ge=1, le=QUANTITY_MAX)]


class LineRequest(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    sku: Identifier
    quantity: Quantity


class OrderRequest(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Prices come from the catalogue, never from here."""

    customer_id: Identifier
    lines: Annotated[tuple[LineRequest, ...], Meta(min_length=1, max_length=LINES_MAX)]
    currency: Currency | None = None
    payment_method: Identifier | None = None

    mode = PaymentMode.AUTOMATIC


class ShortOrderRequest(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Nothing is charged until somebody asks for it."""

    customer_id: Identifier
    lines: Annotated[tuple[LineRequest, ...], Meta(max_length=LINES_MAX)] = ()
    currency: Currency | None = None
    payment_method: Identifier | None = None

    mode = PaymentMode.ON_REQUEST


class PayRequest(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Without a payment method: the order's own, else the service's default."""

    payment_method: Identifier | None = None


AnyOrderRequest = OrderRequest | ShortOrderRequest


def command(request: AnyOrderRequest, *, settings: OrderSettings, traceparent: str) -> PlaceOrder:
    automatic = request.mode is PaymentMode.AUTOMATIC
    return PlaceOrder(
        customer_id=CustomerId(request.customer_id),
        lines=tuple(
            RequestedLine(sku=Sku(line.sku), quantity=line.quantity) for line in request.lines
        ),
        currency=request.currency or settings.default_currency,
        mode=request.mode,
        payment_method=request.payment_method
        or (settings.default_payment_method if automatic else None),
        traceparent=traceparent,
    )


def claim_of(key: bytes | None, *, scope: str, request: msgspec.Struct) -> Claim | None:
    """The Idempotency-Key of a request, if it has one. Raises a problem if that is malformed."""
    if key is None:
        return None
    if not IDEMPOTENCY_KEY.fullmatch(key):
        raise problems.key_malformed()
    return Claim(scope=scope, key=key.decode(), request_hash=request_hash(request))


def wait_of(prefer: str, *, at_most_s: float) -> float:
    """How long the client would wait (RFC 7240: `wait=n`, `respond-async`); without a word of that, `at_most_s`."""
    if found := _WAIT.search(prefer):
        return min(float(found[1]), at_most_s)
    return 0.0 if _ASYNC.search(prefer) else at_most_s


def order_id_of(request: Request) -> OrderId:
    """The id in the path. What is no UUID is no order's: 404."""
    try:
        return OrderId(str(UUID(request.path_params["order_id"])))
    except ValueError:
        raise problems.no_such_order() from None


def request_hash(request: msgspec.Struct) -> bytes:
    """The same for the same request, however its JSON was written."""
    return hashlib.sha256(msgspec.json.encode(request)).digest()


IDEMPOTENCY_KEY = re.compile(rb"[\x21-\x7e]{1,255}")

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?=[,;]|$)", re.IGNORECASE)
_ASYNC = re.compile(r"(?:^|[,;])\s*respond-async\s*(?=[,;]|$)", re.IGNORECASE)
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_of(header: bytes | None) -> str:
    """The client's `traceparent` if it is well-formed (W3C Trace Context, version 00), else a new one."""
    text = header.decode("latin-1") if header else ""
    if _TRACEPARENT.fullmatch(text):
        return text
    return f"00-{getrandbits(128):032x}-{getrandbits(64):016x}-01"
