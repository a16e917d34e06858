"""
What every service publishes of its inbox and its outbox: views for an audit that may read nothing
else.

They are part of the service's published language: columns are only ever added. A role needs SELECT
on the views alone, not on the tables behind them.
"""

from __future__ import annotations

INBOX_VIEW = """\
CREATE VIEW books_inbox AS
SELECT listener, event_id, received_at FROM inbox;
COMMENT ON VIEW books_inbox IS
    'Events whose effects are in this database; kept for 35 days. By (listener, event_id).';
"""
"""The migration that publishes a service's inbox, word for word."""

OUTBOX_VIEWS = """\
CREATE VIEW books_outbox AS
SELECT id AS event_id, aggregatetype AS topic, aggregateid AS key, type, sequence, created_at
FROM outbox;
COMMENT ON VIEW books_outbox IS
    'Events that are committed to be published; kept for 7 days. By ranges of sequence.';

CREATE VIEW books_relay AS
SELECT service, published_sequence, (SELECT last_value FROM outbox_sequence) AS drawn_sequence
FROM relay_state;
COMMENT ON VIEW books_relay IS
    'How far the outbox is published, and the last sequence that was drawn.';
"""
"""The migration that publishes a service's outbox and its relay's progress, word for word."""
