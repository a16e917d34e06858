-- Two customers may choose the same key for a new order: keys in use keep their answers.
INSERT INTO idempotency_key (scope, key, request_hash, order_id, answer, created_at, settled)
SELECT claimed.scope || '/' || orders.customer_id, key, request_hash, order_id, answer, claimed.created_at, settled
FROM idempotency_key AS claimed JOIN orders USING (order_id)
WHERE scope IN ('place', 'place-on-request')
ON CONFLICT DO NOTHING;
DELETE FROM idempotency_key WHERE scope IN ('place', 'place-on-request');
