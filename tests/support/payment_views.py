"""What the payment service publishes, as the tests of payment ask for it."""

from __future__ import annotations

from orderflow.contracts.ids import PaymentId
from orderflow.messaging.postgres import Cursor


def kept_from_closed(cursor: Cursor) -> list[PaymentId]:
    """
    Payments of closed orders that were captured and have no refund, not even one that is owed.
    There must be none.
    """
    cursor.execute(_KEPT_FROM_CLOSED)
    return [PaymentId(payment_id) for (payment_id,) in cursor.fetchall()]


_KEPT_FROM_CLOSED = """
SELECT payment.payment_id::text
FROM books_known_order JOIN books_payment AS payment USING (order_id)
     LEFT JOIN books_refund AS refund USING (order_id, attempt)
WHERE closed AND payment.state = 'SUCCEEDED' AND refund_id IS NULL
ORDER BY payment.created_at
"""
