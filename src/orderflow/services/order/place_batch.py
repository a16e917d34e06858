"""
New orders, written by the group commit: one statement for each table, whatever the batch's size.

Guarantee: order, history, Idempotency-Key and outbox rows commit together or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import chain

import msgspec

from orderflow.contracts.ids import OrderId
from orderflow.messaging.postgres import Cursor, columns, outbox
from orderflow.messaging.postgres.outbox import OutboxRow
from orderflow.services.order import idempotency, repository
from orderflow.services.order.idempotency import Claim, ClaimedKey, KeyTaken
from orderflow.services.order.model import HistoryEntry, Order, waiting_for


class PlacedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a new order writes, in one transaction."""

    order: Order
    entry: HistoryEntry
    outbox: tuple[OutboxRow, ...]


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """An order to write, and the answer that its client gets once it is committed."""

    placed: PlacedOrder
    answer: bytes
    claim: Claim | None = None

    @property
    def order_id(self) -> OrderId:
        return self.placed.order.order_id


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """The order exists. `repeated`: an earlier request with the same key placed it."""

    order_id: OrderId
    answer: bytes
    repeated: bool = False


def writer(idempotency_hours: int) -> Callable[[Cursor, list[Placement]], list[Written | KeyTaken]]:
    """What the group commit calls with a batch: one answer for each placement, in their order."""
    lifetime = timedelta(hours=idempotency_hours)

    def write(cursor: Cursor, batch: list[Placement]) -> list[Written | KeyTaken]:
        # Keys before orders: only whoever claims a key first may write its order.
        claims = [
            (placement.claim, placement.order_id, placement.answer)
            for placement in batch
            if placement.claim
        ]
        earlier = idempotency.claim(cursor, claims, lifetime=lifetime)

        fresh = [placement.placed for placement in batch if placement.order_id not in earlier]
        if fresh:
            _insert(cursor, fresh)

        return [
            _repeated(placement, earlier[placement.order_id])
            if placement.order_id in earlier
            else Written(order_id=placement.order_id, answer=placement.answer)
            for placement in batch
        ]

    return write


def _repeated(placement: Placement, key: ClaimedKey) -> Written | KeyTaken:
    """The answer to a placement whose key was claimed before: the first one, or a refusal."""
    if placement.claim is None or key.request_hash != placement.claim.request_hash:
        return KeyTaken()
    return Written(order_id=key.order_id, answer=key.answer, repeated=True)


def _insert(cursor: Cursor, batch: list[PlacedOrder]) -> None:
    cursor.execute(_INSERT_ORDERS, columns(_order_row(placed.order) for placed in batch))
    repository.insert_history(cursor, ((placed.order.order_id, placed.entry) for placed in batch))
    outbox.append(cursor, list(chain.from_iterable(placed.outbox for placed in batch)))


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
        order.ship_when_reserved,
        waiting_for(order),
        order.waiting_since,
    )


_INSERT_ORDERS = """
INSERT INTO orders (order_id, customer_id, status, version, revision, payment_attempt,
                    payment_state, payment_id, stock, payment_mode, payment_method, lines,
                    amount_minor, currency, created_at, updated_at, ship_when_reserved,
                    waiting_for, waiting_since)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::int[], %s::int[], %s::smallint[],
                     %s::text[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::jsonb[],
                     %s::bigint[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::bool[],
                     %s::text[], %s::timestamptz[])
"""
