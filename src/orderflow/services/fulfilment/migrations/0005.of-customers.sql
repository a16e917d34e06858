-- The list of a customer's shipments, newest order first.
CREATE INDEX shipment_of_customer ON shipment (customer_id, order_id);
