-- What the books compare: the service's published language. Columns are only ever added; a reader needs SELECT on the
-- views alone.
CREATE VIEW books_payment AS
SELECT order_id, attempt, payment_id, customer_id, state, amount_minor, currency, captured_minor, refunded_minor,
       provider_reference, created_at, settled_at
FROM payment;
COMMENT ON VIEW books_payment IS
    'Every payment attempt. By order_id; payment_id is the reference at the provider. Amounts in minor units.';

CREATE VIEW books_refund AS
SELECT refund.order_id, refund.attempt, refund.refund_id, payment.payment_id, refund.state, refund.amount_minor,
       payment.currency, refund.provider_reference, refund.created_at, refund.settled_at
FROM refund JOIN payment USING (order_id, attempt);
COMMENT ON VIEW books_refund IS
    'Every refund. By order_id; refund_id is the reference at the provider. Amounts in minor units.';

CREATE VIEW books_known_order AS
SELECT order_id, closed_order.order_id IS NOT NULL AS closed
FROM known_order LEFT JOIN closed_order USING (order_id);
COMMENT ON VIEW books_known_order IS
    'Every order that payment was told of, and whether it was told of its cancellation. By order_id.';
