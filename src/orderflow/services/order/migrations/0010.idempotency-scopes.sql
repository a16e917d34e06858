-- A key belongs to the command and the order, not to the path's spelling: keys in use keep their answers.
INSERT INTO idempotency_key (scope, key, request_hash, order_id, answer, created_at, settled)
SELECT CASE WHEN scope = 'POST /orders' THEN 'place' WHEN scope = 'POST /api/orders' THEN 'place-on-request'
            ELSE 'pay/' || order_id END, key, request_hash, order_id, answer, created_at, settled
FROM idempotency_key WHERE scope LIKE 'POST /%' ORDER BY created_at
ON CONFLICT DO NOTHING;
DELETE FROM idempotency_key WHERE scope LIKE 'POST /%';
