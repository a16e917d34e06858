"""An order, and what it allows. Pure: a function that changes an order returns a new one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from orderflow.contracts.events import OrderLine, OrderStatus, PaymentMode
from orderflow.contracts.ids import CustomerId, OrderId, PaymentId, Sku, payment_id
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.event import EventId

ATTEMPTS_MAX = 5
LINES_MAX = 100
QUANTITY_MAX = 10_000
AMOUNT_MINOR_MAX = 10**15


class RuleBroken(OrderflowError):
    """The requested order breaks a rule. `slug` names the rule on the wire, and never changes."""

    slug = "rule-broken"
    title = "The order breaks a rule"


class UnknownSku(RuleBroken):
    slug = "unknown-sku"
    title = "A line names a product that does not exist"


class NoPrice(RuleBroken):
    slug = "no-price"
    title = "A product has no price in the order's currency"


class RepeatedSku(RuleBroken):
    slug = "repeated-sku"
    title = "Two lines name the same product"


class AmountTooLarge(RuleBroken):
    slug = "amount-too-large"
    title = "The order's total is too large"


class PaymentState(StrEnum):
    NONE = "NONE"
    REQUESTED = "REQUESTED"
    FAILED = "FAILED"
    SUCCEEDED = "SUCCEEDED"
    REFUNDED = "REFUNDED"


class StockState(StrEnum):
    NONE = "NONE"
    RESERVED = "RESERVED"
    REJECTED = "REJECTED"
    RELEASED = "RELEASED"


class Action(StrEnum):
    PAY = "pay"
    SHIP = "ship"
    DELIVER = "deliver"
    CANCEL = "cancel"


class WaitingFor(StrEnum):
    """
    What has to happen next: a command (PAY, SHIP, DELIVER), or a fact (PAYMENT, STOCK).

    A cancelled order waits for facts, too: REFUND until its payment has come to its end (given
    back, or never taken), RELEASE until its stock is free again.
    """

    PAY = "PAY"
    PAYMENT = "PAYMENT"
    STOCK = "STOCK"
    SHIP = "SHIP"
    DELIVER = "DELIVER"
    REFUND = "REFUND"
    RELEASE = "RELEASE"


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """`prices`: minor units by ISO 4217 currency."""

    sku: Sku
    name: str
    prices: dict[str, int]


class RequestedLine(msgspec.Struct, frozen=True, kw_only=True):
    """`expected_unit_price_minor`: the price that the client has seen, if it says so."""

    sku: Sku
    quantity: int
    expected_unit_price_minor: int | None = None


class Payment(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`reason` and `message`: why the attempt failed, as payment announced it."""

    attempt: int
    state: PaymentState
    payment_id: PaymentId | None
    reason: str | None = None
    message: str | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    `version` counts status changes, `revision` every change.

    `ship_when_reserved`: shipping was requested and accepted before inventory had answered.
    `waiting_since`: when the order began to wait for what it waits for now; revisions that do not
    change what it waits for keep it. `traceparent`: the span in which the order was written; its
    whole life is in that trace.
    """

    order_id: OrderId
    customer_id: CustomerId
    status: OrderStatus
    version: int
    revision: int
    payment: Payment
    stock: StockState
    payment_mode: PaymentMode
    payment_method: str | None
    lines: tuple[OrderLine, ...]
    amount_minor: int
    currency: str
    created_at: datetime
    updated_at: datetime
    waiting_since: datetime
    ship_when_reserved: bool = False
    traceparent: str | None = None


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    One revision: a status change if it has an `event_id`, otherwise a recorded fact or note.

    `actor` and `reason`: who gave the command, and why, if that was said.
    """

    revision: int
    version: int
    status: str
    description: str
    occurred_at: datetime
    event_id: EventId | None
    cause_type: str
    cause_id: str
    actor: str | None = None
    reason: str | None = None


def place(
    *,
    order_id: OrderId,
    customer_id: CustomerId,
    lines: tuple[OrderLine, ...],
    currency: str,
    mode: PaymentMode,
    payment_method: str | None,
    now: datetime,
    traceparent: str | None = None,
) -> Order:
    """A new order. AUTOMATIC requests its first payment at once, ON_REQUEST with a pay command."""
    amount_minor = sum(line.quantity * line.unit_price_minor for line in lines)
    if amount_minor > AMOUNT_MINOR_MAX:
        raise AmountTooLarge(f"{amount_minor} minor units; at most {AMOUNT_MINOR_MAX}")

    if mode is PaymentMode.AUTOMATIC:
        payment = Payment(
            attempt=1, state=PaymentState.REQUESTED, payment_id=payment_id(order_id, 1)
        )
    else:
        payment = Payment(attempt=0, state=PaymentState.NONE, payment_id=None)

    return Order(
        order_id=order_id,
        customer_id=customer_id,
        status=OrderStatus.CREATED,
        version=1,
        revision=1,
        payment=payment,
        stock=StockState.NONE,
        payment_mode=mode,
        payment_method=payment_method,
        lines=lines,
        amount_minor=amount_minor,
        currency=currency,
        created_at=now,
        updated_at=now,
        waiting_since=now,
        traceparent=traceparent,
    )


def revised(before: Order, after: Order, *, now: datetime) -> Order:
    """`after` as the next revision of `before`, with its time and what it waits for."""
    since = before.waiting_since if waiting_for(after) is waiting_for(before) else now
    return msgspec.structs.replace(
        after, revision=before.revision + 1, updated_at=now, waiting_since=since
    )


def waiting_for(order: Order) -> WaitingFor | None:
    """
    What has to happen next; None if the order is delivered, or cancelled and nothing is owed.
    """
    awaited: WaitingFor | None = None

    match order.status, order.payment.state, order.stock:
        case OrderStatus.CREATED, PaymentState.NONE | PaymentState.FAILED, _:
            awaited = WaitingFor.PAY
        case OrderStatus.CREATED, _, _:
            awaited = WaitingFor.PAYMENT
        case OrderStatus.PAID, _, StockState.RESERVED:
            awaited = WaitingFor.SHIP
        case OrderStatus.PAID, _, _:
            awaited = WaitingFor.STOCK
        case OrderStatus.SHIPPED, _, _:
            awaited = WaitingFor.DELIVER
        case OrderStatus.CANCELLED, PaymentState.REQUESTED | PaymentState.SUCCEEDED, _:
            awaited = WaitingFor.REFUND
        case OrderStatus.CANCELLED, _, StockState.RESERVED:
            awaited = WaitingFor.RELEASE

    return awaited


def is_beyond_payment(order: Order) -> bool:
    """Whether the order waits to be paid, and no attempt is left: it can only be cancelled."""
    return waiting_for(order) is WaitingFor.PAY and Action.PAY not in allowed_actions(order)


def priced(
    requested: Sequence[RequestedLine], *, catalogue: Mapping[Sku, Product], currency: str
) -> tuple[OrderLine, ...]:
    """Lines with the catalogue's prices. Raises UnknownSku, NoPrice or RepeatedSku."""
    skus = [line.sku for line in requested]
    if len({*skus}) < len(skus):
        repeated = sorted(sku for sku, count in Counter(skus).items() if count > 1)
        raise RepeatedSku(
            f"{', '.join(repeated)}: one line for each product, with the whole quantity"
        )

    return tuple(
        OrderLine(
            sku=line.sku,
            quantity=line.quantity,
            unit_price_minor=_price(catalogue, line.sku, currency=currency),
        )
        for line in requested
    )


def allowed_actions(order: Order) -> tuple[Action, ...]:
    """The commands that the order allows now."""
    status, payment = order.status, order.payment

    payable = (
        payment.state in (PaymentState.NONE, PaymentState.FAILED) and payment.attempt < ATTEMPTS_MAX
    )
    allowed = {
        Action.PAY: status is OrderStatus.CREATED and payable,
        Action.SHIP: status is OrderStatus.PAID and order.stock is StockState.RESERVED,
        Action.DELIVER: status is OrderStatus.SHIPPED,
        Action.CANCEL: status in (OrderStatus.CREATED, OrderStatus.PAID),
    }
    return tuple(action for action, yes in allowed.items() if yes)


def _price(catalogue: Mapping[Sku, Product], sku: Sku, *, currency: str) -> int:
    product = catalogue.get(sku)
    if product is None:
        raise UnknownSku(f"{sku} is not in the catalogue: see GET /products")
    price = product.prices.get(currency)
    if price is None:
        raise NoPrice(
            f"{sku} has no price in {currency}; it has {', '.join(sorted(product.prices))}"
        )
    return price
