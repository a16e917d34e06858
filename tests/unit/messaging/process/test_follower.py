"""A follower's table is refused if it is none; its inbox is the kit's."""

from __future__ import annotations

import msgspec
import pytest
from tests.support.probe_language import NAMESPACE, Asked, topics

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.listener import ExactlyOnce, InboxOutbox, Listener
from orderflow.messaging.postgres import inbox
from orderflow.messaging.process.follower import INBOX, follow

QUESTIONS, REPLIES = topics("questions", 1)
LISTENER = Listener(
    name="reader",
    group="reader-service",
    source="/reader",
    namespace=NAMESPACE,
    topics=(QUESTIONS,),
    handles=(Asked,),
    delivery=InboxOutbox(handler=lambda _cursor, _batch: []),
)


@pytest.mark.parametrize(
    "change",
    [{"publishes": (REPLIES,)}, {"delivery": ExactlyOnce(handler=lambda _batch: [])}],
    ids=["it publishes", "it has no inbox"],
)
def test_what_is_no_follower_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="listener reader: a follower has an inbox"):
        follow(msgspec.structs.replace(LISTENER, **change), arguments=[])


def test_the_followers_inbox_is_the_kits_word_for_word() -> None:
    _first, upgrade = sorted(INBOX.glob("*.sql"))
    assert upgrade.read_text() == inbox.UPGRADE
