"""A pause: the listener stands still, its answers go on, and it ends by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, cast

import httpx2
import pytest
from tests.support.sales import BY_SHOP, TOPOLOGY, Tally

from orderflow.messaging.container import Container
from orderflow.messaging.http.api import http_api
from orderflow.messaging.http.client import BoundedClient
from orderflow.messaging.http.problems import Problem
from orderflow.messaging.process.pausable import PausableListener
from orderflow.messaging.streams.directory import Directory, Instance
from orderflow.messaging.streams.interactive_queries import Queries
from orderflow.messaging.streams.local_state import LocalState, Task, TaskState
from orderflow.messaging.streams.pause import Pause
from orderflow.messaging.streams.store.memory_store import MemoryStores
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


class Owners:
    """Stands in for the directory: one instance has everything."""

    def __init__(self, owner: Instance) -> None:
        self._owner = owner

    def owner(self, _place: object) -> Instance:
        return self._owner

    def partitions(self, _topic: str) -> int:
        return 1

    def complete_at(self, _place: object, _position: int) -> None:
        return None


def queries(local: LocalState, owner: Instance) -> Queries:
    directory = cast("Directory", Owners(owner))
    return Queries(TOPOLOGY, local=local, directory=directory, instance="tally-0")


def paused_state() -> LocalState:
    local = LocalState()
    store, _why = MemoryStores().open("shops-0")
    task = Task(table="shops", partition=0, state=TaskState.ACTIVE, reader=store.reader(), input=7)
    local.put(task)
    local.pause.begin(60, actor="me", reason="a test")
    local.remove("shops", 0)
    return local


@pytest.mark.parametrize(
    "owner", [Instance("tally-0", "http://here"), Instance("tally-service-rebuild", "")]
)
def test_an_instance_in_a_pause_answers_itself_while_no_other_has_its_part(
    owner: Instance,
) -> None:
    value, freshness = queries(paused_state(), owner).get("shops", b"north")
    assert value is None
    assert freshness.state is TaskState.PAUSED
    assert freshness.position == f"{BY_SHOP.name}-0:7"


def test_what_another_has_by_now_is_asked_of_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this instance kept in a pause may be old by then."""
    asked_of: set[str] = set()

    def refused(_client: object, url: str, **_options: object) -> httpx2.Response:
        asked_of.add(url)
        raise httpx2.ConnectError("nobody listens")

    monkeypatch.setattr(BoundedClient, "get", refused)
    with pytest.raises(Problem):
        queries(paused_state(), Instance("tally-1", "http://there")).get("shops", b"north")
    assert asked_of == {"http://there/state/shops"}


def test_a_part_that_moves_at_this_moment_is_waited_for() -> None:
    """It has an owner already, and its new store is about to be shown."""
    local = LocalState()
    shown = queries(local, Instance("tally-0", "http://here"))
    moving = threading.Timer(0.1, lambda: local.put(paused_state().tasks["shops", 0]))
    moving.start()
    value, _freshness = shown.get("shops", b"north")
    moving.join()
    assert value is None


def test_pause_and_resume_over_http_want_a_reason_and_tell_when_it_stands_still() -> None:
    local = LocalState()
    pause, runs = local.pause, Runs()
    _listener, end = running(pause, runs)
    routes = queries(local, Instance("tally-0", "")).routes()
    app = http_api(routes, title="tally", document=dict, reasons=list)

    async def post(path: str, body: object = None) -> httpx2.Response:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://tally") as client:
            return await client.post(path, json=body)

    assert asyncio.run(post("/state/pause", {})).status_code == 422
    assert asyncio.run(post("/state/pause", {"reason": "x", "seconds": 9_999})).status_code == 422
    assert not pause.is_wanted

    answer = asyncio.run(post("/state/pause", {"reason": "a test"}))
    assert answer.json() == {"instance": "tally-0", "paused": True}
    assert not runs.running
    assert asyncio.run(post("/state/resume")).json() == {"instance": "tally-0", "paused": False}
    within_5_s(lambda: runs.running)
    end()
