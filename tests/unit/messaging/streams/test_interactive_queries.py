"""Whoever is asked answers for every key: from its own stores, or by one hop, or says why not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tests.support.sales import BY_DAY, BY_SHOP, SALES, TOPOLOGY

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.http import problems
from orderflow.messaging.http.health import json_answer
from orderflow.messaging.http.problems import Problem
from orderflow.messaging.kafka.partitioner import partition_of
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.streams import interactive_queries
from orderflow.messaging.streams.directory import Instance, Sample
from orderflow.messaging.streams.interactive_queries import MinPosition, Queries
from orderflow.messaging.streams.local_state import LocalState, Progress, Task, TaskState
from orderflow.messaging.streams.store.memory_store import MemoryStore, MemoryStores
from orderflow.messaging.streams.store.store import Changes, StorePosition
from orderflow.messaging.testing.eventually import eventually

PARTITIONS = 4
TABLE = "shops"
MOMENT = datetime(2026, 1, 31, tzinfo=UTC)
KEYS = [b"shop-%d" % number for number in range(20)]


class FakeDirectory:
    """What a `Directory` says, told by the test."""

    def __init__(self) -> None:
        self.owners: dict[Place, Instance] = {}
        self.committed: dict[Place, int] = {}
        self.inputs: dict[Place, int] = {}
        self.problem = ""
        self.remembered: datetime | None = None

    def partitions(self, topic: str) -> int:
        if self.problem:
            raise Unavailable(f"partitions of {topic}: {self.problem}", resource="broker")
        return PARTITIONS

    def owner(self, place: Place) -> Instance | None:
        return self.owners.get(place)

    def complete_at(self, _place: Place, position: int) -> datetime | None:
        return MOMENT if position >= 100 else None

    def remembered_since(self, _place: Place) -> datetime | None:
        return self.remembered

    def before(self, topic: str) -> list[str]:
        return [BY_SHOP.name] if topic == BY_DAY.name else []

    def sample(self) -> Sample:
        return Sample(MOMENT, {}, dict(self.committed), dict(self.inputs))


class AnInstance:
    """One process of the service: stores, what it shows of them, and its API on a port."""

    def __init__(self, name: str, directory: Any) -> None:
        self.name = name
        self.local = LocalState()
        self.stores = MemoryStores()
        self.opened: dict[int, MemoryStore] = {}
        self.queries = Queries(TOPOLOGY, local=self.local, directory=directory, instance=name)
        self.requests: list[str] = []

        def ask(request: Request) -> Response:
            minimum = self.queries.min_position(request.query_params)
            key = request.path_params["key"].encode()
            value, freshness = self.queries.get(TABLE, key, minimum=minimum)
            return json_answer({"value": (value or b"").decode(), "freshness": freshness})

        self.app = Starlette(
            routes=[Route("/ask/{key}", ask), *self.queries.routes()],
            exception_handlers=problems.handlers(),
        )
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.instance = Instance(name, self.url)
        config = uvicorn.Config(
            self._counted, log_config=None, lifespan="off", ws="none", interface="asgi3"
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],))
        self.thread.start()
        eventually(lambda: self.server.started, within_s=10)

    def has(self, number: int, input_offset: int = 100, **shown: Any) -> MemoryStore:
        """This instance has a partition of the table, with those of `KEYS` that belong to it."""
        store, _why = self.stores.open(f"{TABLE}-{number}")
        keys = [key for key in KEYS if partition_of(key, PARTITIONS) == number]
        store.apply(
            Changes(
                values={key: b"total of " + key for key in keys},
                ranks={key: {"pieces": int(key[5:])} for key in keys},
                position=StorePosition(input=shown.get("stored", input_offset)),
            )
        )
        self.opened[number] = store
        self.show(number, input_offset, shown.get("state", TaskState.ACTIVE))
        return store

    def show(self, number: int, input_offset: int, state: TaskState = TaskState.ACTIVE) -> None:
        progress = Progress(done=1_000, total=2_000, per_s=1.0)
        self.local.put(
            Task(
                table=TABLE,
                partition=number,
                state=state,
                reader=self.opened[number].reader(),
                input=input_offset,
                progress=progress if state is TaskState.RESTORING else None,
            )
        )

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()
        self.queries.close()

    async def _counted(self, scope: Any, receive: Any, send: Any) -> None:
        self.requests.append(scope["path"])
        await self.app(scope, receive, send)


@pytest.fixture
def directory() -> FakeDirectory:
    return FakeDirectory()


@pytest.fixture
def one(directory: FakeDirectory) -> Iterator[AnInstance]:
    with closing(AnInstance("tally-1", directory)) as instance:
        yield instance


@pytest.fixture
def other(directory: FakeDirectory) -> Iterator[AnInstance]:
    with closing(AnInstance("tally-2", directory)) as instance:
        yield instance


def place(number: int) -> Place:
    return BY_SHOP.name, number


def key_of(number: int) -> bytes:
    return next(key for key in KEYS if partition_of(key, PARTITIONS) == number)


def refused(question: Callable[[], object], status: int = 503) -> str:
    """Why a question is not answered."""
    with pytest.raises(Problem) as caught:
        question()
    assert caught.value.status == status
    if status == 503:
        assert caught.value.headers
        assert int(caught.value.headers["Retry-After"]) > 0
    return str(caught.value.detail)


def test_an_instance_answers_for_its_own_keys_and_says_how_fresh_the_answer_is(
    one: AnInstance,
) -> None:
    one.has(1)
    value, fresh = one.queries.get(TABLE, key_of(1))
    assert value == b"total of " + key_of(1)
    assert fresh.partition == 1
    assert fresh.position == f"{BY_SHOP.name}-1:100"
    assert fresh.complete_at == MOMENT
    assert fresh.behind_ms is not None
    assert fresh.instance == "tally-1"
    assert fresh.state is TaskState.ACTIVE

    none = next(b"none-%d" % n for n in range(99) if partition_of(b"none-%d" % n, PARTITIONS) == 1)
    value, fresh = one.queries.get(TABLE, none)
    assert value is None
    assert fresh.position == f"{BY_SHOP.name}-1:100"


def test_how_fresh_an_answer_is_may_not_be_known_yet(one: AnInstance) -> None:
    one.has(1, 99)
    _value, fresh = one.queries.get(TABLE, key_of(1))
    assert (fresh.complete_at, fresh.behind_ms) == (None, None)


def test_a_key_of_another_instance_is_asked_for_in_one_hop(
    one: AnInstance, other: AnInstance, directory: FakeDirectory
) -> None:
    other.has(2)
    directory.owners[place(2)] = other.instance
    value, fresh = one.queries.get(TABLE, key_of(2))
    assert value == b"total of " + key_of(2)
    assert fresh.instance == "tally-2"
    assert other.requests == [f"/state/{TABLE}"]
    assert one.requests == []


def test_a_request_of_an_instance_is_never_passed_on(
    one: AnInstance, other: AnInstance, directory: FakeDirectory
) -> None:
    """Each believes that the other has it, as in a rebalance."""
    directory.owners[place(2)] = other.instance
    assert "tally-2 can't answer" in refused(lambda: one.queries.get(TABLE, key_of(2)))
    directory.owners[place(2)] = one.instance
    assert "nobody has partition 2" in refused(lambda: one.queries.get(TABLE, key_of(2)))
    answer = httpx2.get(f"{other.url}/state/{TABLE}", params={"key": "00", "partition": "2:0"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert one.requests == []


def test_an_owner_that_is_dead_or_silent_is_given_up_within_seconds(
    one: AnInstance, directory: FakeDirectory
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with socket.create_server(("127.0.0.1", 0)) as gone:
            gone_url = f"http://127.0.0.1:{gone.getsockname()[1]}"
        for url in (silent_url, gone_url):
            directory.owners[place(2)] = Instance("tally-2", url)
            began = time.monotonic()
            assert "tally-2" in refused(lambda: one.queries.get(TABLE, key_of(2)))
            assert time.monotonic() - began < 3


def test_many_questions_for_a_silent_owner_do_not_wait_for_one_another(
    one: AnInstance, directory: FakeDirectory
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        directory.owners[place(2)] = Instance("tally-2", url)
        threads = [
            threading.Thread(target=lambda: refused(lambda: one.queries.get(TABLE, key_of(2))))
            for _ in range(24)
        ]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert time.monotonic() - began < 4


def test_what_nobody_has_is_said_to_be_nobodys(one: AnInstance, directory: FakeDirectory) -> None:
    assert "nobody has partition 2" in refused(lambda: one.queries.get(TABLE, key_of(2)))
    directory.owners[place(2)] = Instance("without an address", "")
    assert "nobody has partition 2" in refused(lambda: one.queries.get(TABLE, key_of(2)))
    directory.problem = "not asked yet"
    assert "brokers" in refused(lambda: one.queries.get(TABLE, key_of(2)))


def test_a_store_that_is_restored_from_an_older_position_answers_and_says_so(
    one: AnInstance,
) -> None:
    one.has(1, 40, state=TaskState.RESTORING)
    value, fresh = one.queries.get(TABLE, key_of(1))
    assert value == b"total of " + key_of(1)
    assert fresh.state is TaskState.RESTORING
    assert fresh.position == f"{BY_SHOP.name}-1:40"


def test_a_store_that_is_restored_from_nothing_says_how_far_it_is(one: AnInstance) -> None:
    one.has(1, -1, state=TaskState.RESTORING)
    why = refused(lambda: one.queries.get(TABLE, key_of(1)))
    assert why == f"{TABLE}-1 is being restored: 1,000 of 2,000 records"


def test_a_store_that_was_damaged_or_set_aside_answers_nothing(one: AnInstance) -> None:
    """Until the container shows its successor."""
    one.has(1)
    one.stores.damage(f"{TABLE}-1")
    assert "restored" in refused(lambda: one.queries.get(TABLE, key_of(1)))
    one.has(2)
    one.stores.set_aside(f"{TABLE}-2", "for a test")
    assert "restored" in refused(lambda: one.queries.get(TABLE, key_of(2)))


def test_lists_are_put_together_from_all_instances(
    one: AnInstance, other: AnInstance, directory: FakeDirectory
) -> None:
    for number in range(PARTITIONS):
        (one if number % 2 else other).has(number)
        directory.owners[place(number)] = (one if number % 2 else other).instance

    entries, freshness = one.queries.top(TABLE, "pieces", 3)
    best = sorted((entry.key for entry in entries), key=lambda key: -int(key[5:]))[:3]
    assert best == [b"shop-19", b"shop-18", b"shop-17"]
    assert [fresh.partition for fresh in freshness] == [0, 1, 2, 3]
    assert {fresh.instance for fresh in freshness} == {"tally-1", "tally-2"}
    assert other.requests == [f"/state/{TABLE}/top"]

    entries, freshness = one.queries.between(TABLE, b"shop-1", b"shop-2", 5, minimum=None)
    assert [entry.key for entry in entries] == sorted(
        k for k in KEYS if b"shop-1" <= k < b"shop-2"
    )[:5]
    assert len(freshness) == PARTITIONS

    directory.owners.pop(place(2))
    assert "nobody has partition 2" in refused(lambda: one.queries.top(TABLE, "pieces", 3))


def test_a_minimum_position_is_waited_for_where_the_key_is(
    one: AnInstance,
    other: AnInstance,
    directory: FakeDirectory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For longer than an instance that does not answer would be."""
    monkeypatch.setattr(interactive_queries, "HOP_WAIT_S", 0.1)
    one.has(1, 100)
    other.has(2, 100)
    directory.owners[place(2)] = other.instance
    directory.committed = {(SALES.name, 0): 49}
    directory.inputs = {place(1): 120, place(2): 120}
    answers: list[str] = []

    def ask(number: int) -> None:
        minimum = MinPosition((SALES.name, 0), 50)
        _value, fresh = one.queries.get(TABLE, key_of(number), minimum=minimum)
        answers.append(fresh.position)

    threads = [threading.Thread(target=ask, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    directory.committed = {(SALES.name, 0): 50}
    eventually(lambda: len(other.requests) >= 3, within_s=5, why="it is asked again")
    assert answers == []
    one.show(1, 120)
    other.show(2, 121)
    for thread in threads:
        thread.join(10)
    assert sorted(answers) == [f"{BY_SHOP.name}-1:120", f"{BY_SHOP.name}-2:121"]


def test_a_minimum_position_that_is_not_reached_is_given_up(
    one: AnInstance,
    other: AnInstance,
    directory: FakeDirectory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interactive_queries, "WAIT_MAX_S", 0.3)
    monkeypatch.setattr(interactive_queries, "HOP_WAIT_S", 0.1)
    one.has(1, 100)
    other.has(2, 100)
    directory.owners[place(2)] = other.instance
    directory.inputs = {place(1): 120, place(2): 120}
    minimum = MinPosition((SALES.name, 0), 50)
    for committed in (49, 50):
        directory.committed = {(SALES.name, 0): committed}
        for number in (1, 2):
            ask = partial(one.queries.get, TABLE, key_of(number), minimum=minimum)
            why = refused(ask)
            assert "minPosition was not reached" in why


def test_a_minimum_position_of_a_table_that_is_forwarded_to_waits_for_what_is_forwarded(
    one: AnInstance, directory: FakeDirectory
) -> None:
    """What is re-keyed is not on the days' topic before it has counted at the shops'."""
    day = (BY_DAY.name, 1)
    directory.committed = {(SALES.name, 0): 50, place(0): 20}
    directory.inputs = {place(0): 30, day: 5}
    required: list[dict[int, int]] = []
    thread = threading.Thread(
        target=lambda: required.append(
            one.queries._required_inputs(
                "days", [1], MinPosition((SALES.name, 0), 50), time.monotonic() + 10
            )
        )
    )
    thread.start()
    thread.join(0.2)
    assert required == []
    directory.inputs = {place(0): 30, day: 9}
    directory.committed = {(SALES.name, 0): 50, place(0): 30}
    thread.join(10)
    assert required == [{1: 9}]


WRONG_POSITIONS = [
    "",
    "7",
    ":",
    "sales",
    "sales-0",
    "sales-0:",
    "sales-:7",
    "sales--1:7",
    "sales-0:-7",
    "other-0:7",
    "sales-0:7.0",
    "sales-0:1e3",
    "sales-²:7",
    "sales-0:²",
    "sales-4:7",
    f"sales-0:{'9' * 5_000}",
    f"sales-{'9' * 5_000}:0",
    " sales-0:7",
]


def test_a_minimum_position_is_written_in_a_single_way(one: AnInstance) -> None:
    for text in WRONG_POSITIONS:
        query = QueryParams({"minPosition": text})
        assert "minPosition" in refused(partial(one.queries.min_position, query), 422)
    assert one.queries.min_position(QueryParams({})) is None
    good = one.queries.min_position(QueryParams({"minPosition": "sales-3:7"}))
    assert good == MinPosition((SALES.name, 3), 7)


QUESTIONS = [
    ("/state/no-such-table?partition=1:0", 404),
    ("/state/no-such-table/top", 404),
    ("/state/shops?key=00", 422),
    ("/state/shops?key=0g&partition=1:0", 422),
    ("/state/shops?key=00&partition=1", 422),
    ("/state/shops?key=00&partition=²:0", 422),
    ("/state/shops?key=00&partition=1:²", 422),
    (f"/state/shops?key=00&partition={'1' * 5_000}:0", 422),
    ("/state/shops/top?rank=pieces&limit=0&partition=1:0", 422),
    ("/state/shops/top?rank=pieces&limit=10001&partition=1:0", 422),
    ("/state/shops/top?rank=pieces&limit=many&partition=1:0", 422),
    ("/state/shops/range?first=zz&last=00&partition=1:0", 422),
    ("/state/shops/range?first=00&last=0&partition=1:0", 422),
    ("/state/shops?key=00&partition=1:0", 200),
    ("/state/shops/top?rank=none&partition=1:0", 200),
    ("/state/shops/range?first=00&last=ff&partition=1:0", 200),
    ("/state/shops?key=00&partition=3:0", 503),
    ("/ask/shop-1?minPosition=sales-9:1", 422),
]


def test_bad_questions_are_refused_before_anything_is_read(one: AnInstance) -> None:
    one.has(1)
    with httpx2.Client(timeout=10) as client:
        answers = [(path, client.get(one.url + path).status_code) for path, _status in QUESTIONS]
    assert answers == QUESTIONS


def test_an_instance_is_as_old_as_its_oldest_partition(
    one: AnInstance, directory: FakeDirectory
) -> None:
    assert one.queries.oldest_s() is None, "it has no tables"
    one.has(0)
    oldest_s = one.queries.oldest_s()
    assert oldest_s is not None
    assert oldest_s == pytest.approx((datetime.now(UTC) - MOMENT).total_seconds(), abs=60)

    one.has(1, input_offset=99)
    assert one.queries.oldest_s() is None, "how old that one is nobody knows"
    directory.remembered = MOMENT - timedelta(days=1)
    older_s = one.queries.oldest_s()
    assert older_s is not None
    assert older_s == pytest.approx(oldest_s + 86_400, abs=60), "at least"
