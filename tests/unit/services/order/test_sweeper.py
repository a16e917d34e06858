"""A sweeper that hangs is complained about; one that rests between two rounds is not."""

from __future__ import annotations

import threading
from typing import Any, cast

from orderflow.messaging.testing.memory_clock import MemoryClock
from orderflow.messaging.work.turning import TURNS_WITHIN_S
from orderflow.services.order.config import DeadlineSettings, SweeperSettings
from orderflow.services.order.sweeper import Sweeper


class Hanging:
    """In the place of everything that the sweeper waits for."""

    def __init__(self, clock: MemoryClock, stop: threading.Event) -> None:
        self.clock, self.stop = clock, stop
        self.seen: list[list[str]] = []
        self.sweeper: Sweeper | None = None

    def missing(self) -> list[str]:
        assert self.sweeper is not None
        self.clock.advance(TURNS_WITHIN_S + 1)
        # As another thread asks, while this one hangs.
        self.seen.append(self.sweeper.reasons())
        self.stop.set()
        return ["database: no answer"]

    def close(self) -> None:
        pass


def test_a_sweeper_that_hangs_in_a_round_says_so_until_the_round_ends() -> None:
    clock, stop = MemoryClock(), threading.Event()
    hanging = Hanging(clock, stop)
    anything = cast("Any", hanging)
    hanging.sweeper = sweeper = Sweeper(
        settings=SweeperSettings(port=8300),
        limits=DeadlineSettings().limits,
        prerequisites=anything,
        session=anything,
        progress=anything,
        clock=clock,
    )
    sweeper.run(stop)
    assert hanging.seen == [
        ["sweeper: starting", "sweeper: has not turned for 46 s, in: prerequisites"]
    ]
    clock.advance(1_000)
    assert sweeper.reasons() == ["sweeper: database: no answer"]
