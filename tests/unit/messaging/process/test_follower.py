"""A follower's table is refused if it is none; its inbox is the kit's."""

from __future__ import annotations

import msgspec
import pytest
from tests.support.probe_language import NAMESPACE, Asked, topics

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.kafka.group_topics import group_topics
from orderflow.messaging.listener import ExactlyOnce, InboxOutbox, Listener
from orderflow.messaging.postgres import inbox
from orderflow.messaging.process.follower import INBOX, follow

INPUTS, OUTPUTS = topics("probe", 3)
LISTENER = Listener(
    name="recommendation",
    group="recommendation-service",
    source="/recommendation",
    namespace=NAMESPACE,
    topics=(INPUTS,),
    handles=(Asked,),
    delivery=InboxOutbox(handler=lambda _cursor, _batch: []),
)


def test_who_publishes_or_has_no_inbox_is_no_follower() -> None:
    for changed in (
        {"publishes": (OUTPUTS,)},
        {"delivery": ExactlyOnce(handler=lambda _batch: [])},
    ):
        with pytest.raises(
            ConfigurationError, match="listener recommendation: a follower has an inbox"
        ):
            follow(msgspec.structs.replace(LISTENER, **changed), arguments=[])


def test_the_followers_inbox_is_the_kits_word_for_word() -> None:
    assert [migration.read_text() for migration in INBOX.glob("*.sql")] == [inbox.DDL]


def test_a_group_has_a_topic_for_dead_letters_and_one_for_their_replay() -> None:
    names = [topic.name for topic in group_topics((INPUTS,), "recommendation-service")]
    assert names == ["probe.recommendation-service.dlt", "probe.recommendation-service.replay"]
