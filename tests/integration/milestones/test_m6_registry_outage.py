"""
A registry that is away: who has met the schemas goes on, who has not waits, and nothing becomes a
dead letter.
"""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.listener_probe import header, listener_probe
from tests.support.probe_language import Ignored, asked
from tests.support.records import headers
from tests.support.stack import OwnStack

from orderflow.messaging.testing.eventually import eventually

KEYS = [f"key-{number}" for number in range(50)]
OFF_S = 20.0
INBOX_OUTBOX = "inbox-outbox"


def test_twenty_seconds_without_the_registry_lose_nothing_and_make_no_dead_letter(
    own_stack: OwnStack, tmp_path: Path
) -> None:
    with listener_probe(own_stack, tmp_path) as warm, listener_probe(own_stack, tmp_path) as cold:
        worker = warm.worker(INBOX_OUTBOX)
        warm.produce_each(KEYS, range(5))
        warm.assert_each_once_in_order(INBOX_OUTBOX)
        cold.produce_each(KEYS, range(5))
        own_stack.stop("registry")
        off_at = time.monotonic()
        starting = cold.worker("exactly-once", wait=False)
        warm.produce_each(KEYS, range(5, 10))
        warm.assert_each_once_in_order(INBOX_OUTBOX, within_s=15)
        new = Ignored(id=KEYS[0], number=10, at=asked(KEYS[0], 10).at)
        warm.send(KEYS[0].encode(), warm.encoder.encode(warm.name, new), headers(new))
        warm.produce_each(KEYS, range(11, 15))
        eventually(
            lambda: worker.reasons, within_s=20, why="a schema that is new to it needs the registry"
        )
        others = [key for key in KEYS if key != KEYS[0]]
        eventually(
            lambda: all(len(warm.effects()[key]) == len(warm.produced[key]) for key in others),
            within_s=15,
            why="all other keys go on",
        )
        assert len(warm.effects()[KEYS[0]]) == 10, (
            "what comes after the new schema in its key waits behind it"
        )
        says = lambda: "registry" in "".join(starting.reasons or [])  # noqa: E731 - one line, one word
        eventually(says, within_s=20, why="a cold worker says what it waits for")
        eventually(lambda: time.monotonic() - off_at > OFF_S, within_s=2 * OFF_S)
        own_stack.start("registry")
        warm.assert_each_once_in_order(INBOX_OUTBOX)
        cold.assert_each_once_in_order("exactly-once")
        eventually(
            lambda: worker.is_ready and starting.is_ready, within_s=30, why="both are well again"
        )
        assert not warm.dead()
        assert not cold.dead()


def test_a_schema_id_that_the_registry_does_not_know_is_a_dead_letter(
    own_stack: OwnStack, tmp_path: Path
) -> None:
    with listener_probe(own_stack, tmp_path) as probe:
        probe.produce_each(KEYS, range(3))
        unknown = b"\x00" + (2**31 - 7).to_bytes(4, "big") + b"whatever"
        event = asked(KEYS[0], 3)
        sent = headers(event)
        probe.send(KEYS[0].encode(), unknown, sent)
        probe.produce_each(KEYS, range(4, 6))
        probe.worker("exactly-once")
        probe.assert_each_once_in_order("exactly-once")
        (dead,) = eventually(probe.dead, within_s=20, why="the unreadable record is a dead letter")
        assert (dead.key, dead.value) == (KEYS[0].encode(), unknown)
        assert header(dead, "ce_id") == dict(sent)["ce_id"].decode()
