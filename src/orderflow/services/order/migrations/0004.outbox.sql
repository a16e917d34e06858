CREATE SEQUENCE outbox_sequence;
ALTER TABLE outbox ADD COLUMN sequence bigint NOT NULL DEFAULT nextval('outbox_sequence');
ALTER TABLE relay_state ADD COLUMN tick bigint NOT NULL DEFAULT 0;
