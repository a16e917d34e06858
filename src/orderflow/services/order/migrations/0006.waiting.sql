ALTER TABLE orders
    ADD COLUMN waiting_for   text CHECK (waiting_for IN ('PAY', 'PAYMENT', 'STOCK', 'SHIP', 'DELIVER')),
    ADD COLUMN waiting_since timestamptz;
-- The latest that it can have begun to wait for what it waits for now.
UPDATE orders SET waiting_since = updated_at, waiting_for = CASE
    WHEN status = 'CREATED' AND payment_state IN ('NONE', 'FAILED') THEN 'PAY'
    WHEN status = 'CREATED' THEN 'PAYMENT'
    WHEN status = 'PAID' AND stock = 'RESERVED' THEN 'SHIP'
    WHEN status = 'PAID' THEN 'STOCK'
    WHEN status = 'SHIPPED' THEN 'DELIVER'
END;
ALTER TABLE orders ALTER COLUMN waiting_since SET NOT NULL;
CREATE INDEX orders_customer ON orders (customer_id, order_id);
CREATE INDEX orders_status ON orders (status, order_id);
CREATE INDEX orders_waiting ON orders (waiting_for, waiting_since) WHERE waiting_for IS NOT NULL;
