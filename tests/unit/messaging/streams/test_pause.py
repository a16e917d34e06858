"""A pause: the listener stands still, its answers go on, and it ends by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

from tests.support.sales import Tally

from orderflow.messaging.container import Container
from orderflow.messaging.process.pausable import PausableListener
from orderflow.messaging.streams.local_state import TaskState
from orderflow.messaging.streams.pause import Pause
from orderflow.messaging.testing.eventually import eventually
from orderflow.messaging.testing.memory_clock import MemoryClock


class Runs:
    """Stands in for containers: counts its runs, each of which ends when its event is set."""

    def __init__(self) -> None:
        self.begun = 0
        self.running = False

    def build(self) -> Container:
        return cast("Container", self)

    def run(self, stop: threading.Event) -> None:
        self.begun += 1
        self.running = True
        while not stop.wait(0.01):
            pass
        self.running = False

    def reasons(self) -> list[str]:
        return ["a reason"]


def running(pause: Pause, runs: Runs) -> tuple[PausableListener, Callable[[], None]]:
    listener, stop = PausableListener(runs.build, pause), threading.Event()
    thread = threading.Thread(target=listener.run, args=(stop,))
    thread.start()

    def end() -> None:
        stop.set()
        thread.join(5)
        assert not thread.is_alive()

    return listener, end


def within_5_s(condition: Callable[[], Any]) -> None:
    eventually(condition, within_s=5, every_s=0.01)


def test_a_listener_stands_still_in_a_pause_and_goes_on_after_it() -> None:
    pause, runs = Pause(), Runs()
    listener, end = running(pause, runs)
    within_5_s(lambda: runs.running)
    assert listener.reasons() == ["a reason"]

    pause.begin(60, actor="me", reason="a test")
    assert pause.wait_until_kept(5)
    assert not runs.running
    assert listener.reasons() == []

    pause.end(actor="me")
    within_5_s(lambda: runs.begun == 2 and runs.running)
    end()


def test_a_listener_in_a_pause_can_be_stopped() -> None:
    pause, runs = Pause(), Runs()
    pause.begin(60, actor="me", reason="a test")
    _listener, end = running(pause, runs)
    assert pause.wait_until_kept(5)
    end()
    assert runs.begun == 1


def test_a_pause_that_nobody_ends_or_renews_ends_by_itself() -> None:
    clock = MemoryClock()
    pause = Pause(clock)
    pause.begin(60, actor="me", reason="a test")
    clock.advance(59)
    pause.begin(60, actor="me", reason="a test")
    clock.advance(59)
    assert pause.is_wanted
    clock.advance(1)
    assert not pause.is_wanted


def test_what_an_instance_has_can_be_read_in_a_pause() -> None:
    tally = Tally()
    tally.sell("north", "r1", 3)
    tally.run()
    local = tally.workers[0].local
    local.pause.begin(60, actor="me", reason="a test")
    tally.workers[0].stop()
    assert {task.state for task in local.tasks.values()} == {TaskState.PAUSED}
    assert tally.shops == {"north": (3, 1)}

    local.pause.end(actor="me")
    tally.workers[0].restart()
    tally.sell("north", "r2", 4)
    tally.run()
    assert tally.shops == {"north": (7, 2)}
