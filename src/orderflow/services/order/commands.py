"""What an HTTP request does: place an order, or execute a command on one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import msgspec
import uuid_utils

from orderflow.contracts.events import CancelReason, OrderCreated, OrderEvent, PaymentMode
from orderflow.contracts.ids import CustomerId, OrderId, Sku
from orderflow.messaging.event import read_clock
from orderflow.messaging.postgres import Cursor
from orderflow.messaging.postgres.outbox import OutboxRow
from orderflow.services.order import idempotency, repository
from orderflow.services.order.changes import Encode, Origin, outbox_row, write_changes
from orderflow.services.order.idempotency import Claim, ClaimedKey
from orderflow.services.order.model import (
    Action,
    HistoryEntry,
    Order,
    Product,
    RequestedLine,
    place,
    priced,
)
from orderflow.services.order.pricing import PaymentMethodMissing, demand_expected
from orderflow.services.order.rules import (
    Change,
    cancel,
    deliver,
    is_unsettled,
    pay,
    ship,
    ship_when_reserved,
)

KEY_LIFETIME = timedelta(hours=24)


class PlaceOrder(msgspec.Struct, frozen=True, kw_only=True):
    """
    A valid request for a new order; its prices come from the catalogue.

    `expected_amount_minor`: the total that the client has seen, if it says so.
    """

    customer_id: CustomerId
    lines: tuple[RequestedLine, ...]
    currency: str
    mode: PaymentMode
    payment_method: str | None
    origin: Origin
    expected_amount_minor: int | None = None


class PlacedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a new order writes, in one transaction."""

    order: Order
    entry: HistoryEntry
    outbox: tuple[OutboxRow, ...]


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """
    A command to one order. `customer_id`: whose order it must be; None for anybody's.
    `expected_revision`: the one that the client has seen, if it says so.

    `payment_method` is for `pay`; without it the order's own is used, then the default.
    `when_reserved` is for `ship`: accept the command while stock is unsettled, and ship once it is
    reserved. `claim`: the request's Idempotency-Key. `answer`: what its client gets, if that is
    known as soon as the command is executed.
    """

    action: Action
    order_id: OrderId
    customer_id: str | None
    origin: Origin
    expected_revision: int | None = None
    payment_method: str | None = None
    default_payment_method: str | None = None
    when_reserved: bool = False
    claim: Claim | None = None
    answer: Callable[[Order], bytes] | None = None


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """
    The order after a command. `attempt`: the payment attempt that the command requested.

    `earlier`: the Idempotency-Key as an earlier request claimed it; then this command was not
    executed.
    """

    order: Order
    attempt: int
    earlier: ClaimedKey | None = None


class Overtaken(Exception):
    """The order is not any more, or not yet, what the command expects it to be."""

    def __init__(self, order: Order) -> None:
        super().__init__(f"the order has revision {order.revision} now")
        self.order = order


def new_order_id() -> OrderId:
    """An id that begins with the time of its making."""
    return OrderId(str(uuid_utils.uuid7()))


def place_order(
    command: PlaceOrder, *, catalogue: Mapping[Sku, Product], encode: Encode
) -> PlacedOrder:
    """A new order with its history entry and events, not written yet. Raises RuleBroken."""
    if command.mode is PaymentMode.AUTOMATIC and command.payment_method is None:
        raise _no_payment_method()

    # One reading of the clock: row, history and events contain the same time.
    now = read_clock()
    order = place(
        order_id=new_order_id(),
        customer_id=command.customer_id,
        lines=priced(command.lines, catalogue=catalogue, currency=command.currency),
        currency=command.currency,
        mode=command.mode,
        payment_method=command.payment_method,
        now=now,
        traceparent=command.origin.traceparent,
    )
    demand_expected(order, command.lines, expected_amount_minor=command.expected_amount_minor)

    status_event = OrderEvent(
        order_id=order.order_id,
        customer_id=order.customer_id,
        status=order.status,
        description="Order has been created",
        timestamp=now,
        version=order.version,
    )
    created_row, status_row = (
        outbox_row(event, traceparent=order.traceparent, encode=encode)
        for event in (_order_created(order), status_event)
    )

    entry = HistoryEntry(
        revision=order.revision,
        version=order.version,
        status=order.status,
        description=status_event.description,
        occurred_at=now,
        event_id=status_row.metadata.id,
        cause_type=command.origin.type,
        cause_id=command.origin.id,
    )
    return PlacedOrder(order=order, entry=entry, outbox=(created_row, status_row))


def _order_created(order: Order) -> OrderCreated:
    return OrderCreated(
        order_id=order.order_id,
        customer_id=order.customer_id,
        version=order.version,
        lines=order.lines,
        amount_minor=order.amount_minor,
        currency=order.currency,
        payment_mode=order.payment_mode,
        attempt=order.payment.attempt,
        payment_id=order.payment.payment_id,
        payment_method=order.payment_method,
        occurred_at=order.created_at,
    )


def execute(
    cursor: Cursor, command: Command, *, encode: Encode, key_lifetime: timedelta = KEY_LIFETIME
) -> CommandResult | None:
    """
    Execute a command under the order's lock; None if that customer has no such order.

    Raises Overtaken, NotAllowed, StockNotSettled or PaymentMethodMissing; the transaction then
    rolls back, its claimed key too, so the client may send the same key again.
    """
    # The lock before the key: requests with the same key wait here, and the later ones find it.
    order = repository.lock(cursor, [command.order_id]).get(command.order_id)
    if order is None or command.customer_id not in (None, order.customer_id):
        return None

    if command.claim is not None:
        earlier = _claim(cursor, command.claim, order=order, key_lifetime=key_lifetime)
        if earlier is not None:
            attempt = 0 if earlier.settled else int(earlier.answer)
            return CommandResult(order=order, attempt=attempt, earlier=earlier)

    # After the key: a repeated command has changed the revision itself.
    if command.expected_revision not in (None, order.revision):
        raise Overtaken(order)

    change = _decide(order, command, now=read_clock())
    if change is not None:
        write_changes(cursor, [change], origin=command.origin, encode=encode)
        order = change.after

    # A ship command that waits for stock has no answer yet: whoever repeats it sees how far it is.
    if command.claim and command.answer and not is_to_be_shipped(order, command):
        idempotency.settle(cursor, command.claim, answer=command.answer(order))
    return CommandResult(order=order, attempt=order.payment.attempt)


def is_to_be_shipped(order: Order, command: Command) -> bool:
    """Whether the command is a wish that inventory's answer will fulfil."""
    return command.action is Action.SHIP and is_unsettled(order)


def _claim(
    cursor: Cursor, claim: Claim, *, order: Order, key_lifetime: timedelta
) -> ClaimedKey | None:
    """Claim the key for this command; what an earlier request claimed it for, if one did."""
    # The answer is known only once the payment has ended. Until then the key stores the number of
    # the attempt, so that a repeated request waits for this attempt instead of requesting another.
    next_attempt = str(order.payment.attempt + 1).encode()
    return idempotency.claim(
        cursor,
        [(claim, order.order_id, next_attempt)],
        lifetime=key_lifetime,
        settled=False,
    ).get(order.order_id)


def _decide(order: Order, command: Command, *, now: datetime) -> Change | None:
    match command.action:
        case Action.PAY:
            payment_method = (
                command.payment_method or order.payment_method or command.default_payment_method
            )
            if payment_method is None:
                raise _no_payment_method()
            return pay(order, payment_method=payment_method, now=now)

        case Action.SHIP if command.when_reserved:
            return ship_when_reserved(order, now=now)
        case Action.SHIP:
            return ship(order, now=now)

        case Action.DELIVER:
            return deliver(order, now=now)
        case Action.CANCEL:
            return cancel(order, reason=CancelReason.CUSTOMER, now=now)


def _no_payment_method() -> PaymentMethodMissing:
    return PaymentMethodMissing("paymentMethod: name one")
