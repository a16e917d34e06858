CREATE INDEX outbox_key ON outbox
USING brin (aggregateid text_bloom_ops (n_distinct_per_range = 1000))
WITH (pages_per_range = 64, autosummarize = on);
CREATE INDEX outbox_default_created_at ON outbox_default (created_at);
