"""Inboxes keep what they know for as long as a record of our topics can come again."""

from __future__ import annotations

from orderflow.contracts.roster import ROSTER
from orderflow.messaging.kafka.record_life import longest
from orderflow.messaging.kafka.topics import Durability, TopicDescription, config_of
from orderflow.messaging.postgres import inbox


def test_what_we_declare_is_forgotten_by_no_inbox_too_early() -> None:
    declared = [topic for row in ROSTER if row.has_database for topic in row.listens_to]
    topics = [
        TopicDescription(partitions=1, replicas=1, config=config_of(topic, Durability(1, 1)))
        for topic in declared
    ]
    life = longest(topics)
    assert life is not None
    assert life <= inbox.RETENTION
