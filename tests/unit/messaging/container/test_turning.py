"""A worker whose thread hangs is not ready, whatever it hangs in."""

from __future__ import annotations

import pytest
from tests.support.memory_listener import MemoryListener

from orderflow.messaging.testing.memory_database import MemoryDatabase
from orderflow.messaging.work.turning import TURNS_WITHIN_S


@pytest.mark.parametrize("with_database", [False, True])
def test_a_handler_that_does_not_return_makes_the_worker_not_ready_until_it_does(
    *, with_database: bool
) -> None:
    listener = MemoryListener(database=MemoryDatabase() if with_database else None)
    seen: list[list[str]] = []

    def hang() -> None:
        for _ in range(2):
            listener.clock.advance(TURNS_WITHIN_S / 2 + 1)
            # As another thread asks, while this one is in the handler.
            seen.append(listener.reasons())

    listener.turn()
    listener.handler.meanwhile = hang
    listener.ask("a", 0)
    listener.run()
    assert seen[0] == []
    assert seen[1] == ["listener probe: has not turned for 47 s, in: handle"]
    assert listener.reasons() == []
    assert listener.told == {"a": [0]}


def test_a_worker_that_the_group_gave_up_is_not_ready() -> None:
    """
    A broker that falls silent ends the membership, and no call says so to an idle consumer.
    """
    listener = MemoryListener()
    listener.turn(2)
    assert listener.reasons() == []
    listener.workers[0].client.expel()
    listener.broker.away = True
    listener.turn()
    assert any("broker: joining" in reason for reason in listener.reasons())
    listener.broker.away = False
    listener.turn(2)
    assert listener.reasons() == []
