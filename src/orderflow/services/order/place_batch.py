"""
New orders, priced and written by the group commit: one statement for each table, whatever the
batch's size.

Guarantee: order, history, Idempotency-Key and outbox rows commit together or not at all, at prices
that were in force when that transaction read them. A key is looked up before anything of today
(catalogue, prices, defaults) is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from itertools import chain

import msgspec

from orderflow.contracts.ids import OrderId, Sku
from orderflow.messaging.postgres import Cursor, columns, outbox
from orderflow.services.order import idempotency, products, repository
from orderflow.services.order.changes import Encode
from orderflow.services.order.commands import PlacedOrder, PlaceOrder, new_order_id, place_order
from orderflow.services.order.idempotency import Claim, ClaimedKey, KeyTaken
from orderflow.services.order.model import Order, Product, RuleBroken, waiting_for


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """A request for an order, and how its client is answered once the order is committed."""

    command: PlaceOrder
    answer: Callable[[Order], bytes]
    claim: Claim | None = None


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """The order exists. `repeated`: an earlier request with the same key placed it."""

    order_id: OrderId
    answer: bytes
    repeated: bool = False


Outcome = Written | KeyTaken | RuleBroken
"""What became of a placement. A broken rule wrote nothing, and its key is as free as before."""


class _Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A placement at the prices of now. `placed`: what to write, or why nothing is written."""

    order_id: OrderId
    placed: PlacedOrder | RuleBroken
    answer: bytes
    claim: Claim | None


def writer(
    idempotency_hours: int, *, encode: Encode
) -> Callable[[Cursor, list[Placement]], list[Outcome]]:
    """What the group commit calls with a batch: one outcome for each placement, in their order."""
    lifetime = timedelta(hours=idempotency_hours)

    def write(cursor: Cursor, batch: list[Placement]) -> list[Outcome]:
        # In the orders' own transaction: what is charged is what the table says now. Without a
        # lock: a price that changes before this commit is as one that changes after it.
        wanted = {line.sku for placement in batch for line in placement.command.lines}
        catalogue = products.orderable(cursor, wanted)
        drafts = [_draft(placement, catalogue=catalogue, encode=encode) for placement in batch]

        # Keys before orders: only whoever claims a key first may write its order.
        earlier = _claim(cursor, drafts, lifetime=lifetime)
        fresh = [
            draft.placed
            for draft in drafts
            if isinstance(draft.placed, PlacedOrder) and draft.order_id not in earlier
        ]
        if fresh:
            _insert(cursor, fresh)
        return [_outcome(draft, earlier.get(draft.order_id)) for draft in drafts]

    return write


def _draft(placement: Placement, *, catalogue: Mapping[Sku, Product], encode: Encode) -> _Draft:
    try:
        placed = place_order(placement.command, catalogue=catalogue, encode=encode)
    except RuleBroken as broken:
        # Not raised yet: an earlier request with the same key may have been answered long ago.
        return _Draft(order_id=new_order_id(), placed=broken, answer=b"", claim=placement.claim)
    return _Draft(
        order_id=placed.order.order_id,
        placed=placed,
        answer=placement.answer(placed.order),
        claim=placement.claim,
    )


def _claim(
    cursor: Cursor, drafts: Sequence[_Draft], *, lifetime: timedelta
) -> dict[OrderId, ClaimedKey]:
    """
    Claim the keys of drafts; those that earlier requests had claimed, by the draft's order id.

    A draft that breaks a rule claims its key too, which waits for whoever is about to commit the
    same key, and gives it back.
    """
    # Good drafts first: a bad one of the same batch must not take their key.
    keyed = sorted(drafts, key=lambda draft: isinstance(draft.placed, RuleBroken))
    earlier = idempotency.claim(
        cursor,
        [(draft.claim, draft.order_id, draft.answer) for draft in keyed if draft.claim],
        lifetime=lifetime,
    )

    idempotency.give_back(
        cursor,
        [
            draft.claim
            for draft in drafts
            if draft.claim
            and isinstance(draft.placed, RuleBroken)
            and draft.order_id not in earlier
        ],
    )
    # Given back: whoever lost a key to a broken draft of this batch lost it to nobody.
    broken = {draft.order_id for draft in drafts if isinstance(draft.placed, RuleBroken)}
    return {order_id: key for order_id, key in earlier.items() if key.order_id not in broken}


def _outcome(draft: _Draft, earlier: ClaimedKey | None) -> Outcome:
    """An earlier request with the key decides; a rule of today is asked only without one."""
    if earlier is not None:
        # The key is there, so is the claim that asked for it.
        same = draft.claim is not None and earlier.request_hash == draft.claim.request_hash
        return (
            Written(order_id=earlier.order_id, answer=earlier.answer, repeated=True)
            if same
            else KeyTaken()
        )
    if isinstance(draft.placed, RuleBroken):
        return draft.placed
    return Written(order_id=draft.order_id, answer=draft.answer)


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
        order.traceparent,
    )


_INSERT_ORDERS = """
INSERT INTO orders (order_id, customer_id, status, version, revision, payment_attempt,
                    payment_state, payment_id, stock, payment_mode, payment_method, lines,
                    amount_minor, currency, created_at, updated_at, ship_when_reserved,
                    waiting_for, waiting_since, traceparent)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::int[], %s::int[], %s::smallint[],
                     %s::text[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::jsonb[],
                     %s::bigint[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::bool[],
                     %s::text[], %s::timestamptz[], %s::text[])
"""
