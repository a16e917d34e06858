"""
Payments in PostgreSQL, with a constant number of statements for a batch of any size.

An order's row in `known_order` is locked before anything of the order is read or written, and rows
are locked by order id. So two workers with the same orders wait for each other in one direction
only, and what is read under the lock is current.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, LiteralString
from uuid import UUID

import msgspec

from orderflow.contracts.events import OrderLine
from orderflow.contracts.ids import CustomerId, OrderId, PaymentId, RefundId
from orderflow.messaging.postgres import Cursor, array, columns
from orderflow.services.payment.model import (
    Closing,
    OrderAccount,
    Payment,
    PaymentState,
    Refund,
    RefundState,
)
from orderflow.services.payment.rules import ClosedOrder, Decision


class Sum(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    One currency's totals in minor units, to be compared with the provider's ledger.

    `owed…`: refunds that are recorded, and that the provider has not given back yet. `unknown`:
    payments whose outcome the provider has not told.
    """

    currency: str
    captured_minor: int
    refunded_minor: int
    net_minor: int
    captures: int
    refunds: int
    failed: int
    unsettled: int
    owed_minor: int
    owed: int
    owed_since: datetime | None
    unknown: int
    unknown_since: datetime | None


PaymentPlace = tuple[OrderId, int]
"""An order and an attempt, by which payments are listed."""

_BEHIND_ALL: PaymentPlace = (OrderId("ffffffff-ffff-ffff-ffff-ffffffffffff"), 2**15 - 1)


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for the provider, in all currencies: how many, and since when the oldest does."""

    owed: int
    owed_since: datetime | None
    unknown: int
    unknown_since: datetime | None


def lock(cursor: Cursor, order_ids: Sequence[OrderId]) -> dict[OrderId, OrderAccount]:
    """Lock these orders until the transaction ends; return the accounts of those not new."""
    ids = array(sorted(order_ids))

    # The insert locks the rows that it adds. When it adds them all, there is nothing to read.
    cursor.execute(_LOCK_NEW, (ids,))
    if cursor.rowcount == len(order_ids):
        return {}

    # Lock in one statement, read in the next: only a later statement sees what was committed
    # while this one waited for the lock.
    cursor.execute(_LOCK, (ids,))
    return _accounts(cursor, ids)


def lock_again(cursor: Cursor, order_ids: Sequence[OrderId]) -> None:
    """Lock orders whose rows an earlier transaction's `lock` has made."""
    cursor.execute(_LOCK, (array(sorted(order_ids)),))


def find(cursor: Cursor, order_ids: Sequence[OrderId]) -> dict[OrderId, OrderAccount]:
    """The accounts of those of these orders that have one."""
    return _accounts(cursor, array(order_ids))


def page(
    cursor: Cursor,
    *,
    customer_id: str | None,
    state: PaymentState | None,
    before: PaymentPlace | None,
    limit: int,
) -> list[Payment]:
    """
    Up to `limit` payments before a place, those of the newest order first. Of one customer, or of
    all; in one state, or in any. Of all customers: UNKNOWN or FAILED, which few are in.
    """
    before = before or _BEHIND_ALL
    if customer_id is not None:
        states = array([each.value for each in ([state] if state else PaymentState)])
        cursor.execute(_PAGE_OF_CUSTOMER, (customer_id, states, *before, limit))
    else:
        cursor.execute(_PAGES[state], (*before, limit))
    return [_payment(row) for row in cursor]


def write(cursor: Cursor, decisions: Sequence[Decision], *, now: datetime) -> None:
    """Insert new payments, closed orders and refunds: at most one statement for each table."""
    payments = [decision.payment for decision in decisions if decision.payment is not None]
    if payments:
        cursor.execute(_INTENT, columns(map(_payment_row, payments)))

    closed = [decision.closed_order for decision in decisions if decision.closed_order is not None]
    if closed:
        cursor.execute(_CLOSE, columns(_closed_order_row(order, now) for order in closed))

    refunds = [decision.refund for decision in decisions if decision.refund is not None]
    if refunds:
        cursor.execute(
            _INSERT_REFUNDS, columns(_refund_row(payment, refund) for payment, refund in refunds)
        )


def close_ahead(cursor: Cursor, orders: Sequence[ClosedOrder], *, now: datetime) -> None:
    """Close these locked orders, unless they are closed, before their cancellations' turn."""
    cursor.execute(_CLOSE, columns(_closed_order_row(order, now) for order in orders))


def advance(
    cursor: Cursor, outcomes: Sequence[Payment], intents: Sequence[Payment]
) -> tuple[set[OrderId], set[OrderId]]:
    """
    In one statement, and so in one transaction: write the state of payments after a call, and new
    payments before theirs. Each order comes once.

    Returns the orders of both that this was done for, and that there is nothing else to know of: an
    outcome only if none is recorded and the order is open, an intent only if the order is new. All
    others are as they were.
    """
    intents = sorted(intents, key=lambda payment: payment.order_id)
    arguments = [
        *_columns(map(_outcome_row, outcomes), _OUTCOME_COLUMNS),
        array([payment.order_id for payment in intents]),
        *_columns(map(_payment_row, intents), _INTENT_COLUMNS),
    ]
    cursor.execute(_ADVANCE, arguments)

    settled: set[OrderId] = set()
    begun: set[OrderId] = set()
    for is_settled, order_id in cursor.fetchall():
        (settled if is_settled else begun).add(order_id)
    return settled, begun


def settle(cursor: Cursor, payments: Sequence[Payment]) -> None:
    """
    Write the state of payments after a call, unless their outcome is recorded already.

    The orders must be locked: the statement sees what was committed before the lock was had.
    """
    if payments:
        cursor.execute(_SETTLE, columns(map(_outcome_row, payments)))


def settle_refunds(cursor: Cursor, refunds: Sequence[Refund]) -> None:
    """Write that these refunds succeeded, unless that is recorded already."""
    if not refunds:
        return
    rows = ((refund.refund_id, refund.provider_reference, refund.settled_at) for refund in refunds)
    cursor.execute(_SETTLE_REFUNDS, columns(rows))


def note_webhook(cursor: Cursor, webhook_id: str, *, now: datetime) -> bool:
    """Whether this id is new. It is remembered from this transaction on."""
    cursor.execute(_NOTE_WEBHOOK, (webhook_id, now))
    return cursor.rowcount == 1


def purge_webhooks(cursor: Cursor, *, before: datetime, at_most: int) -> int:
    """Forget ids from before then; how many it were."""
    cursor.execute(_PURGE_WEBHOOKS, (before, at_most))
    return cursor.rowcount


def lock_unknown(cursor: Cursor, payment_id: str) -> Payment | None:
    """This payment, its order locked, if its outcome is unknown and its order is open."""
    account = _locked(cursor, _ORDER_OF_UNKNOWN, payment_id)
    if account is None or account.closed:
        return None
    return next((each for each in account.payments if each.payment_id == payment_id), None)


def lock_owed(cursor: Cursor, refund_id: str) -> Payment | None:
    """The payment that this refund is of, its order locked, if the refund is owed."""
    account = _locked(cursor, _ORDER_OF_OWED, refund_id)
    refunded = account.payments if account else ()
    return next(
        (each for each in refunded if each.refund and each.refund.refund_id == refund_id), None
    )


def open_references(cursor: Cursor, references: Sequence[str]) -> set[UUID]:
    """Those of these ids that are payments whose outcome is unknown, or refunds that are owed."""
    ids = array(list(references))
    cursor.execute(_OPEN_REFERENCES, (ids, ids))
    return {UUID(reference) for (reference,) in cursor}


def summary(cursor: Cursor) -> list[Sum]:
    """The totals of all payments, by currency."""
    cursor.execute(_SUMMARY)

    return [
        Sum(
            currency=currency,
            captured_minor=int(captured),
            refunded_minor=int(refunded),
            net_minor=int(captured - refunded),
            captures=captures,
            refunds=refunds,
            failed=failed,
            unsettled=unsettled,
            owed_minor=int(owed_minor),
            owed=owed,
            owed_since=owed_since,
            unknown=unknown,
            unknown_since=unknown_since,
        )
        for (
            currency,
            captured,
            refunded,
            captures,
            refunds,
            failed,
            unsettled,
            owed_minor,
            owed,
            owed_since,
            unknown,
            unknown_since,
        ) in cursor
    ]


def open_at_provider(cursor: Cursor) -> Open:
    """Read from two indexes that contain nothing else."""
    cursor.execute(_OPEN)
    row = cursor.fetchone()
    assert row is not None
    owed, owed_since, unknown, unknown_since = row
    return Open(owed=owed, owed_since=owed_since, unknown=unknown, unknown_since=unknown_since)


def _locked(cursor: Cursor, query: LiteralString, reference: str) -> OrderAccount | None:
    try:
        UUID(reference)
    except ValueError:
        return None
    cursor.execute(query, (reference,))
    row = cursor.fetchone()
    if row is None:
        return None

    # Read again under the lock: it may have been settled while this transaction waited.
    order_id = OrderId(row[0])
    lock_again(cursor, [order_id])
    return find(cursor, [order_id]).get(order_id)


def _accounts(cursor: Cursor, ids: str) -> dict[OrderId, OrderAccount]:
    """One account per order. An order without payments has one row, with NULL as its attempt."""
    cursor.execute(_FIND, (ids,))

    accounts: dict[OrderId, OrderAccount] = {}
    for order_id, order_rows in groupby(cursor.fetchall(), key=lambda row: row[0]):
        rows = list(order_rows)
        closed_by, reason, ahead = rows[0][1:4]
        closing = None if closed_by is None else Closing(closed_by, reason, ahead)
        payments = tuple(_payment(row) for row in rows if row[4] is not None)
        accounts[OrderId(order_id)] = OrderAccount(closing, payments)
    return accounts


def _columns(rows: Iterable[Sequence[object]], count: int) -> list[str]:
    """As `columns`, of which there are so many; empty ones without a row."""
    return columns(rows) or [array(())] * count


def _outcome_row(payment: Payment) -> tuple[object, ...]:
    return (
        payment.order_id,
        payment.attempt,
        payment.state.value,
        payment.provider_reference,
        payment.reason,
        payment.message,
        payment.settled_at,
        payment.settled_by,
        payment.unknown_since,
        payment.waiting_record,
        payment.waiting_since,
    )


def _closed_order_row(closed: ClosedOrder, now: datetime) -> tuple[object, ...]:
    order = closed.cancelled
    return (order.order_id, order.customer_id, order.reason, closed.cause, now, closed.ahead)


def _payment_row(payment: Payment) -> tuple[object, ...]:
    return (
        payment.order_id,
        payment.attempt,
        payment.payment_id,
        payment.customer_id,
        payment.state.value,
        payment.amount_minor,
        payment.currency,
        payment.payment_method,
        msgspec.json.encode(payment.lines).decode(),
        payment.reason,
        payment.message,
        payment.created_at,
        payment.settled_at,
        payment.settled_by,
        payment.requested_by,
    )


def _refund_row(payment: Payment, refund: Refund) -> tuple[object, ...]:
    return (
        refund.refund_id,
        payment.order_id,
        payment.attempt,
        refund.amount_minor,
        refund.reason,
        refund.state.value,
        refund.created_at,
        refund.created_by,
        refund.settled_at,
    )


def _payment(row: tuple[Any, ...]) -> Payment:
    (
        order_id,
        _closed_by,
        _closed_reason,
        _closed_ahead,
        attempt,
        payment_id,
        customer_id,
        state,
        amount_minor,
        currency,
        payment_method,
        lines,
        provider_reference,
        reason,
        message,
        created_at,
        requested_by,
        settled_at,
        settled_by,
        unknown_since,
        waiting_record,
        waiting_since,
        *refund,
    ) = row

    return Payment(
        order_id=OrderId(order_id),
        attempt=attempt,
        payment_id=PaymentId(payment_id),
        customer_id=CustomerId(customer_id),
        state=PaymentState(state),
        amount_minor=amount_minor,
        currency=currency,
        payment_method=payment_method,
        lines=msgspec.convert(lines, tuple[OrderLine, ...]),
        provider_reference=provider_reference,
        reason=reason,
        message=message,
        created_at=created_at,
        requested_by=requested_by,
        settled_at=settled_at,
        settled_by=settled_by,
        unknown_since=unknown_since,
        waiting_record=waiting_record,
        waiting_since=waiting_since,
        refund=_refund(*refund),
    )


def _refund(
    refund_id: str | None,
    amount_minor: int,
    reason: str,
    state: str,
    provider_reference: str | None,
    created_at: datetime,
    created_by: str,
    settled_at: datetime | None,
) -> Refund | None:
    if refund_id is None:
        return None
    return Refund(
        refund_id=RefundId(refund_id),
        amount_minor=amount_minor,
        reason=reason,
        state=RefundState(state),
        provider_reference=provider_reference,
        created_at=created_at,
        created_by=created_by,
        settled_at=settled_at,
    )


_LOCK_NEW = "INSERT INTO known_order SELECT unnest(%s::uuid[]) ON CONFLICT DO NOTHING"
_LOCK = "SELECT FROM known_order WHERE order_id = ANY (%s::uuid[]) ORDER BY order_id FOR UPDATE"
_OF_PAYMENT = """
       payment.attempt, payment.payment_id::text, payment.customer_id, payment.state,
       payment.amount_minor, payment.currency, payment.payment_method, payment.lines,
       payment.provider_reference, payment.reason, payment.message, payment.created_at,
       payment.requested_by::text, payment.settled_at, payment.settled_by::text,
       payment.unknown_since, payment.waiting_record, payment.waiting_since,
       refund.refund_id::text, refund.amount_minor, refund.reason, refund.state,
       refund.provider_reference, refund.created_at, refund.created_by::text, refund.settled_at
"""
_FIND = f"""
SELECT known_order.order_id::text, closed_order.closed_by::text, closed_order.reason,
       closed_order.ahead, {_OF_PAYMENT}
FROM known_order
LEFT JOIN closed_order USING (order_id)
LEFT JOIN payment ON payment.order_id = known_order.order_id
LEFT JOIN refund ON refund.order_id = payment.order_id AND refund.attempt = payment.attempt
WHERE known_order.order_id = ANY (%s::uuid[])
ORDER BY known_order.order_id, payment.attempt
"""  # noqa: S608 - constants, here and below


def _page(condition: LiteralString) -> LiteralString:
    # Refunds are looked up for the rows of the page (OFFSET 0): a plan that does not know how long
    # a page is would rather read all of them.
    return f"""
SELECT payment.order_id::text, NULL, NULL, NULL, {_OF_PAYMENT}
FROM (
    SELECT * FROM payment WHERE {condition} (order_id, attempt) < (%s::uuid, %s)
    ORDER BY order_id DESC, attempt DESC LIMIT %s
) AS payment LEFT JOIN LATERAL (
    SELECT * FROM refund
    WHERE refund.order_id = payment.order_id AND refund.attempt = payment.attempt OFFSET 0
) AS refund ON true
ORDER BY payment.order_id DESC, payment.attempt DESC
"""  # noqa: S608


# Settling changes no index, so there is none by state: but what is UNKNOWN or FAILED has one.
_PAGES: Mapping[PaymentState | None, LiteralString] = {
    None: _page(""),
    PaymentState.UNKNOWN: _page("unknown_since IS NOT NULL AND"),
    PaymentState.FAILED: _page("NOT live AND"),
}
_PAGE_OF_CUSTOMER = _page("customer_id = %s AND state = ANY (%s::text[]) AND")
FEW = tuple(state for state in _PAGES if state is not None)
"""The states that few payments are in, or that want to be looked at: each has an index."""
_INTENT = """
INSERT INTO payment (order_id, attempt, payment_id, customer_id, state, live, amount_minor,
                     currency, payment_method, lines, reason, message, captured_minor, created_at,
                     settled_at, settled_by, requested_by)
SELECT order_id, attempt, payment_id, customer_id, state, state <> 'FAILED', amount_minor,
       currency, payment_method, lines, reason, message,
       CASE state WHEN 'SUCCEEDED' THEN amount_minor ELSE 0 END, created_at, settled_at, settled_by,
       requested_by
FROM unnest(%s::uuid[], %s::smallint[], %s::uuid[], %s::text[], %s::text[], %s::bigint[],
            %s::text[], %s::text[], %s::json[], %s::text[], %s::text[], %s::timestamptz[],
            %s::timestamptz[], %s::uuid[], %s::uuid[])
     AS new (order_id, attempt, payment_id, customer_id, state, amount_minor, currency,
             payment_method, lines, reason, message, created_at, settled_at, settled_by,
             requested_by)
"""
_INTENT_COLUMNS = 15
# What closed the order first stays; but once the cancellation's own record has had its turn, it is
# not ahead any more.
_CLOSE = """
WITH closing AS (
    INSERT INTO closed_order (order_id, customer_id, reason, closed_by, closed_at, ahead)
    SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::uuid[], %s::timestamptz[],
                         %s::boolean[])
    ON CONFLICT (order_id) DO UPDATE SET ahead = false
    WHERE closed_order.ahead AND NOT EXCLUDED.ahead
    RETURNING order_id
)
UPDATE known_order SET closed = true
FROM closing WHERE known_order.order_id = closing.order_id AND NOT known_order.closed
"""
# The payment's sum is raised only by refunds that were really inserted: a constraint on the payment
# then holds the sum of its refunds within what was captured.
_INSERT_REFUNDS = """
WITH new AS (
    INSERT INTO refund (refund_id, order_id, attempt, amount_minor, reason, state, created_at,
                        created_by, settled_at)
    SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::smallint[], %s::bigint[], %s::text[],
                         %s::text[], %s::timestamptz[], %s::uuid[], %s::timestamptz[])
    ON CONFLICT DO NOTHING
    RETURNING order_id, attempt, amount_minor
)
UPDATE payment SET refunded_minor = refunded_minor + new.amount_minor
FROM new WHERE payment.order_id = new.order_id AND payment.attempt = new.attempt
"""
_OUTCOME = """
unnest(%s::uuid[], %s::smallint[], %s::text[], %s::text[], %s::text[], %s::text[],
       %s::timestamptz[], %s::uuid[], %s::timestamptz[], %s::text[], %s::timestamptz[])
     AS outcome (order_id, attempt, state, provider_reference, reason, message, settled_at,
                 settled_by, unknown_since, waiting_record, waiting_since)
"""
_OUTCOME_COLUMNS = 11
_SET_OUTCOME = """
UPDATE payment
SET state = outcome.state, live = outcome.state <> 'FAILED',
    provider_reference = outcome.provider_reference,
    reason = outcome.reason, message = outcome.message,
    settled_at = outcome.settled_at, settled_by = outcome.settled_by,
    unknown_since = outcome.unknown_since, waiting_record = outcome.waiting_record,
    waiting_since = outcome.waiting_since,
    captured_minor = CASE outcome.state WHEN 'SUCCEEDED' THEN amount_minor ELSE 0 END
FROM """
# Compare-and-set: the first recorded outcome stays, and UNKNOWN never overwrites one.
_IF_UNSETTLED = """
WHERE payment.order_id = outcome.order_id AND payment.attempt = outcome.attempt
  AND payment.settled_at IS NULL
"""
_SETTLE = _SET_OUTCOME + _OUTCOME + _IF_UNSETTLED
# A lock that was waited for shows the row as it is then, so `closed` is current although the
# statement began before; `closed_order` would be read as it was. What is locked comes before what
# is inserted, and both in the order of their ids: no two workers wait for each other.
_ADVANCE = f"""
WITH locked AS (
    SELECT outcome.* FROM {_OUTCOME} JOIN known_order USING (order_id)
    WHERE NOT known_order.closed ORDER BY order_id FOR UPDATE OF known_order
),
settled AS ({_SET_OUTCOME} locked AS outcome {_IF_UNSETTLED} RETURNING payment.order_id),
known AS (
    INSERT INTO known_order (order_id)
    SELECT unnest(%s::uuid[]) WHERE (SELECT count(*) FROM locked) >= 0
    ON CONFLICT DO NOTHING RETURNING order_id
),
-- IS TRUE: looked up in a hash table, not joined row by row.
begun AS ({_INTENT} WHERE (order_id IN (SELECT order_id FROM known)) IS TRUE)
SELECT true, order_id::text FROM settled UNION ALL SELECT false, order_id::text FROM known
"""  # noqa: S608 - its parts are constants
_SETTLE_REFUNDS = """
UPDATE refund
SET state = 'SUCCEEDED', provider_reference = outcome.provider_reference,
    settled_at = outcome.settled_at
FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[])
     AS outcome (refund_id, provider_reference, settled_at)
WHERE refund.refund_id = outcome.refund_id AND refund.settled_at IS NULL
"""
# What is open is read from the two indexes that contain nothing else; the rest is in sums.
_SUMMARY = """
WITH total AS (
    SELECT currency, sum(captured_minor) AS captured, sum(refunded_minor) AS refunded,
           sum(captures)::bigint AS captures, sum(refunds)::bigint AS refunds,
           sum(failed)::bigint AS failed, sum(unsettled)::bigint AS unsettled
    FROM ledger_total GROUP BY currency
),
owed AS (
    SELECT payment.currency, sum(refund.amount_minor) AS minor, count(*) AS refunds,
           min(refund.created_at) AS since
    FROM refund JOIN payment USING (order_id, attempt)
    WHERE refund.settled_at IS NULL GROUP BY payment.currency
),
unknown AS (
    SELECT currency, count(*) AS payments, min(unknown_since) AS since
    FROM payment WHERE unknown_since IS NOT NULL GROUP BY currency
)
SELECT currency, captured, refunded, total.captures, total.refunds, failed, unsettled,
       coalesce(owed.minor, 0), coalesce(owed.refunds, 0), owed.since,
       coalesce(unknown.payments, 0), unknown.since
FROM total LEFT JOIN owed USING (currency) LEFT JOIN unknown USING (currency)
ORDER BY currency
"""
_OPEN = """
SELECT owed.*, unknown.*
FROM (SELECT count(*), min(created_at) FROM refund WHERE settled_at IS NULL) AS owed,
     (SELECT count(*), min(unknown_since) FROM payment WHERE unknown_since IS NOT NULL) AS unknown
"""
_NOTE_WEBHOOK = (
    "INSERT INTO webhook (webhook_id, received_at) VALUES (%s, %s) ON CONFLICT DO NOTHING"
)
_PURGE_WEBHOOKS = """
DELETE FROM webhook WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM webhook WHERE received_at < %s ORDER BY received_at LIMIT %s
))
"""
_OPEN_REFERENCES = """
SELECT payment_id::text FROM payment
WHERE payment_id = ANY (%s::uuid[]) AND unknown_since IS NOT NULL
UNION ALL
SELECT refund_id::text FROM refund WHERE refund_id = ANY (%s::uuid[]) AND settled_at IS NULL
"""
_ORDER_OF_UNKNOWN = """
SELECT order_id::text FROM payment WHERE payment_id = %s::uuid AND unknown_since IS NOT NULL
"""
_ORDER_OF_OWED = """
SELECT order_id::text FROM refund WHERE refund_id = %s::uuid AND settled_at IS NULL
"""
