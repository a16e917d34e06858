CREATE INDEX outbox_sequence_range ON outbox USING brin (sequence) WITH (autosummarize = on);
ALTER TABLE relay_state ADD COLUMN published_sequence bigint NOT NULL DEFAULT 0;
-- What there is counts as published: how much of it waits, only the relay's next rows can tell.
UPDATE relay_state SET published_sequence = (SELECT last_value FROM outbox_sequence);
