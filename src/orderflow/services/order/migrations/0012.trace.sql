-- The span in which an order was written: whoever changes the order later continues this trace.
ALTER TABLE orders ADD COLUMN traceparent text CHECK (octet_length(traceparent) <= 128);
