"""The restarter: failed tasks are started again, later each time, and never without schemas."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from orderflow.connect.rest import ConnectorState, Task
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.testing.memory_clock import MemoryClock
from orderflow.services.operations.restarter import LONGEST_AGAIN_S, Restarter


class Worker:
    """One connector, in a state that the test sets."""

    def __init__(self) -> None:
        self.state = "RUNNING"
        self.away = False
        self.restarts = 0

    def states(self) -> Sequence[ConnectorState]:
        if self.away:
            raise Unavailable("it is away", resource="connect")
        task = Task(id=0, state=self.state)
        return [ConnectorState(name="sink", kind="sink", state="RUNNING", tasks=(task,))]

    def restart(self, name: str, *, only_failed: bool) -> None:
        assert (name, only_failed) == ("sink", True)
        self.restarts += 1

    def close(self) -> None:
        pass


def restarts_after(*, seconds: int, worker: Worker, has_schemas: bool = True) -> list[int]:
    """At which seconds a worker is restarted that is looked at each second."""
    clock = MemoryClock()
    restarter = Restarter(worker, has_schemas=lambda: has_schemas, every_s=1, clock=clock)
    at = []
    for second in range(seconds):
        before = worker.restarts
        restarter.turn(worker)
        if worker.restarts > before:
            at.append(second)
        clock.advance(1)
    return at


def test_what_runs_is_left_alone() -> None:
    assert restarts_after(seconds=100, worker=Worker()) == []


def test_what_fails_again_is_restarted_later_each_time() -> None:
    worker = Worker()
    worker.state = "FAILED"
    at = restarts_after(seconds=400, worker=worker)
    waits = [later - earlier for earlier, later in pairwise(at)]
    assert at[0] == 5
    assert waits[:4] == [10, 20, 40, 60]
    assert max(waits) == LONGEST_AGAIN_S


def test_without_schemas_nothing_is_restarted() -> None:
    worker = Worker()
    worker.state = "FAILED"
    assert restarts_after(seconds=100, worker=worker, has_schemas=False) == []


def test_a_worker_that_is_away_is_waited_for() -> None:
    worker = Worker()
    worker.away = True
    assert restarts_after(seconds=20, worker=worker) == []
