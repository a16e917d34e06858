"""
New orders, priced and written by the group commit: one statement, whatever the batch's size.

Guarantee: order, history, Idempotency-Key and outbox rows commit together or not at all, at prices
that were in force when that transaction read them. A key is looked up before anything of today
(catalogue, prices, defaults) is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import msgspec

from orderflow.contracts.ids import OrderId, Sku
from orderflow.messaging.postgres import Cursor
from orderflow.services.order import idempotency, new_orders
from orderflow.services.order.changes import Encode
from orderflow.services.order.commands import PlacedOrder, PlaceOrder, new_order_id, place_order
from orderflow.services.order.idempotency import Claim, ClaimedKey, KeyTaken
from orderflow.services.order.known_products import KnownProducts
from orderflow.services.order.model import Order, Product, RuleBroken


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
    """
    What the group commit calls with a batch: one outcome for each placement, in their order.

    One round trip if the products are known and cost what they did, no key is held, and no request
    that breaks a rule has a key; else a transaction that reads before it writes.
    """
    lifetime = timedelta(hours=idempotency_hours)
    known = KnownProducts()

    def write(cursor: Cursor, batch: list[Placement]) -> list[Outcome]:
        wanted = {line.sku for placement in batch for line in placement.command.lines}
        catalogue = known.find(wanted)
        if catalogue is not None:
            drafts = [_draft(placement, catalogue=catalogue, encode=encode) for placement in batch]
            if _write_at_once(cursor, drafts, catalogue=catalogue):
                return [_outcome(draft, None) for draft in drafts]

        with cursor.connection.transaction():
            # In the orders' own transaction: what is charged is what the table says now. Without a
            # lock: a price that changes before this commit is as one that changes after it.
            catalogue = known.read(cursor, wanted)
            drafts = [_draft(placement, catalogue=catalogue, encode=encode) for placement in batch]
            return _write_after_claims(cursor, drafts, lifetime=lifetime)

    return write


def _write_at_once(
    cursor: Cursor, drafts: Sequence[_Draft], *, catalogue: Mapping[Sku, Product]
) -> bool:
    """
    Write what was judged by this catalogue. False, and nothing is written, if the table has other
    prices, or if the keys need more than one look.
    """
    placed = [draft.placed for draft in drafts if isinstance(draft.placed, PlacedOrder)]
    keyed = [(draft.claim.scope, draft.claim.key) for draft in drafts if draft.claim]
    keys = [
        (draft.claim, draft.order_id, draft.answer)
        for draft in drafts
        if draft.claim and isinstance(draft.placed, PlacedOrder)
    ]

    # Each request that has a key is good, and is the only one with it.
    if not placed or not len(keys) == len(keyed) == len({*keyed}):
        return False
    return new_orders.write(cursor, placed, judged_by=catalogue, keys=keys)


def _write_after_claims(
    cursor: Cursor, drafts: Sequence[_Draft], *, lifetime: timedelta
) -> list[Outcome]:
    # Keys before orders: only whoever claims a key first may write its order.
    earlier = _claim(cursor, drafts, lifetime=lifetime)
    fresh = [
        draft.placed
        for draft in drafts
        if isinstance(draft.placed, PlacedOrder) and draft.order_id not in earlier
    ]

    if fresh:
        new_orders.write(cursor, fresh, judged_by={})
    return [_outcome(draft, earlier.get(draft.order_id)) for draft in drafts]


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
