"""
Idempotency keys, written in the transaction of what they caused.

Guarantee: a request that fails burns no key, and no crash leaves a key without its effect. The
answer of a command that a client waits for is known later: until the key is settled, a repeated
request waits too, and the first request that settles it decides what all of them get.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from orderflow.contracts.ids import CustomerId, OrderId
from orderflow.messaging.errors import Transient
from orderflow.messaging.postgres import RESOURCE, Cursor, array

PURGE_ROWS_MAX = 10_000


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """An Idempotency-Key and the hash of its request. `scope`: see `scope_of`."""

    scope: str
    key: str
    request_hash: bytes


class KeyTaken(msgspec.Struct, frozen=True):
    """The key belongs to another request."""


class ClaimedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as a request claimed it. `settled`: `answer` is final, the same for every request."""

    request_hash: bytes
    order_id: OrderId
    answer: bytes
    settled: bool


KeyRequest = tuple[Claim, OrderId, bytes]
"""A key, the order to claim it for, and the answer to store."""


def scope_of(command: str, subject: OrderId | CustomerId) -> str:
    """
    Within what a key is one attempt: a command, and the order that it is about; for a new order the
    customer, since two of them may choose the same key.

    Not the path, which has several spellings. Once clients are authenticated, the principal takes
    the customer's place.
    """
    return f"{command}/{subject}"


def claim(
    cursor: Cursor, requests: Sequence[KeyRequest], *, lifetime: timedelta, settled: bool = True
) -> dict[OrderId, ClaimedKey]:
    """
    Claim keys, at most one for each order; returns those that an earlier request had claimed.

    The result is by the order that now asked for the key. Raises Transient if such a key expired
    between two statements.
    """
    if not requests:
        return {}
    scopes = [key.scope for key, _, _ in requests]
    keys = [key.key for key, _, _ in requests]

    # An expired key must go first: it would win the conflict below.
    cursor.execute(_DELETE_EXPIRED, (scopes, keys, lifetime))
    cursor.execute(_CLAIM, (settled, *arguments(requests)))
    won = {OrderId(str(order_id)) for (order_id,) in cursor}

    lost = [
        ((key.scope, key.key), order_id) for key, order_id, _ in requests if order_id not in won
    ]
    if not lost:
        return {}
    earlier = _claimed(cursor, scopes=scopes, keys=keys)
    if any(scope_and_key not in earlier for scope_and_key, _ in lost):
        raise Transient("an Idempotency-Key expired while it was looked up", resource=RESOURCE)
    return {order_id: earlier[scope_and_key] for scope_and_key, order_id in lost}


def arguments(requests: Sequence[KeyRequest]) -> list[str]:
    """The keys as `REQUESTED` reads them."""
    return [
        array([claim.scope for claim, _, _ in requests]),
        array([claim.key for claim, _, _ in requests]),
        array([claim.request_hash for claim, _, _ in requests]),
        array([order_id for _, order_id, _ in requests]),
        array([answer for _, _, answer in requests]),
    ]


def give_back(cursor: Cursor, claims: Sequence[Claim]) -> None:
    """Delete keys that this transaction has claimed: nothing came of their requests."""
    if claims:
        scopes, keys = [claim.scope for claim in claims], [claim.key for claim in claims]
        cursor.execute(_GIVE_BACK, (scopes, keys))


def settle(cursor: Cursor, claimed: Claim, *, answer: bytes) -> bytes:
    """Store the final answer of a claimed key, and return it: an earlier one, if there is one."""
    cursor.execute(_SETTLE, (answer, claimed.scope, claimed.key))
    if cursor.rowcount:
        return answer

    # No row was unsettled: another request was faster, or the key has expired.
    key = _claimed(cursor, scopes=[claimed.scope], keys=[claimed.key]).get(
        (claimed.scope, claimed.key)
    )
    return answer if key is None else key.answer


def purge(cursor: Cursor, *, lifetime: timedelta) -> int:
    """
    Delete expired keys, the oldest first, at most 10,000; how many. `claim` ignores them already.

    Reads no key that is to stay, however many there are.
    """
    cursor.execute(_PURGE, (lifetime, PURGE_ROWS_MAX))
    return cursor.rowcount


def _claimed(
    cursor: Cursor, *, scopes: list[str], keys: list[str]
) -> dict[tuple[str, str], ClaimedKey]:
    cursor.execute(_SELECT, (scopes, keys))
    return {
        (scope, key): ClaimedKey(
            request_hash=bytes(request_hash),
            order_id=OrderId(str(order_id)),
            answer=bytes(answer),
            settled=settled,
        )
        for scope, key, request_hash, order_id, answer, settled in cursor
    }


_GIVE_BACK = """
DELETE FROM idempotency_key AS claimed
USING unnest(%s::text[], %s::text[]) AS requested (scope, key)
WHERE claimed.scope = requested.scope AND claimed.key = requested.key
"""
_DELETE_EXPIRED = """
DELETE FROM idempotency_key AS claimed
USING unnest(%s::text[], %s::text[]) AS requested (scope, key)
WHERE claimed.scope = requested.scope AND claimed.key = requested.key
      AND claimed.created_at < now() - %s
"""
REQUESTED = """
unnest(%s::text[], %s::text[], %s::bytea[], %s::uuid[], %s::bytea[])
    WITH ORDINALITY AS requested (scope, key, request_hash, order_id, answer, position)
"""
INSERT = """
INSERT INTO idempotency_key (scope, key, request_hash, order_id, answer, created_at, settled)
"""
# In the order of the keys: two processes with the same keys wait for each other in one direction.
IN_ORDER = "ORDER BY requested.scope, requested.key, requested.position"
_CLAIM = f"""
{INSERT}
SELECT scope, key, request_hash, order_id, answer, now(), %s FROM {REQUESTED}
{IN_ORDER} ON CONFLICT DO NOTHING RETURNING order_id
"""  # noqa: S608 - the parts are constants
_SELECT = """
SELECT DISTINCT claimed.scope, claimed.key, claimed.request_hash, claimed.order_id, claimed.answer,
                claimed.settled
FROM idempotency_key AS claimed
     JOIN unnest(%s::text[], %s::text[]) AS requested (scope, key) USING (scope, key)
"""
_SETTLE = """
UPDATE idempotency_key SET answer = %s, settled = true
WHERE scope = %s AND key = %s AND NOT settled
"""
_PURGE = """
DELETE FROM idempotency_key WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency_key WHERE created_at < now() - %s ORDER BY created_at LIMIT %s
))
"""
