"""
Deliveries and customers in PostgreSQL.

A customer's row is the lock of everything that is counted or ordered for that customer. Whoever notes a delivery holds
it from before the delivery gets its position until the commit, so positions are in the order of commits; whoever
settles one holds it as well. Everybody takes these locks by key, and no other lock before them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import groupby
from uuid import UUID

import msgspec

from orderflow.contracts.events import NotificationFailed
from orderflow.contracts.ids import CustomerId, NotificationId, OrderId
from orderflow.messaging.event import EventId
from orderflow.messaging.postgres import Cursor, array, columns
from orderflow.services.notification.model import (
    CHANNEL,
    Kind,
    Letter,
    Numbered,
    Round,
    State,
    rest_s,
)


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What is noted: the message, and the event that it tells of."""

    notification_id: NotificationId
    customer_id: CustomerId
    order_id: OrderId
    kind: Kind
    subject: str
    text: str
    cause_id: EventId
    cause_type: str
    correlation_id: str
    traceparent: str | None
    tracestate: str | None


class Known(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A delivery as it is now. `reason`: the channel's last words, of one that failed or must wait."""

    notification_id: str
    customer_id: str
    order_id: str
    kind: Kind
    channel: str
    state: State
    sequence: int | None
    attempts: int
    reason: str | None
    subject: str
    cause_id: str
    cause_type: str
    created_at: datetime
    occurred_at: datetime | None


def note(cursor: Cursor, deliveries: Sequence[Delivery]) -> None:
    """Add what is not there yet, in this order, and say that these customers are due: two statements."""
    if not deliveries:
        return
    cursor.execute(_DUE, (array(sorted({one.customer_id for one in deliveries})),))
    cursor.execute(_NOTE, (CHANNEL, *columns(msgspec.structs.astuple(one) for one in deliveries)))


def take_over(cursor: Cursor, worker: str) -> int:
    """A worker that starts anew goes on with the customers of the one before it at once; how many."""
    cursor.execute(
        "UPDATE customer SET due_at = now(), leased_by = NULL WHERE leased_by = %s", (worker,)
    )
    return cursor.rowcount


def claim(
    cursor: Cursor, worker: str, *, customers_max: int, letters_max: int, lease_s: float
) -> list[tuple[CustomerId, list[Letter]]]:
    """
    Lease the customers that are longest due, with the first of their pending letters.

    Two statements: the second sees what was settled until the lease began.
    """
    cursor.execute(_CLAIM, (customers_max, lease_s, worker))
    claimed = [customer_id for (customer_id,) in cursor]
    if not claimed:
        return []
    cursor.execute(_LETTERS, (array(claimed), letters_max))
    letters = {
        customer_id: list(found)
        for customer_id, found in groupby(
            (_letter(*row) for row in cursor), key=lambda letter: letter.customer_id
        )
    }
    return [(customer_id, letters.get(customer_id, [])) for customer_id in claimed]


def lock_sequences(cursor: Cursor, customer_ids: Collection[CustomerId]) -> dict[CustomerId, int]:
    """The last number of each of these customers, kept from others until the end of the transaction."""
    cursor.execute(_LOCK, (array(sorted(customer_ids)),))
    return dict(cursor.fetchall())


def pending(cursor: Cursor, ids: Collection[NotificationId]) -> set[NotificationId]:
    """Which of these are not settled. It stays true while their customers are locked."""
    if not ids:
        return set()
    cursor.execute(_PENDING, (array(sorted(ids)),))
    return {NotificationId(str(one)) for (one,) in cursor}


def settle(cursor: Cursor, numbered: Sequence[Numbered]) -> None:
    if numbered:
        cursor.execute(_SETTLE, columns(_settled_row(one) for one in numbered))


def give_back(
    cursor: Cursor,
    rounds: Sequence[Round],
    numbered: Sequence[Numbered],
    *,
    worker: str,
    back_off_s_max: float,
) -> None:
    """Customers' numbers as they are now, and their leases, as far as they are still this worker's."""
    held = [one.held for one in rounds if one.held is not None]
    if held:
        cursor.execute(_HOLD, columns((one.letter.notification_id, one.reason) for one in held))
    last = {one.letter.customer_id: one.event.sequence for one in numbered}
    rows = [
        (one.customer_id, last.get(one.customer_id), rest_s(one, most=back_off_s_max))
        for one in rounds
    ]
    cursor.execute(_GIVE_BACK, (worker, *columns(rows)))


def waiting(cursor: Cursor) -> int:
    """How many customers rest because the channel did not take something of theirs yet."""
    cursor.execute("SELECT count(*) FROM customer WHERE due_at > now() AND leased_by IS NULL")
    row = cursor.fetchone()
    return int(row[0]) if row else 0


def page(
    cursor: Cursor, *, order_id: str, customer_id: str, after: int, limit: int
) -> list[tuple[int, Known]]:
    """Up to `limit` deliveries of an order or of a customer behind position `after`, with theirs."""
    column, value = ("order_id", order_id) if order_id else ("customer_id", customer_id)
    cursor.execute(_PAGES[column], (value, after, limit))
    return [(position, _known(*row)) for position, *row in cursor]


def _settled_row(one: Numbered) -> tuple[object, ...]:
    event = one.event
    state, reason = (
        (State.FAILED, event.reason)
        if isinstance(event, NotificationFailed)
        else (State.SENT, None)
    )
    return (
        one.letter.notification_id,
        state.value,
        event.sequence,
        one.letter.attempts + 1,
        reason,
        event.occurred_at,
    )


def _letter(
    notification_id: UUID,
    customer_id: CustomerId,
    order_id: OrderId,
    kind: str,
    subject: str,
    text: str,
    *rest: object,
) -> Letter:
    names = (
        "noted_at",
        "cause_id",
        "cause_type",
        "correlation_id",
        "traceparent",
        "tracestate",
        "attempts",
    )
    return msgspec.convert(
        {
            "notification_id": str(notification_id),
            "customer_id": customer_id,
            "order_id": order_id,
            "kind": kind,
            "subject": subject,
            "text": text,
            **dict(zip(names, rest, strict=True)),
        },
        Letter,
    )


def _known(*row: object) -> Known:
    return msgspec.convert(dict(zip(Known.__struct_encode_fields__, row, strict=True)), Known)


_DUE = """
INSERT INTO customer (customer_id, due_at) SELECT customer_id, now() FROM unnest(%s::text[]) AS told (customer_id)
ON CONFLICT (customer_id) DO UPDATE SET due_at = coalesce(customer.due_at, excluded.due_at)
"""
_NOTE = """
INSERT INTO delivery (channel, notification_id, customer_id, order_id, kind, subject, text, cause_id, cause_type,
                      correlation_id, traceparent, tracestate)
SELECT %s, noted.* FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::uuid[],
                               %s::text[], %s::text[], %s::text[], %s::text[]) AS noted
ON CONFLICT DO NOTHING
"""
_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT customer_id FROM customer WHERE due_at <= now() ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
)
UPDATE customer SET due_at = now() + %s * interval '1 second', leased_by = %s
FROM due WHERE customer.customer_id = due.customer_id
RETURNING customer.customer_id
"""
_LETTERS = """
SELECT letter.* FROM unnest(%s::text[]) AS claimed (customer_id) CROSS JOIN LATERAL (
    SELECT notification_id, customer_id, order_id, kind, subject, text, created_at, cause_id, cause_type,
           correlation_id, traceparent, tracestate, attempts
    FROM delivery WHERE delivery.customer_id = claimed.customer_id AND state = 'PENDING' ORDER BY position LIMIT %s
) AS letter
"""
_LOCK = """
SELECT customer_id, sequence FROM customer WHERE customer_id = ANY(%s::text[]) ORDER BY customer_id FOR UPDATE
"""
_PENDING = """
SELECT notification_id FROM delivery WHERE notification_id = ANY(%s::uuid[]) AND state = 'PENDING'
"""
_SETTLE = """
UPDATE delivery SET state = settled.state, sequence = settled.sequence, attempts = settled.attempts,
                    reason = settled.reason, occurred_at = settled.occurred_at
FROM unnest(%s::uuid[], %s::text[], %s::bigint[], %s::int[], %s::text[], %s::timestamptz[])
     AS settled (notification_id, state, sequence, attempts, reason, occurred_at)
WHERE delivery.notification_id = settled.notification_id
"""
_HOLD = """
UPDATE delivery SET attempts = delivery.attempts + 1, reason = held.reason
FROM unnest(%s::uuid[], %s::text[]) AS held (notification_id, reason)
WHERE delivery.notification_id = held.notification_id AND state = 'PENDING'
"""
_GIVE_BACK = """
WITH given AS (
    SELECT customer.customer_id, coalesce(back.sequence, customer.sequence) AS sequence,
           coalesce(leased_by = %s, false) AS is_ours,
           CASE WHEN EXISTS (SELECT FROM delivery
                             WHERE delivery.customer_id = customer.customer_id AND state = 'PENDING')
                THEN now() + back.rest_s * interval '1 second' END AS due_at
    FROM unnest(%s::text[], %s::bigint[], %s::float8[]) AS back (customer_id, sequence, rest_s)
    JOIN customer USING (customer_id)
)
UPDATE customer SET sequence = given.sequence,
                    due_at = CASE WHEN is_ours THEN given.due_at ELSE customer.due_at END,
                    leased_by = CASE WHEN is_ours THEN NULL ELSE leased_by END
FROM given WHERE customer.customer_id = given.customer_id
"""
_PAGES = {
    column: f"""
SELECT position, notification_id::text, customer_id, order_id, kind, channel, state, sequence, attempts, reason,
       subject, cause_id::text, cause_type, created_at, occurred_at
FROM delivery WHERE {column} = %s AND position > %s ORDER BY position LIMIT %s
"""  # noqa: S608 - one of two columns
    for column in ("order_id", "customer_id")
}
