"""
Notifications (table `delivery`) and customers in PostgreSQL.

A customer's row is the lock of everything that is ordered or counted for that customer. Who adds a
notification holds the lock from before the notification gets its position until the commit, so
positions are in the order of commits; who settles a notification holds it as well. Every worker
takes these locks by key, and takes no other lock before them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from orderflow.contracts.events import NotificationFailed
from orderflow.contracts.ids import CustomerId, NotificationId, OrderId
from orderflow.messaging.event import EventId
from orderflow.messaging.postgres import Cursor, array, columns
from orderflow.services.notification.model import (
    CHANNEL,
    Deferred,
    Kind,
    Letter,
    NotificationState,
    NumberedLetter,
    SendResult,
    Standing,
    rest_s,
)
from orderflow.services.notification.story import Fact, Telling, tell

COUNT_MAX = 100_000
"""Whoever has more mails to send than that need not know how many more."""

POSITION_MAX = 2**63 - 1

SELDOM = (NotificationState.HELD, NotificationState.OVERTAKEN, NotificationState.FAILED)
"""States that few notifications are in: those have an index of their own."""

_REASONS = {
    NotificationState.HELD: "what happened before it is not known yet",
    NotificationState.OVERTAKEN: "a later fact of the order, or this one, was told before",
}


class NewNotification(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A notification before it is stored, with what its event needs of the event that caused it."""

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
    rank: int
    follows: Kind | None

    @property
    def fact(self) -> Fact:
        """Its place in the story of its order, before anything is decided about it."""
        return Fact(
            notification_id=self.notification_id,
            kind=self.kind,
            rank=self.rank,
            follows=self.follows,
            state=NotificationState.HELD,
        )


class HeldNotification(msgspec.Struct, frozen=True, kw_only=True):
    """A notification that waits for what it follows. `since`: when it was stored."""

    notification_id: NotificationId
    customer_id: CustomerId
    order_id: OrderId
    since: datetime


class StoredNotification(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    A notification as it is now. `reason`: why it failed, was deferred last, is held or overtaken.
    """

    notification_id: str
    customer_id: str
    order_id: str
    kind: Kind
    channel: str
    state: NotificationState
    sequence: int | None
    attempts: int
    reason: str | None
    subject: str
    cause_id: str
    cause_type: str
    created_at: datetime
    occurred_at: datetime | None


def add(cursor: Cursor, notifications: Sequence[NewNotification]) -> None:
    """
    Store notifications that are not there yet, and mark their customers due.

    Those of one order become PENDING in the order of its story, together with those that were held
    for them.
    """
    if not notifications:
        return

    # Customers first: this takes their locks. So no other worker adds a fact to these orders until
    # the commit, and only then do the notifications get positions.
    customers = {notification.customer_id for notification in notifications}
    cursor.execute(_MARK_DUE, (array(sorted(customers)),))
    known = _facts(cursor, {notification.order_id for notification in notifications})

    added: list[tuple[object, ...]] = []
    moves: list[Move] = []
    for order_id, group in _by_order(notifications).items():
        states, order_moves = _decided(order_id, known.get(order_id, []), group)
        moves += order_moves
        added += (
            (*msgspec.structs.astuple(group[each]), state.value, _REASONS.get(state))
            for each, state in states.items()
        )

    if added:
        cursor.execute(_ADD, (CHANNEL, *columns(added)))
    _move(cursor, moves)


def held(cursor: Cursor, *, before: datetime, limit: int) -> list[HeldNotification]:
    """Notifications that are held since `before` or longer, the oldest first."""
    cursor.execute(_HELD, (before, limit))
    return [
        HeldNotification(
            notification_id=NotificationId(notification_id),
            customer_id=customer_id,
            order_id=order_id,
            since=since,
        )
        for notification_id, customer_id, order_id, since in cursor
    ]


def count_held(cursor: Cursor) -> int:
    cursor.execute("SELECT count(*) FROM delivery WHERE held_since IS NOT NULL")
    row = cursor.fetchone()
    return int(row[0]) if row else 0


def release_held(cursor: Cursor, notifications: Sequence[HeldNotification]) -> int:
    """
    Let these be told though what they follow is not known; returns how many are now PENDING.

    One that was released or told meanwhile stays as it is.
    """
    customers = {notification.customer_id for notification in notifications}
    cursor.execute(_MARK_DUE, (array(sorted(customers)),))
    known = _facts(cursor, {notification.order_id for notification in notifications})

    released = {notification.notification_id for notification in notifications}
    moves = [
        move
        for order_id, facts in known.items()
        for move in _moves(order_id, tell(facts, released=released))
    ]
    _move(cursor, moves)
    return sum(state == NotificationState.PENDING for _, _, state, _ in moves)


Move = tuple[OrderId, NotificationId, str, str | None]
"""A notification that is stored, under its order, its new state, and the reason of it."""


def _by_order(
    notifications: Sequence[NewNotification],
) -> dict[OrderId, dict[NotificationId, NewNotification]]:
    grouped: dict[OrderId, dict[NotificationId, NewNotification]] = {}
    for notification in notifications:
        group = grouped.setdefault(notification.order_id, {})
        group[notification.notification_id] = notification
    return grouped


def _decided(
    order_id: OrderId, known: Sequence[Fact], group: Mapping[NotificationId, NewNotification]
) -> tuple[dict[NotificationId, NotificationState], list[Move]]:
    """
    What becomes of the new notifications of one order: the state that each is stored in, in the
    order of storing; then the moves of those that get their position after that.
    """
    stored = {fact.notification_id for fact in known}
    new = [entry.fact for each, entry in group.items() if each not in stored]
    telling = tell([*known, *new])
    is_new = {fact.notification_id for fact in new}

    # A new one that comes after a held one gets its position with it, or it would overtake it.
    in_order = is_new.issuperset(telling.pending)
    states = dict.fromkeys(
        telling.pending, NotificationState.PENDING if in_order else NotificationState.HELD
    )
    states |= dict.fromkeys(telling.held, NotificationState.HELD)
    states |= dict.fromkeys(telling.overtaken, NotificationState.OVERTAKEN)

    moves = [
        move
        for move in _moves(order_id, telling)
        if move[1] not in is_new or (move[1] in telling.pending and not in_order)
    ]
    return {each: state for each, state in states.items() if each in is_new}, moves


def _moves(order_id: OrderId, telling: Telling) -> list[Move]:
    pending, overtaken = NotificationState.PENDING.value, NotificationState.OVERTAKEN.value
    reason = _REASONS[NotificationState.OVERTAKEN]
    return [
        *((order_id, each, pending, None) for each in telling.pending),
        *((order_id, each, overtaken, reason) for each in telling.overtaken),
    ]


def _move(cursor: Cursor, moves: Sequence[Move]) -> None:
    if moves:
        cursor.execute(_MOVE, columns(moves))


def _facts(cursor: Cursor, order_ids: Collection[OrderId]) -> dict[OrderId, list[Fact]]:
    """All that is stored of these orders. True while their customers are locked."""
    cursor.execute(_FACTS, (array(sorted(order_ids)),))

    facts: dict[OrderId, list[Fact]] = {}
    for order_id, notification_id, kind, rank, follows, state in cursor:
        fact = Fact(
            notification_id=NotificationId(notification_id),
            kind=Kind(kind),
            rank=rank,
            follows=None if follows is None else Kind(follows),
            state=NotificationState(state),
        )
        facts.setdefault(order_id, []).append(fact)
    return facts


def take_over(cursor: Cursor, worker: str) -> int:
    """End the leases of `worker`, so that their customers are due now; return how many."""
    cursor.execute(_TAKE_OVER, (worker,))
    return cursor.rowcount


def lease(
    cursor: Cursor, worker: str, *, customers_max: int, letters_max: int, lease_s: float
) -> list[tuple[CustomerId, list[Letter]]]:
    """Lease the customers that are longest due, with the first of their pending letters."""
    cursor.execute(_LEASE, (customers_max, lease_s, worker, letters_max))

    leased: dict[CustomerId, list[Letter]] = {}
    for customer_id, notification_id, *row in cursor:
        letters = leased.setdefault(customer_id, [])
        if notification_id is not None:
            letters.append(_letter(customer_id, notification_id, *row))
    return list(leased.items())


def lock(cursor: Cursor, customer_ids: Collection[CustomerId]) -> dict[CustomerId, Standing]:
    """Lock these customers until the transaction ends; return how far each is."""
    cursor.execute(_LOCK, (array(sorted(customer_ids)),))
    return {
        customer_id: Standing(sequence=sequence, position=position)
        for customer_id, sequence, position in cursor
    }


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """
    Results, the letters that get their outcome and number by them, and how far the customers were
    and are then. True while the customers are locked.
    """

    results: Sequence[SendResult]
    numbered: Sequence[NumberedLetter]
    before: Mapping[CustomerId, Standing]
    after: Mapping[CustomerId, Standing]


def settle(cursor: Cursor, settlement: Settlement, *, worker: str, back_off_s_max: float) -> None:
    """
    Write outcomes and numbers, what was deferred and how far the customers are, and end the leases.

    Only a lease that is still `worker`'s is ended: another worker may have leased the customer
    since this one's lease ran out.
    """
    before, after = settlement.before, settlement.after
    letters = [_outcome_row(entry) for entry in settlement.numbered]
    customers: dict[CustomerId, tuple[object, ...]] = {}
    for result in settlement.results:
        customer_id, deferred = result.customer_id, result.deferred
        standing = after[customer_id]
        if deferred is not None and deferred.letter.position > standing.position:
            letters.append(_deferred_row(deferred))
        customers[customer_id] = (
            customer_id,
            before[customer_id].sequence,
            standing.sequence,
            standing.position,
            rest_s(result, most=back_off_s_max),
        )

    arguments = (*_columns(letters, _OUTCOME_COLUMNS), worker, worker, *columns(customers.values()))
    cursor.execute(_SETTLE, arguments)


def waiting(cursor: Cursor) -> int:
    """How many customers rest because a letter of theirs was deferred."""
    cursor.execute("SELECT count(*) FROM customer WHERE due_at > now() AND leased_by IS NULL")
    row = cursor.fetchone()
    return int(row[0]) if row else 0


def count_pending(cursor: Cursor) -> tuple[int, float]:
    """How many mails wait to be sent, at most `COUNT_MAX`, and the oldest's age in seconds."""
    cursor.execute(_COUNT_PENDING, (COUNT_MAX,))
    row = cursor.fetchone()
    assert row is not None
    return row[0], float(row[1])


def page(
    cursor: Cursor,
    *,
    order_id: str,
    customer_id: str,
    state: NotificationState | None,
    after: int,
    limit: int,
) -> list[tuple[int, StoredNotification]]:
    """
    Up to `limit` notifications of an order or a customer after a position, with theirs; in one
    state, or in any.
    """
    column, value = ("order_id", order_id) if order_id else ("customer_id", customer_id)
    states = array([each.value for each in ([state] if state else NotificationState)])
    cursor.execute(_PAGES[column], (value, after, states, limit))
    return [(position, _stored(*row)) for position, *row in cursor]


def newest(
    cursor: Cursor, *, state: NotificationState, before: int | None, limit: int
) -> list[tuple[int, StoredNotification]]:
    """
    Up to `limit` notifications in a state before a position, the newest first, with their
    positions. `state`: one that few are in, see `SELDOM`, or PENDING.
    """
    before = POSITION_MAX if before is None else before
    if state is NotificationState.PENDING:
        cursor.execute(_NEWEST_PENDING, (before, limit, limit))
    else:
        cursor.execute(_NEWEST_SELDOM, (state.value, before, limit))
    return [(position, _stored(*row)) for position, *row in cursor]


def _outcome_row(numbered: NumberedLetter) -> tuple[object, ...]:
    letter, event = numbered.letter, numbered.event
    state, reason = NotificationState.SENT, None
    if isinstance(event, NotificationFailed):
        state, reason = NotificationState.FAILED, event.reason

    return (
        letter.order_id,
        letter.notification_id,
        state.value,
        event.sequence,
        letter.attempts + 1,
        reason,
        event.occurred_at,
    )


def _deferred_row(deferred: Deferred) -> tuple[object, ...]:
    letter = deferred.letter
    pending = NotificationState.PENDING.value
    return (
        letter.order_id,
        letter.notification_id,
        pending,
        None,
        letter.attempts + 1,
        deferred.reason,
        None,
    )


def _columns(rows: Sequence[Sequence[object]], count: int) -> list[str]:
    """As `columns`, of rows that there may be none of."""
    return columns(rows) if rows else ["{}"] * count


def _letter(  # noqa: PLR0913, PLR0917 - a row has as many columns as it has
    customer_id: CustomerId,
    notification_id: NotificationId,
    order_id: OrderId,
    kind: str,
    subject: str,
    text: str,
    created_at: datetime,
    cause_id: EventId,
    cause_type: str,
    correlation_id: str,
    traceparent: str | None,
    tracestate: str | None,
    attempts: int,
    position: int,
) -> Letter:
    return Letter(
        position=position,
        notification_id=notification_id,
        customer_id=customer_id,
        order_id=order_id,
        kind=Kind(kind),
        subject=subject,
        text=text,
        created_at=created_at,
        cause_id=cause_id,
        cause_type=cause_type,
        correlation_id=correlation_id,
        traceparent=traceparent,
        tracestate=tracestate,
        attempts=attempts,
    )


def _stored(*row: object) -> StoredNotification:
    names = StoredNotification.__struct_encode_fields__
    return msgspec.convert(dict(zip(names, row, strict=True)), StoredNotification)


# Locks the row of a customer who is due already, and does not write it.
_MARK_DUE = """
INSERT INTO customer (customer_id, due_at)
SELECT customer_id, now() FROM unnest(%s::text[]) AS notified (customer_id)
ON CONFLICT (customer_id) DO UPDATE SET due_at = excluded.due_at WHERE customer.due_at IS NULL
"""
_ADD = """
INSERT INTO delivery (channel, notification_id, customer_id, order_id, kind, subject, text,
                      cause_id, cause_type, correlation_id, traceparent, tracestate, rank, follows,
                      state, reason)
SELECT %s, added.*
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::uuid[],
            %s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::text[], %s::text[],
            %s::text[]) AS added
ON CONFLICT DO NOTHING
"""
_FACTS = """
SELECT order_id, notification_id::text, kind, rank, follows, state
FROM delivery WHERE order_id = ANY(%s::text[])
"""
# New positions in the order of the moves: behind everything that the customers were to be told.
_MOVE = """
WITH moved AS MATERIALIZED (
    SELECT order_id, notification_id, state, reason,
           nextval('delivery_position_seq') AS position
    FROM (SELECT * FROM unnest(%s::text[], %s::uuid[], %s::text[], %s::text[])
                   WITH ORDINALITY AS move (order_id, notification_id, state, reason, number)
          ORDER BY number) AS in_order
)
UPDATE delivery SET state = moved.state, reason = moved.reason, position = moved.position
FROM moved
WHERE delivery.order_id = moved.order_id AND delivery.notification_id = moved.notification_id
  AND delivery.state = 'HELD'
"""
_HELD = """
SELECT notification_id::text, customer_id, order_id, held_since
FROM delivery WHERE held_since <= %s ORDER BY held_since LIMIT %s
"""
# Who is leased is due some time: so the index of those is enough.
_TAKE_OVER = """
UPDATE customer SET due_at = now(), leased_by = NULL WHERE due_at IS NOT NULL AND leased_by = %s
"""
# Customers whose row another worker holds are skipped, not waited for. The statement's snapshot is
# older than the locks that it takes: what was settled in between is still PENDING in it, and lies
# below the position that the locked row says.
_LEASE = """
WITH due AS MATERIALIZED (
    SELECT customer_id FROM customer WHERE due_at <= now()
    ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
), leased AS (
    UPDATE customer SET due_at = now() + %s * interval '1 second', leased_by = %s
    FROM due WHERE customer.customer_id = due.customer_id
    RETURNING customer.customer_id, customer.settled_position
)
SELECT leased.customer_id, letter.*
FROM leased LEFT JOIN LATERAL (
    SELECT notification_id::text, order_id, kind, subject, text, created_at, cause_id, cause_type,
           correlation_id, traceparent, tracestate, attempts, position
    FROM delivery WHERE delivery.customer_id = leased.customer_id
                    AND position > leased.settled_position AND state = 'PENDING'
    ORDER BY position LIMIT %s
) AS letter ON true
"""
_LOCK = """
SELECT customer_id, sequence, settled_position FROM customer
WHERE customer_id = ANY(%s::text[]) ORDER BY customer_id FOR UPDATE
"""
# The second wall behind the lock: a number after another than the last one is null, and refused.
# A customer with nothing left to send is due never (NULL): `_MARK_DUE` makes it due again. What is
# left lies behind what is settled here, so it does not matter that the outcomes are not seen yet.
_SETTLE = """
WITH settled AS (
    UPDATE delivery SET state = outcome.state, sequence = outcome.sequence,
                        attempts = outcome.attempts, reason = outcome.reason,
                        occurred_at = outcome.occurred_at
    FROM unnest(%s::text[], %s::uuid[], %s::text[], %s::bigint[], %s::int[], %s::text[],
                %s::timestamptz[])
         AS outcome (order_id, notification_id, state, sequence, attempts, reason, occurred_at)
    WHERE delivery.order_id = outcome.order_id
      AND delivery.notification_id = outcome.notification_id
)
UPDATE customer SET sequence = CASE customer.sequence WHEN result.before THEN result.sequence END,
                    settled_position = result.position,
                    leased_by = nullif(leased_by, %s),
                    due_at = CASE WHEN leased_by IS DISTINCT FROM %s THEN due_at
                                  WHEN EXISTS (SELECT FROM delivery
                                               WHERE delivery.customer_id = result.customer_id
                                                 AND delivery.position > result.position
                                                 AND delivery.state = 'PENDING')
                                  THEN now() + result.rest_s * interval '1 second' END
FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::float8[])
     AS result (customer_id, before, sequence, position, rest_s)
WHERE customer.customer_id = result.customer_id
"""
_OUTCOME_COLUMNS = 7
# A customer to whom anything is to be sent is due, now or later.
_COUNT_PENDING = """
SELECT count(*), COALESCE(extract(epoch FROM clock_timestamp() - min(created_at)), 0)
FROM (SELECT letter.created_at FROM customer CROSS JOIN LATERAL (
          SELECT created_at FROM delivery
          WHERE delivery.customer_id = customer.customer_id
            AND position > customer.settled_position AND state = 'PENDING'
      ) AS letter
      WHERE customer.due_at IS NOT NULL LIMIT %s) AS pending
"""
_STORED = """
SELECT position, notification_id::text, customer_id, order_id, kind, channel, state, sequence,
       attempts, reason, subject, cause_id::text, cause_type, created_at, occurred_at
FROM delivery
"""
_PAGES = {
    column: f"""
{_STORED}
WHERE {column} = %s AND position > %s AND state = ANY (%s::text[]) ORDER BY position LIMIT %s
"""
    for column in ("order_id", "customer_id")
}
_NEWEST_SELDOM = f"""
{_STORED} WHERE seldom_state = %s AND position < %s ORDER BY position DESC LIMIT %s
"""
# Nothing that an outcome changes is in an index, so what is PENDING is found by its customers: whom
# anything is to be sent is due, now or later.
_NEWEST_PENDING = f"""
SELECT letter.* FROM customer CROSS JOIN LATERAL (
    {_STORED}
    WHERE delivery.customer_id = customer.customer_id AND position > customer.settled_position
      AND position < %s AND state = 'PENDING'
    ORDER BY position DESC LIMIT %s
) AS letter
WHERE customer.due_at IS NOT NULL ORDER BY letter.position DESC LIMIT %s
"""  # noqa: S608 - constants
