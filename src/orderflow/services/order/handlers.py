"""Use cases: what a request causes, and what a fact from another service does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain

import msgspec
import uuid_utils
import uuid_utils.compat

from orderflow.contracts import NAMESPACE, topics
from orderflow.contracts.events import (
    CancelReason,
    Event,
    OrderCancelled,
    OrderCreated,
    OrderEvent,
    OrderShipped,
    PaymentMode,
    PaymentRequested,
)
from orderflow.contracts.ids import CustomerId, OrderId, Sku
from orderflow.messaging.errors import Poison
from orderflow.messaging.event import EventId, Metadata, derived_id, read_clock
from orderflow.messaging.listener import Caused, Received
from orderflow.messaging.postgres import Cursor, outbox
from orderflow.messaging.postgres.outbox import OutboxRow
from orderflow.services.order import idempotency, repository
from orderflow.services.order.idempotency import Claim, Held
from orderflow.services.order.model import (
    Action,
    HistoryEntry,
    Order,
    Product,
    RequestedLine,
    place,
    priced,
)
from orderflow.services.order.repository import Placed, Saved
from orderflow.services.order.rules import (
    Change,
    cancel,
    deliver,
    events,
    on_fact,
    pay,
    ship,
    ship_when_reserved,
)

SOURCE = "/orderflow/order"
KEY_LIFETIME = timedelta(hours=24)

Encode = Callable[[str, msgspec.Struct], bytes]

TOPIC_OF: Mapping[type[Event], str] = {
    OrderCreated: topics.ORDERS.name,
    OrderCancelled: topics.ORDERS.name,
    OrderShipped: topics.ORDERS.name,
    PaymentRequested: topics.ORDERS.name,
    OrderEvent: topics.ORDER_EVENTS.name,
}


class PlaceOrder(msgspec.Struct, frozen=True, kw_only=True):
    customer_id: CustomerId
    lines: tuple[RequestedLine, ...]
    currency: str
    mode: PaymentMode
    payment_method: str | None
    traceparent: str


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is asked of one order. `customer_id`: whose it has to be, if that is asked for.

    `payment_method` is for `pay`; without it the order's own counts, then the default. `when_reserved` is for `ship`:
    be content with shipping later, once stock is settled. `claim`: the request's Idempotency-Key.
    """

    action: Action
    order_id: OrderId
    customer_id: str | None
    traceparent: str
    payment_method: str | None = None
    default_payment_method: str = ""
    when_reserved: bool = False
    claim: Claim | None = None


class Obeyed(msgspec.Struct, frozen=True, kw_only=True):
    """
    The order after a command. `attempt`: the payment that it asked for.

    `held`: what the request's key stands for already; then an earlier request was obeyed, and not this one.
    """

    order: Order
    attempt: int
    held: Held | None = None


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """What starts a chain, as the history names it: a `command` by its name, a `deadline`, an `operator`'s verb."""

    type: str
    id: str
    traceparent: str


class UnknownOrder(Poison):
    """A fact about an order that is not in this database: it was committed before anybody could hear of it."""


def place_order(command: PlaceOrder, *, catalogue: Mapping[Sku, Product], encode: Encode) -> Placed:
    now = read_clock()
    lines = priced(command.lines, catalogue=catalogue, currency=command.currency)
    order = place(
        order_id=OrderId(str(uuid_utils.uuid7())),
        customer_id=command.customer_id,
        lines=lines,
        currency=command.currency,
        mode=command.mode,
        payment_method=command.payment_method,
        now=now,
    )
    change = OrderEvent(
        order_id=order.order_id,
        customer_id=order.customer_id,
        status=order.status,
        description="Order has been created",
        timestamp=now,
        version=order.version,
    )
    changed = told(change, traceparent=command.traceparent, encode=encode)
    created = told(_created(order), traceparent=command.traceparent, encode=encode)
    entry = HistoryEntry(
        revision=order.revision,
        version=order.version,
        status=order.status,
        description=change.description,
        occurred_at=now,
        event_id=changed.metadata.id,
        cause_type="command",
        cause_id="place",
    )
    return Placed(order=order, entry=entry, outbox=(created, changed))


def _created(order: Order) -> OrderCreated:
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


def obey(
    cursor: Cursor, command: Command, *, encode: Encode, key_lifetime: timedelta = KEY_LIFETIME
) -> Obeyed | None:
    """
    Do what is asked, under the order's lock; None if there is no order of that id and customer.

    Raises NotAllowed or StockNotSettled; then nothing was written, and the key is not burned.
    """
    order = repository.lock(cursor, [command.order_id]).get(command.order_id)
    if order is None or command.customer_id not in (None, order.customer_id):
        return None
    if command.claim is not None:
        # Until it is settled, the answer is the attempt that has to be waited for.
        asked = [(command.claim, order.order_id, str(order.payment.attempt + 1).encode())]
        for held in idempotency.claim(cursor, asked, lifetime=key_lifetime, settled=False).values():
            return Obeyed(order=order, attempt=0 if held.settled else int(held.answer), held=held)
    change = _decided(order, command, now=read_clock())
    if change is None:
        return Obeyed(order=order, attempt=order.payment.attempt)
    cause = Cause(type="command", id=command.action, traceparent=command.traceparent)
    act(cursor, [change], cause=cause, encode=encode)
    return Obeyed(order=change.after, attempt=change.after.payment.attempt)


def _decided(order: Order, command: Command, *, now: datetime) -> Change | None:
    match command.action:
        case Action.PAY:
            payment_method = (
                command.payment_method or order.payment_method or command.default_payment_method
            )
            return pay(order, payment_method=payment_method, now=now)
        case Action.SHIP:
            return (
                ship_when_reserved(order, now=now)
                if command.when_reserved
                else ship(order, now=now)
            )
        case Action.DELIVER:
            return deliver(order, now=now)
        case Action.CANCEL:
            return cancel(order, reason=CancelReason.CUSTOMER, now=now)


def act(
    cursor: Cursor,
    changes: Sequence[Change],
    *,
    cause: Cause,
    encode: Encode,
    besides: Sequence[OutboxRow] = (),
) -> None:
    """Write what was decided about locked orders: rows, history, and what is told of it and `besides`, as one act."""
    rows = [
        [told(event, traceparent=cause.traceparent, encode=encode) for event in events(one)]
        for one in changes
    ]
    repository.save(
        cursor,
        [_saved(change, of_one, cause) for change, of_one in zip(changes, rows, strict=True)],
    )
    outbox.append(cursor, [*chain.from_iterable(rows), *besides])


def _saved(change: Change, rows: Sequence[OutboxRow], cause: Cause) -> Saved:
    changed_id = next(
        (row.metadata.id for row in rows if row.metadata.type == OrderEvent.type_name()), None
    )
    return Saved(change=change, entry=_entry(change, changed_id, cause.type, cause.id))


def on_facts(cursor: Cursor, batch: Sequence[Received]) -> list[Caused]:
    """Record what payment and inventory say, then judge: as many statements for a batch as for one record."""
    orders = repository.lock(cursor, [received.event.order_id for received in batch])
    now = read_clock()
    saved: list[Saved] = []
    caused: list[Caused] = []
    for received in batch:
        changes = on_fact(_known(orders, received), received.event, now=now)
        saved += _remembered(changes, received.metadata)
        caused += [(received, event) for change in changes for event in events(change)]
        orders |= {change.after.order_id: change.after for change in changes}
    repository.save(cursor, saved)
    return caused


def _known(orders: Mapping[OrderId, Order], received: Received) -> Order:
    order_id = received.event.order_id
    if order_id not in orders:
        raise UnknownOrder(
            f"{received.metadata.type} {received.metadata.id} is about {order_id}: there is no such order"
        )
    return orders[order_id]


def _remembered(changes: Sequence[Change], cause: Metadata) -> Iterator[Saved]:
    """The history of a fact's revisions; the ids of the OrderEvents are those that they will have on the topic."""
    of_status = 0
    for change in changes:
        event_id = None
        if change.is_of_status:
            event_id = derived_id(
                NAMESPACE, cause=cause.id, event_type=OrderEvent.type_name(), index=of_status
            )
            of_status += 1
        yield Saved(change=change, entry=_entry(change, event_id, cause.type, str(cause.id)))


def _entry(
    change: Change, event_id: EventId | None, cause_type: str, cause_id: str
) -> HistoryEntry:
    order = change.after
    return HistoryEntry(
        revision=order.revision,
        version=order.version,
        status=order.status,
        description=change.description,
        occurred_at=order.updated_at,
        event_id=event_id,
        cause_type=cause_type,
        cause_id=cause_id,
    )


def told(event: Event, *, traceparent: str, encode: Encode) -> OutboxRow:
    """An act of the API starts a chain: fresh ids, and no cause."""
    topic = TOPIC_OF[type(event)]
    metadata = Metadata(
        id=EventId(uuid_utils.compat.uuid7()),
        type=event.type_name(),
        source=SOURCE,
        time=event.happened_at,
        subject=event.order_id,
        correlation_id=event.order_id,
        traceparent=traceparent,
    )
    return OutboxRow(
        topic=topic, key=event.order_id, payload=encode(topic, event), metadata=metadata
    )
