-- Lists of payments, those of the newest order first: a customer's, what is unknown, what failed. No column of these
-- indexes changes when a payment is settled, unless it was unknown or has failed.
CREATE INDEX payment_unknown_by_order ON payment (order_id, attempt) WHERE unknown_since IS NOT NULL;
CREATE INDEX payment_failed_by_order ON payment (order_id, attempt) WHERE NOT live;
CREATE INDEX payment_of_customer ON payment (customer_id, order_id, attempt);
