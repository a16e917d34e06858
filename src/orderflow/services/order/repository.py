"""Orders in PostgreSQL: one statement for each table and batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import chain

import msgspec

from orderflow.contracts.events import OrderLine, OrderStatus, PaymentMode
from orderflow.contracts.ids import CustomerId, OrderId, PaymentId, Sku
from orderflow.messaging import outbox
from orderflow.messaging.errors import Transient
from orderflow.messaging.event import EventId
from orderflow.messaging.outbox import OutboxRow
from orderflow.messaging.postgres import Cursor, array
from orderflow.services.order.model import HistoryEntry, Order, Payment, PaymentState, Product, StockState, waiting_for
from orderflow.services.order.rules import Change


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """What one order writes, in one transaction."""

    order: Order
    entry: HistoryEntry
    outbox: tuple[OutboxRow, ...]


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What one revision of an order writes. Several of one order come in their order."""

    change: Change
    entry: HistoryEntry


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """An Idempotency-Key, and the hash of what was asked with it. `scope` is the route."""

    scope: str
    key: str
    request_hash: bytes


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """An order to be written, and the answer that its client will get once it is."""

    placed: Placed
    answer: bytes
    claim: Claim | None = None


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """The order is there. `repeated`: an earlier request with the same key made it."""

    order_id: OrderId
    answer: bytes
    repeated: bool = False


class KeyTaken(msgspec.Struct, frozen=True):
    """The key stands for another request."""


def writer(idempotency_hours: int) -> Callable[[Cursor, list[Placement]], list[Written | KeyTaken]]:
    lifetime = timedelta(hours=idempotency_hours)

    def write(cursor: Cursor, batch: list[Placement]) -> list[Written | KeyTaken]:
        earlier = _claim(cursor, [one for one in batch if one.claim], lifetime)
        fresh = [one.placed for one in batch if one.placed.order.order_id not in earlier]
        if fresh:
            _insert(cursor, fresh)
        return [
            earlier.get(one.placed.order.order_id) or Written(order_id=one.placed.order.order_id, answer=one.answer)
            for one in batch
        ]

    return write


def purge_keys(cursor: Cursor, *, idempotency_hours: int) -> None:
    """Forget keys that have expired; they are ignored already."""
    cursor.execute("DELETE FROM idempotency_key WHERE created_at < now() - %s", (timedelta(hours=idempotency_hours),))


def find(cursor: Cursor, order_id: OrderId) -> Order | None:
    cursor.execute(_FIND, (order_id,))
    row = cursor.fetchone()
    return None if row is None else order_of(*row)


def lock(cursor: Cursor, order_ids: Sequence[OrderId]) -> dict[OrderId, Order]:
    """Those that exist, locked until the transaction ends; always in the same order, so that nobody waits in a ring."""
    cursor.execute(_LOCK, (array(sorted(set(order_ids))),))
    return {order.order_id: order for order in (order_of(*row) for row in cursor)}


def save(cursor: Cursor, saved: Sequence[Saved]) -> None:
    """
    Bring locked orders to their last revision, with the history of all.

    Raises Transient if a row is not at the revision that was locked: then nothing may be written.
    """
    if not saved:
        return
    first = {one.change.before.order_id: one.change.before.revision for one in reversed(saved)}
    last = {one.change.after.order_id: one.change.after for one in saved}
    cursor.execute(_UPDATE, _columns((*_moving(order), first[order_id]) for order_id, order in last.items()))
    if cursor.rowcount != len(last):
        raise Transient("an order changed although it was locked", resource="database")
    cursor.execute(_INSERT_HISTORY, _columns(_history_row(one.change.after.order_id, one.entry) for one in saved))


def history(cursor: Cursor, order_id: OrderId, *, facts_too: bool) -> list[HistoryEntry]:
    cursor.execute(_HISTORY, (order_id, facts_too))
    return [
        HistoryEntry(
            revision=revision,
            version=version,
            status=status,
            description=description,
            occurred_at=occurred_at,
            event_id=event_id,
            cause_type=cause_type,
            cause_id=cause_id,
        )
        for revision, version, status, description, occurred_at, event_id, cause_type, cause_id in cursor
    ]


def catalogue(cursor: Cursor) -> dict[Sku, Product]:
    cursor.execute("SELECT sku, name, prices FROM product ORDER BY sku")
    return {sku: Product(sku=sku, name=name, prices=prices) for sku, name, prices in cursor}


def _claim(cursor: Cursor, batch: list[Placement], lifetime: timedelta) -> dict[OrderId, Written | KeyTaken]:
    """Claim the keys; what is returned is the outcome of those that somebody else holds, by the order not written."""
    if not batch:
        return {}
    claims = [one.claim for one in batch if one.claim]
    scopes, keys = [claim.scope for claim in claims], [claim.key for claim in claims]
    cursor.execute(_FORGET_EXPIRED, (scopes, keys, lifetime))
    orders = [one.placed.order.order_id for one in batch]
    hashes, answers = [claim.request_hash for claim in claims], [one.answer for one in batch]
    cursor.execute(_CLAIM, (scopes, keys, hashes, orders, answers))
    won = {OrderId(str(order_id)) for (order_id,) in cursor}
    lost = [one for one in batch if one.placed.order.order_id not in won]
    if not lost:
        return {}
    cursor.execute(_EARLIER, (scopes, keys))
    held = {(scope, key): (hash_, order_id, answer) for scope, key, hash_, order_id, answer in cursor}
    return {one.placed.order.order_id: _earlier(one.claim, held) for one in lost if one.claim}


def _earlier(claim: Claim, held: dict[tuple[str, str], tuple[bytes, object, bytes]]) -> Written | KeyTaken:
    if (claim.scope, claim.key) not in held:
        raise Transient("an Idempotency-Key expired while it was looked up", resource="database")
    request_hash, order_id, answer = held[claim.scope, claim.key]
    if bytes(request_hash) != claim.request_hash:
        return KeyTaken()
    return Written(order_id=OrderId(str(order_id)), answer=bytes(answer), repeated=True)


def _insert(cursor: Cursor, batch: list[Placed]) -> None:
    cursor.execute(_INSERT_ORDERS, _columns(_order_row(one.order) for one in batch))
    cursor.execute(_INSERT_HISTORY, _columns(_history_row(one.order.order_id, one.entry) for one in batch))
    outbox.append(cursor, list(chain.from_iterable(one.outbox for one in batch)))


def _columns(rows: Iterable[tuple[object, ...]]) -> list[str]:
    return [array(column) for column in zip(*rows, strict=True)]


def _order_row(order: Order) -> tuple[object, ...]:
    return (
        order.order_id,
        order.customer_id,
        order.status.value,
        order.version,
        order.revision,
        order.payment.attempt,
        order.payment.state.value,
        order.payment.payment_id,
        order.stock.value,
        order.payment_mode.value,
        order.payment_method,
        msgspec.json.encode(order.lines).decode(),
        order.amount_minor,
        order.currency,
        order.created_at,
        order.updated_at,
        waiting_for(order),
        order.waiting_since,
    )


def _moving(order: Order) -> tuple[object, ...]:
    return (
        order.order_id,
        order.status.value,
        order.version,
        order.revision,
        order.payment.attempt,
        order.payment.state.value,
        order.payment.payment_id,
        order.stock.value,
        order.updated_at,
        waiting_for(order),
        order.waiting_since,
    )


def _history_row(order_id: OrderId, entry: HistoryEntry) -> tuple[object, ...]:
    return (
        order_id,
        entry.revision,
        entry.version,
        str(entry.status),
        entry.description,
        entry.occurred_at,
        entry.event_id and str(entry.event_id),
        entry.cause_type,
        entry.cause_id,
    )


def order_of(  # noqa: PLR0913, PLR0917 - a row has as many columns as it has
    order_id: object,
    customer_id: str,
    status: str,
    version: int,
    revision: int,
    attempt: int,
    payment_state: str,
    payment_id: EventId | None,
    stock: str,
    payment_mode: str,
    payment_method: str | None,
    lines: list[dict[str, object]],
    amount_minor: int,
    currency: str,
    created_at: datetime,
    updated_at: datetime,
    waiting_since: datetime,
) -> Order:
    return Order(
        order_id=OrderId(str(order_id)),
        customer_id=CustomerId(customer_id),
        status=OrderStatus(status),
        version=version,
        revision=revision,
        payment=Payment(
            attempt=attempt,
            state=PaymentState(payment_state),
            payment_id=None if payment_id is None else PaymentId(str(payment_id)),
        ),
        stock=StockState(stock),
        payment_mode=PaymentMode(payment_mode),
        payment_method=payment_method,
        lines=msgspec.convert(lines, tuple[OrderLine, ...]),
        amount_minor=amount_minor,
        currency=currency,
        created_at=created_at,
        updated_at=updated_at,
        waiting_since=waiting_since,
    )


_INSERT_ORDERS = """
INSERT INTO orders (order_id, customer_id, status, version, revision, payment_attempt, payment_state, payment_id, stock,
                    payment_mode, payment_method, lines, amount_minor, currency, created_at, updated_at,
                    waiting_for, waiting_since)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::int[], %s::int[], %s::smallint[], %s::text[], %s::uuid[],
                     %s::text[], %s::text[], %s::text[], %s::jsonb[], %s::bigint[], %s::text[], %s::timestamptz[],
                     %s::timestamptz[], %s::text[], %s::timestamptz[])
"""
_INSERT_HISTORY = """
INSERT INTO order_history (order_id, revision, version, status, description, occurred_at, event_id, cause_type,
                           cause_id)
SELECT * FROM unnest(%s::uuid[], %s::int[], %s::int[], %s::text[], %s::text[], %s::timestamptz[], %s::uuid[],
                     %s::text[], %s::text[])
"""
_UPDATE = """
UPDATE orders SET status = changed.status, version = changed.version, revision = changed.revision,
                  payment_attempt = changed.payment_attempt, payment_state = changed.payment_state,
                  payment_id = changed.payment_id, stock = changed.stock, updated_at = changed.updated_at,
                  waiting_for = changed.waiting_for, waiting_since = changed.waiting_since
FROM unnest(%s::uuid[], %s::text[], %s::int[], %s::int[], %s::smallint[], %s::text[], %s::uuid[], %s::text[],
            %s::timestamptz[], %s::text[], %s::timestamptz[], %s::int[])
     AS changed (order_id, status, version, revision, payment_attempt, payment_state, payment_id, stock, updated_at,
                 waiting_for, waiting_since, locked_revision)
WHERE orders.order_id = changed.order_id AND orders.revision = changed.locked_revision
"""
SELECT = """
SELECT order_id, customer_id, status, version, revision, payment_attempt, payment_state, payment_id, stock,
       payment_mode, payment_method, lines, amount_minor, currency, created_at, updated_at, waiting_since
FROM orders
"""
_FIND = f"{SELECT} WHERE order_id = %s"
_LOCK = f"{SELECT} WHERE order_id = ANY (%s::uuid[]) ORDER BY order_id FOR NO KEY UPDATE"
_HISTORY = """
SELECT revision, version, status, description, occurred_at, event_id, cause_type, cause_id
FROM order_history WHERE order_id = %s AND (event_id IS NOT NULL OR %s) ORDER BY revision
"""
_FORGET_EXPIRED = """
DELETE FROM idempotency_key AS held USING unnest(%s::text[], %s::text[]) AS asked (scope, key)
WHERE held.scope = asked.scope AND held.key = asked.key AND held.created_at < now() - %s
"""
# In the order of the keys, so that two processes with the same keys wait for each other in one direction only.
_CLAIM = """
INSERT INTO idempotency_key (scope, key, request_hash, order_id, answer, created_at)
SELECT scope, key, request_hash, order_id, answer, now()
FROM unnest(%s::text[], %s::text[], %s::bytea[], %s::uuid[], %s::bytea[])
     WITH ORDINALITY AS asked (scope, key, request_hash, order_id, answer, position)
ORDER BY scope, key, position
ON CONFLICT DO NOTHING RETURNING order_id
"""
_EARLIER = """
SELECT DISTINCT held.scope, held.key, held.request_hash, held.order_id, held.answer
FROM idempotency_key AS held JOIN unnest(%s::text[], %s::text[]) AS asked (scope, key) USING (scope, key)
"""
