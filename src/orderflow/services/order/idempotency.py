"""
Idempotency keys, written in the transaction of what they caused: a failed attempt burns none, and no row outlives a
crash half-done.

The answer of a command that has to be waited for comes later: until it is settled, a repeat waits for it too, and
whoever settles it first decides what everybody gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from orderflow.contracts.ids import OrderId
from orderflow.messaging.errors import Transient
from orderflow.messaging.postgres import Cursor


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """An Idempotency-Key, and the hash of what was asked with it. `scope` is the route, ids in it included."""

    scope: str
    key: str
    request_hash: bytes


class KeyTaken(msgspec.Struct, frozen=True):
    """The key stands for another request."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a key stands for. `settled`: `answer` is the one that everybody gets, for good."""

    request_hash: bytes
    order_id: OrderId
    answer: bytes
    settled: bool


Asked = tuple[Claim, OrderId, bytes]
"""A key, the order that it is to stand for, and the answer."""


def claim(
    cursor: Cursor, asked: Sequence[Asked], *, lifetime: timedelta, settled: bool = True
) -> dict[OrderId, Held]:
    """Claim keys; what is returned is held already, by the order that was asked for with it. An order claims once."""
    if not asked:
        return {}
    claims = [one for one, _, _ in asked]
    scopes, keys = [one.scope for one in claims], [one.key for one in claims]
    cursor.execute(_FORGET_EXPIRED, (scopes, keys, lifetime))
    hashes, orders, answers = (
        [one.request_hash for one in claims],
        [one[1] for one in asked],
        [one[2] for one in asked],
    )
    cursor.execute(_CLAIM, (scopes, keys, hashes, orders, answers, settled))
    won = {OrderId(str(order_id)) for (order_id,) in cursor}
    lost = [(one, order_id) for one, order_id, _ in asked if order_id not in won]
    if not lost:
        return {}
    earlier = _held(cursor, scopes, keys)
    if any((one.scope, one.key) not in earlier for one, _ in lost):
        raise Transient("an Idempotency-Key expired while it was looked up", resource="database")
    return {order_id: earlier[one.scope, one.key] for one, order_id in lost}


def settle(cursor: Cursor, claimed: Claim, answer: bytes) -> bytes:
    """The answer of a claimed key: this one, if nobody settled it before."""
    cursor.execute(_SETTLE, (answer, claimed.scope, claimed.key))
    if cursor.rowcount:
        return answer
    found = _held(cursor, [claimed.scope], [claimed.key]).get((claimed.scope, claimed.key))
    return answer if found is None else found.answer


def purge(cursor: Cursor, *, lifetime: timedelta) -> None:
    """Forget keys that have expired; they are ignored already."""
    cursor.execute("DELETE FROM idempotency_key WHERE created_at < now() - %s", (lifetime,))


def _held(cursor: Cursor, scopes: list[str], keys: list[str]) -> dict[tuple[str, str], Held]:
    cursor.execute(_EARLIER, (scopes, keys))
    return {
        (scope, key): Held(
            request_hash=bytes(request_hash),
            order_id=OrderId(str(order_id)),
            answer=bytes(answer),
            settled=settled,
        )
        for scope, key, request_hash, order_id, answer, settled in cursor
    }


_FORGET_EXPIRED = """
DELETE FROM idempotency_key AS held USING unnest(%s::text[], %s::text[]) AS asked (scope, key)
WHERE held.scope = asked.scope AND held.key = asked.key AND held.created_at < now() - %s
"""
# In the order of the keys, so that two processes with the same keys wait for each other in one direction only.
_CLAIM = """
INSERT INTO idempotency_key (scope, key, request_hash, order_id, answer, created_at, settled)
SELECT asked.scope, asked.key, asked.request_hash, asked.order_id, asked.answer, now(), told.settled
FROM unnest(%s::text[], %s::text[], %s::bytea[], %s::uuid[], %s::bytea[])
     WITH ORDINALITY AS asked (scope, key, request_hash, order_id, answer, position),
     (VALUES (%s::boolean)) AS told (settled)
ORDER BY asked.scope, asked.key, asked.position
ON CONFLICT DO NOTHING RETURNING order_id
"""
_EARLIER = """
SELECT DISTINCT held.scope, held.key, held.request_hash, held.order_id, held.answer, held.settled
FROM idempotency_key AS held JOIN unnest(%s::text[], %s::text[]) AS asked (scope, key) USING (scope, key)
"""
_SETTLE = "UPDATE idempotency_key SET answer = %s, settled = true WHERE scope = %s AND key = %s AND NOT settled"
