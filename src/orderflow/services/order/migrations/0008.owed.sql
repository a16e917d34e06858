-- Why a payment attempt failed; who gave a command, and why.
ALTER TABLE orders ADD COLUMN payment_reason text, ADD COLUMN payment_message text;
ALTER TABLE order_history ADD COLUMN actor text, ADD COLUMN reason text;

-- A cancelled order waits until its payment has come to its end and its stock is free.
ALTER TABLE orders DROP CONSTRAINT orders_waiting_for_check;
ALTER TABLE orders ADD CONSTRAINT orders_waiting_for_check
    CHECK (waiting_for IN ('PAY', 'PAYMENT', 'STOCK', 'SHIP', 'DELIVER', 'REFUND', 'RELEASE'));
UPDATE orders SET waiting_since = updated_at,
                  waiting_for = CASE WHEN payment_state IN ('REQUESTED', 'SUCCEEDED') THEN 'REFUND' ELSE 'RELEASE' END
WHERE status = 'CANCELLED' AND (payment_state IN ('REQUESTED', 'SUCCEEDED') OR stock = 'RESERVED');
