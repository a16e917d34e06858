"""A follower's table is refused if it is none; its inbox is the kit's."""

from __future__ import annotations

import msgspec
import pytest
from tests.support.recommendation.__main__ import LISTENER

from orderflow.contracts.roster import TOPICS
from orderflow.contracts.topics import NOTIFICATIONS, ORDERS
from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.kafka.group_topics import group_topics
from orderflow.messaging.listener import ExactlyOnce
from orderflow.messaging.postgres import inbox
from orderflow.messaging.process.follower import INBOX, follow


def test_who_publishes_or_has_no_inbox_is_no_follower() -> None:
    for changed in (
        {"publishes": (NOTIFICATIONS,)},
        {"delivery": ExactlyOnce(handler=lambda _batch: [])},
    ):
        with pytest.raises(
            ConfigurationError, match="listener recommendation: a follower has an inbox"
        ):
            follow(msgspec.structs.replace(LISTENER, **changed), arguments=[])


def test_the_followers_inbox_is_the_kits_word_for_word() -> None:
    assert [migration.read_text() for migration in INBOX.glob("*.sql")] == [inbox.DDL]


def test_a_groups_own_topics_are_those_that_the_deploy_step_makes_for_the_groups_it_knows() -> None:
    names = [topic.name for topic in group_topics((ORDERS,), "payment-service")]
    assert names == ["orders.payment-service.dlt", "orders.payment-service.replay"]
    assert set(names) <= {topic.name for topic in TOPICS}
