-- Whether an order is closed stands on the row that outcomes lock: one statement locks, sees it and writes.
ALTER TABLE known_order ADD COLUMN closed boolean NOT NULL DEFAULT false;
UPDATE known_order SET closed = true FROM closed_order WHERE closed_order.order_id = known_order.order_id;
