-- The list of notifications in a state that few are in, newest first. A column of its own, which is null before and after
-- a mail is sent: so sending changes no index.
ALTER TABLE delivery ADD COLUMN seldom_state text
    GENERATED ALWAYS AS (CASE WHEN state IN ('HELD', 'OVERTAKEN', 'FAILED') THEN state END) STORED;
CREATE INDEX delivery_seldom ON delivery (seldom_state, position) WHERE seldom_state IS NOT NULL;
