"""A follower's table is refused if it is none; its inbox is the kit's."""

from __future__ import annotations

import os

import msgspec
import pytest
from tests.support.probe_language import NAMESPACE, Asked, topics

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.listener import ExactlyOnce, InboxOutbox, Listener
from orderflow.messaging.postgres import inbox
from orderflow.messaging.process.follower import INBOX, FollowerSettings, follow
from orderflow.messaging.settings import load

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


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """One without any setting of ours."""
    for name in [name for name in os.environ if name.startswith("ORDERFLOW_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_a_follower_and_the_stack_share_one_shell(shell: pytest.MonkeyPatch) -> None:
    shell.setenv("ORDERFLOW_FOLLOWER__DATABASE__DSN", "postgresql://127.0.0.1/reader")
    shell.setenv("ORDERFLOW_STACK__PORT_OFFSET", "1000")
    shell.setenv("ORDERFLOW_ORDER__API__PORT", "8080")
    assert load(FollowerSettings, guest=True).follower.listener.port == 8290


@pytest.mark.parametrize(
    "name", ["ORDERFLOW_FOLOWER__DATABASE__DSN", "ORDERFLOW_FOLLOWER__DATABASE__DNS"]
)
def test_what_resembles_a_followers_own_setting_is_refused(
    shell: pytest.MonkeyPatch, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.setenv(name, "postgresql://127.0.0.1/reader")
    assert follow(LISTENER, arguments=[]) == 2
    assert name in capsys.readouterr().err


def test_a_follower_without_an_address_is_told_its_whole_name(
    shell: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del shell
    assert follow(LISTENER, arguments=[]) == 2
    assert (
        capsys.readouterr().err
        == "reader: ORDERFLOW_FOLLOWER__DATABASE__DSN is required, and not set\n"
    )
