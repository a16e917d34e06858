DROP INDEX inbox_received_at;
CREATE INDEX inbox_received_at ON inbox (received_at);
