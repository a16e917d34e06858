"""
Payments in PostgreSQL: a constant number of statements for a batch, two for one of new orders and two for its outcome.

An order's row in `known_order` is locked before anything of the order is read or written, in the order of the ids, so
that two workers with the same orders wait for each other in one direction only. What is read after that is current.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec

from orderflow.contracts.events import OrderLine
from orderflow.contracts.ids import CustomerId, OrderId, PaymentId, RefundId
from orderflow.messaging.postgres import Cursor, array, columns
from orderflow.services.payment.model import (
    Known,
    Payment,
    PaymentState,
    Refund,
    RefundState,
    Step,
)


class Sum(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of one currency, in minor units: what our books say, to be compared with the provider's."""

    currency: str
    captured_minor: int
    refunded_minor: int
    net_minor: int
    captures: int
    refunds: int
    failed: int
    unsettled: int


def lock(cursor: Cursor, order_ids: Sequence[OrderId]) -> dict[OrderId, Known]:
    """Lock these orders; what is known of those that are not new."""
    ids = array(sorted(order_ids))
    cursor.execute(_LOCK_NEW, (ids,))
    if cursor.rowcount == len(order_ids):
        return {}
    cursor.execute(_LOCK, (ids,))
    return _known(cursor, ids)


def lock_again(cursor: Cursor, order_ids: Sequence[OrderId]) -> None:
    """Lock orders that `lock` has seen before."""
    cursor.execute(_LOCK, (array(sorted(order_ids)),))


def find(cursor: Cursor, order_ids: Sequence[OrderId]) -> dict[OrderId, Known]:
    """All that is recorded of these orders, without those of which there is nothing."""
    return _known(cursor, array(order_ids))


def record(cursor: Cursor, steps: Sequence[Step], *, now: datetime) -> None:
    """Write new payments, refunds and closed orders."""
    if payments := [step.payment for step in steps if step.payment is not None]:
        cursor.execute(_INSERT_PAYMENTS, columns(map(_payment_row, payments)))
    if closings := [step.closing for step in steps if step.closing is not None]:
        rows = (
            (
                one.cancelled.order_id,
                one.cancelled.customer_id,
                one.cancelled.reason,
                one.cause,
                now,
            )
            for one in closings
        )
        cursor.execute(_CLOSE, columns(rows))
    if refunds := [step.refund for step in steps if step.refund is not None]:
        cursor.execute(
            _INSERT_REFUNDS, columns(_refund_row(payment, refund) for payment, refund in refunds)
        )


def settle(cursor: Cursor, payments: Sequence[Payment]) -> bool:
    """Write how payments ended, or that nobody knows; whether all of them were still open."""
    if not payments:
        return True
    rows = (
        (
            payment.order_id,
            payment.attempt,
            payment.state.value,
            payment.provider_reference,
            payment.reason,
            payment.message,
            payment.settled_at,
            payment.settled_by,
        )
        for payment in payments
    )
    cursor.execute(_SETTLE, columns(rows))
    return cursor.rowcount == len(payments)


def settle_refunds(cursor: Cursor, refunds: Sequence[Refund]) -> None:
    if refunds:
        rows = (
            (refund.refund_id, refund.provider_reference, refund.settled_at) for refund in refunds
        )
        cursor.execute(_SETTLE_REFUNDS, columns(rows))


def summary(cursor: Cursor) -> list[Sum]:
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
        )
        for currency, captured, refunded, captures, refunds, failed, unsettled in cursor
    ]


def _known(cursor: Cursor, ids: str) -> dict[OrderId, Known]:
    cursor.execute(_FIND, (ids,))
    return {
        OrderId(order_id): Known(
            rows[0][1], tuple(_payment(row) for row in rows if row[2] is not None)
        )
        for order_id, found in groupby(cursor.fetchall(), key=lambda row: row[0])
        if (rows := list(found))
    }


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
        _closed,
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
        settled_at,
        settled_by,
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
        settled_at=settled_at,
        settled_by=settled_by,
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
_FIND = """
SELECT known_order.order_id::text, closed_order.order_id IS NOT NULL, payment.attempt, payment.payment_id::text,
       payment.customer_id, payment.state, payment.amount_minor, payment.currency, payment.payment_method,
       payment.lines, payment.provider_reference, payment.reason, payment.message, payment.created_at,
       payment.settled_at, payment.settled_by::text,
       refund.refund_id::text, refund.amount_minor, refund.reason, refund.state, refund.provider_reference,
       refund.created_at, refund.created_by::text, refund.settled_at
FROM known_order
LEFT JOIN closed_order USING (order_id)
LEFT JOIN payment ON payment.order_id = known_order.order_id
LEFT JOIN refund ON refund.order_id = payment.order_id AND refund.attempt = payment.attempt
WHERE known_order.order_id = ANY (%s::uuid[])
ORDER BY known_order.order_id, payment.attempt
"""
_INSERT_PAYMENTS = """
INSERT INTO payment (order_id, attempt, payment_id, customer_id, state, live, amount_minor, currency, payment_method,
                     lines, reason, message, captured_minor, created_at, settled_at, settled_by)
SELECT order_id, attempt, payment_id, customer_id, state, state <> 'FAILED', amount_minor, currency, payment_method,
       lines, reason, message, CASE state WHEN 'SUCCEEDED' THEN amount_minor ELSE 0 END, created_at, settled_at,
       settled_by
FROM unnest(%s::uuid[], %s::smallint[], %s::uuid[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[],
            %s::json[], %s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::uuid[])
     AS new (order_id, attempt, payment_id, customer_id, state, amount_minor, currency, payment_method, lines, reason,
             message, created_at, settled_at, settled_by)
"""
_CLOSE = """
INSERT INTO closed_order (order_id, customer_id, reason, closed_by, closed_at)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::uuid[], %s::timestamptz[])
"""
_INSERT_REFUNDS = """
WITH new AS (
    INSERT INTO refund (refund_id, order_id, attempt, amount_minor, reason, state, created_at, created_by, settled_at)
    SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::smallint[], %s::bigint[], %s::text[], %s::text[],
                         %s::timestamptz[], %s::uuid[], %s::timestamptz[])
    ON CONFLICT DO NOTHING
    RETURNING order_id, attempt, amount_minor
)
UPDATE payment SET refunded_minor = refunded_minor + new.amount_minor
FROM new WHERE payment.order_id = new.order_id AND payment.attempt = new.attempt
"""
# Compare-and-set: whoever settles first is right, and an outcome that is not known never undoes one that is.
_SETTLE = """
UPDATE payment
SET state = told.state, live = told.state <> 'FAILED', provider_reference = told.provider_reference,
    reason = told.reason, message = told.message, settled_at = told.settled_at, settled_by = told.settled_by,
    captured_minor = CASE told.state WHEN 'SUCCEEDED' THEN amount_minor ELSE 0 END
FROM unnest(%s::uuid[], %s::smallint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::uuid[])
     AS told (order_id, attempt, state, provider_reference, reason, message, settled_at, settled_by)
WHERE payment.order_id = told.order_id AND payment.attempt = told.attempt AND payment.settled_at IS NULL
"""
_SETTLE_REFUNDS = """
UPDATE refund
SET state = 'SUCCEEDED', provider_reference = told.provider_reference, settled_at = told.settled_at
FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[]) AS told (refund_id, provider_reference, settled_at)
WHERE refund.refund_id = told.refund_id AND refund.settled_at IS NULL
"""
# What cost nothing was never the provider's business: it counts as neither a capture nor a refund.
_SUMMARY = """
SELECT payment.currency,
       sum(captured_minor),
       coalesce(sum(refund.amount_minor) FILTER (WHERE refund.state = 'SUCCEEDED'), 0),
       count(*) FILTER (WHERE payment.state = 'SUCCEEDED' AND payment.amount_minor > 0),
       count(*) FILTER (WHERE refund.state = 'SUCCEEDED' AND refund.amount_minor > 0),
       count(*) FILTER (WHERE payment.state = 'FAILED'),
       count(*) FILTER (WHERE payment.settled_at IS NULL)
FROM payment LEFT JOIN refund USING (order_id, attempt)
GROUP BY payment.currency ORDER BY payment.currency
"""
