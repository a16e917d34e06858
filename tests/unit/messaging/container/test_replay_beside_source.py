"""
A dead letter that comes back on the replay topic while records of its key are in flight on the
source topic: two partitions, one key. Whatever the delivery, never two of them at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from tests.support.memory_listener import MemoryListener
from tests.unit.messaging.container.test_prepare_stage import Charges

from orderflow.messaging.testing.memory_database import MemoryDatabase

DELIVERIES: dict[str, Callable[[], MemoryListener]] = {
    "exactly-once": MemoryListener,
    "prepare": lambda: MemoryListener(prepare=Charges()),
    "inbox-outbox": lambda: MemoryListener(database=MemoryDatabase()),
}


@pytest.mark.parametrize("listening", DELIVERIES.values(), ids=DELIVERIES.keys())
@pytest.mark.parametrize("replays_first", [False, True])
def test_a_replay_and_a_record_of_its_key_are_never_in_one_wave(
    listening: Callable[[], MemoryListener], replays_first: bool
) -> None:
    listener = listening()
    listener.turn()
    if replays_first:
        listener.replay("a", 2, 3)
    listener.ask("a", 0, 1)
    if not replays_first:
        listener.replay("a", 2, 3)
    for key in "bcd":
        listener.ask(key, 0)
    listener.run()

    waves = [Counter(key for key, _number in wave) for wave in listener.handler.waves]
    assert max(wave["a"] for wave in waves) == 1, listener.handler.waves
    assert sum(wave["a"] for wave in waves) == 4
    handled = [number for wave in listener.handler.waves for key, number in wave if key == "a"]
    assert [number for number in handled if number < 2] == [0, 1]
    assert [number for number in handled if number >= 2] == [2, 3]
    assert sorted(listener.told["a"]) == [0, 1, 2, 3]


def test_neither_is_a_batch_of_intents() -> None:
    charges = Charges()
    listener = MemoryListener(prepare=charges)
    listener.turn()
    listener.ask("a", 0, 1)
    listener.replay("a", 2, 3)
    listener.ask("b", 0)
    listener.run()
    batches = [Counter(key for key, _number in batch) for batch in charges.batches]
    assert max(batch["a"] for batch in batches) == 1
    assert charges.calls == {"a": 4, "b": 1}
