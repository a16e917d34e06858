"""
One statement for all that a batch of new orders writes, so one round trip, and a transaction of its
own: Idempotency-Keys, orders, history and outbox rows.

Guarantee: all of it is written, or nothing. Nothing if a price that the orders were judged by is
not the table's at the statement's moment, or if one of their keys is held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from orderflow.contracts.ids import Sku
from orderflow.messaging.errors import Transient
from orderflow.messaging.postgres import (
    RESOURCE,
    Cursor,
    UniqueViolation,
    array,
    columns,
    outbox,
)
from orderflow.messaging.postgres.outbox import RowTexts
from orderflow.services.order import idempotency
from orderflow.services.order.commands import PlacedOrder
from orderflow.services.order.idempotency import KeyRequest
from orderflow.services.order.model import Product, waiting_for


def write(
    cursor: Cursor,
    placed: Sequence[PlacedOrder],
    *,
    judged_by: Mapping[Sku, Product],
    keys: Sequence[KeyRequest] = (),
) -> bool:
    """
    Write new orders and claim their keys. False, and nothing is written, if a product of
    `judged_by` has other prices now or can't be ordered, or if a key is held, expired or not.

    Raises Transient if a key was committed meanwhile: the same call then returns False.
    """
    arguments = [
        *idempotency.arguments(keys),
        array(list(judged_by)),
        array([msgspec.json.encode(product.prices).decode() for product in judged_by.values()]),
        *columns(_row(each) for each in placed),
        *outbox.arguments([RowTexts.of(row) for each in placed for row in each.outbox]),
    ]

    try:
        cursor.execute(_WRITE, arguments)
    except UniqueViolation as error:
        why = "an Idempotency-Key was claimed by somebody else"
        raise Transient(why, resource=RESOURCE) from error
    return cursor.fetchall() == [(True,)]


def _row(placed: PlacedOrder) -> tuple[object, ...]:
    order, entry = placed.order, placed.entry

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
        waiting_for(order),
        order.traceparent,
        entry.description,
        entry.event_id,
        entry.cause_type,
        entry.cause_id,
    )


# A new order is as old as its wait and its first revision: one time for all of them.
_WRITE = f"""
WITH requested AS (
    SELECT * FROM {idempotency.REQUESTED}
), accepted AS (
    SELECT WHERE NOT EXISTS (
        SELECT FROM unnest(%s::text[], %s::jsonb[]) AS judged (sku, prices)
             LEFT JOIN product USING (sku)
        WHERE product.prices IS DISTINCT FROM judged.prices OR NOT product.active
    ) AND NOT EXISTS (SELECT FROM requested JOIN idempotency_key USING (scope, key))
), claimed AS (
    {idempotency.INSERT}
    SELECT scope, key, request_hash, order_id, answer, now(), true
    FROM requested WHERE EXISTS (SELECT FROM accepted) {idempotency.IN_ORDER}
), new AS (
    SELECT * FROM unnest(
        %s::uuid[], %s::text[], %s::text[], %s::int[], %s::int[], %s::smallint[], %s::text[],
        %s::uuid[], %s::text[], %s::text[], %s::text[], %s::jsonb[], %s::bigint[], %s::text[],
        %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::uuid[], %s::text[], %s::text[]
    ) AS given (
        order_id, customer_id, status, version, revision, payment_attempt, payment_state,
        payment_id, stock, payment_mode, payment_method, lines, amount_minor, currency,
        created_at, waiting_for, traceparent, description, event_id, cause_type, cause_id
    )
    WHERE EXISTS (SELECT FROM accepted)
), ordered AS (
    INSERT INTO orders (
        order_id, customer_id, status, version, revision, payment_attempt, payment_state,
        payment_id, stock, payment_mode, payment_method, lines, amount_minor, currency,
        created_at, updated_at, waiting_for, waiting_since, traceparent
    )
    SELECT order_id, customer_id, status, version, revision, payment_attempt, payment_state,
           payment_id, stock, payment_mode, payment_method, lines, amount_minor, currency,
           created_at, created_at, waiting_for, created_at, traceparent
    FROM new
), recorded AS (
    INSERT INTO order_history (
        order_id, revision, version, status, description, occurred_at, event_id, cause_type,
        cause_id
    )
    SELECT order_id, revision, version, status, description, created_at, event_id, cause_type,
           cause_id
    FROM new
), announced AS (
    {outbox.INSERT} WHERE EXISTS (SELECT FROM accepted)
)
SELECT EXISTS (SELECT FROM accepted)
"""  # noqa: S608 - the names are constants
