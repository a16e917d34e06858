ALTER TABLE orders ADD COLUMN ship_when_reserved boolean NOT NULL DEFAULT false;
ALTER TABLE idempotency_key ADD COLUMN settled boolean NOT NULL DEFAULT true;
