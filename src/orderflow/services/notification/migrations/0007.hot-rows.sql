-- What is noted stays where it was written: nothing that an outcome changes is in an index. So an outcome is written into
-- the page of the notification, and no index has a new entry for it.
ALTER TABLE customer ADD COLUMN settled_position bigint NOT NULL DEFAULT 0;
UPDATE customer SET settled_position = settled.position
FROM (SELECT customer_id, max(position) AS position FROM delivery WHERE state IN ('SENT', 'FAILED') GROUP BY customer_id) AS settled
WHERE customer.customer_id = settled.customer_id;
ALTER TABLE customer SET (fillfactor = 70);

DROP INDEX delivery_pending;
DROP INDEX delivery_held;
DROP INDEX delivery_of_order;
ALTER TABLE delivery DROP CONSTRAINT delivery_pkey;
ALTER TABLE delivery DROP CONSTRAINT delivery_is_told_once;
ALTER TABLE delivery DROP CONSTRAINT delivery_numbers_are_of_one;
-- Orders are young when something is noted of them, so neighbours in time are neighbours in this index.
ALTER TABLE delivery ADD PRIMARY KEY (order_id, notification_id);
ALTER TABLE delivery ADD COLUMN held_since timestamptz GENERATED ALWAYS AS (CASE WHEN state = 'HELD' THEN created_at END) STORED;
CREATE INDEX delivery_held ON delivery (held_since) WHERE held_since IS NOT NULL;
ALTER TABLE delivery SET (fillfactor = 75);
