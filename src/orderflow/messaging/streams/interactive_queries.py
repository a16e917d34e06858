"""
Interactive queries: reads of the tables over HTTP, whoever has the key.

An instance answers for its own partitions, and asks the owner for others: one hop, because a
request that came from another instance is never passed on. Every answer says how fresh it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated

import httpx2
import msgspec
from msgspec import Meta
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.http import problems
from orderflow.messaging.http.actor import Reason, actor_of
from orderflow.messaging.http.bodies import read_json
from orderflow.messaging.http.client import BoundedClient
from orderflow.messaging.http.health import json_answer
from orderflow.messaging.http.parameters import query_value
from orderflow.messaging.kafka.partitioner import partition_of
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.streams.directory import (
    Directory,
    Instance,
    Sample,
    milliseconds_since,
)
from orderflow.messaging.streams.local_state import LocalState, Task, TaskState
from orderflow.messaging.streams.pause import SECONDS_MAX
from orderflow.messaging.streams.store.store import Entry, StoreDamaged, StorePosition
from orderflow.messaging.streams.topology import Topology

HOP_WITHIN_S = 2.0
LIMIT_MAX = 10_000
WAIT_MAX_S = 10.0
WAIT_STEP_S = 0.05
HOP_WAIT_S = 1.0
"""How long an instance waits for a position before it says so to the one that asks, which asks
again: so both know that the other is alive."""
MOVING_S = 1.0
HOPS_MAX = 8
OFFSET_DIGITS_MAX = 18
PAUSED_WITHIN_S = 8.0
"""A turn, its commit, and the group."""
PATH = "/state"

Limit = Annotated[int, Meta(ge=1, le=LIMIT_MAX)]
Read = Callable[[Task], tuple[Sequence[Entry], StorePosition]]


class Freshness(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    How fresh one partition's part of an answer is.

    Every record of the table's input below `position` (`<topic>-<partition>:<offset>`) is in it,
    and everything that was on the source at `completeAt`, `behindMs` ago; null if that is not known
    yet. `state` RESTORING: the store is older than what was committed, and catches up. PAUSED: it
    stands still, while an operator's command works on the state.
    """

    partition: int
    position: str
    complete_at: datetime | None
    behind_ms: int | None
    instance: str
    state: TaskState


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one instance says of its own partitions."""

    entries: list[Entry]
    freshness: list[Freshness]


class PauseRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let the listener stand still for so many seconds, or until it is resumed."""

    seconds: Annotated[float, Meta(gt=0, le=SECONDS_MAX)] = 60.0
    reason: Reason


class PauseView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether an instance's listener stands still; its API answers all the same."""

    instance: str
    paused: bool


_PAUSE = msgspec.json.Decoder(PauseRequest)


class MinPosition(msgspec.Struct, frozen=True):
    """The answer must contain everything below `offset` of this partition of the source."""

    place: Place
    offset: int


class Queries:
    """
    The tables of a topology, wherever they are. Every method raises a problem: 503 with
    Retry-After when nobody has a partition now, or its owner does not answer within 2 s.
    """

    def __init__(
        self, topology: Topology, *, local: LocalState, directory: Directory, instance: str
    ) -> None:
        self._source = topology.source.name
        self._tables = {table.name: table for table in topology.tables}
        self._local = local
        self._directory = directory
        self._instance = instance
        self._client = BoundedClient(within_s=HOP_WITHIN_S)
        self._pool = ThreadPoolExecutor(HOPS_MAX, thread_name_prefix="hop")

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._client.close()

    def get(
        self, table: str, key: bytes, *, minimum: MinPosition | None = None
    ) -> tuple[bytes | None, Freshness]:
        """The value of `key`, None if it has none."""
        numbers = [partition_of(key, self._partitions(table))]
        query = {"key": key.hex()}
        part = self._gather(table, numbers, f"{PATH}/{table}", query, _get(key), minimum)
        value = part.entries[0].value if part.entries else None
        return value, part.freshness[0]

    def top(
        self, table: str, rank: str, limit: int, *, minimum: MinPosition | None = None
    ) -> tuple[list[Entry], list[Freshness]]:
        """
        `limit` entries of each partition by `rank`, highest first in each: the caller puts them
        together by the numbers in their values.
        """
        query = {"rank": rank, "limit": str(limit)}
        numbers = range(self._partitions(table))
        path = f"{PATH}/{table}/top"
        part = self._gather(table, numbers, path, query, _top(rank, limit), minimum)
        return part.entries, part.freshness

    def between(
        self, table: str, first: bytes, last: bytes, limit: int, *, minimum: MinPosition | None
    ) -> tuple[list[Entry], list[Freshness]]:
        """At most `limit` entries of each partition with `first` ≤ key < `last`, by key."""
        query = {"first": first.hex(), "last": last.hex(), "limit": str(limit)}
        numbers = range(self._partitions(table))
        read = _range(first, last, limit)
        part = self._gather(table, numbers, f"{PATH}/{table}/range", query, read, minimum)
        return sorted(part.entries, key=lambda entry: entry.key)[:limit], part.freshness

    def routes(self) -> list[Route]:
        """What other instances ask: this one's own partitions, never passed on."""

        def get(request: Request) -> Response:
            query = request.query_params
            return json_answer(self._own(request, _get(_hex(query, "key"))))

        def top(request: Request) -> Response:
            query = request.query_params
            limit = query_value(query, "limit", Limit, default=LIMIT_MAX)
            return json_answer(self._own(request, _top(query.get("rank", ""), limit)))

        def between(request: Request) -> Response:
            query = request.query_params
            limit = query_value(query, "limit", Limit, default=LIMIT_MAX)
            read = _range(_hex(query, "first"), _hex(query, "last"), limit)
            return json_answer(self._own(request, read))

        return [
            Route(f"{PATH}/pause", self._pause, methods=["POST"]),
            Route(f"{PATH}/resume", self._resume, methods=["POST"]),
            Route(f"{PATH}/{{table}}", get, methods=["GET"]),
            Route(f"{PATH}/{{table}}/top", top, methods=["GET"]),
            Route(f"{PATH}/{{table}}/range", between, methods=["GET"]),
        ]

    async def _pause(self, request: Request) -> Response:
        body = await read_json(request, _PAUSE)
        actor, pause = actor_of(request), self._local.pause
        pause.begin(body.seconds, actor=actor, reason=body.reason)

        if not await run_in_threadpool(pause.wait_until_kept, PAUSED_WITHIN_S):
            raise problems.unavailable(
                f"the listener did not come to rest within {PAUSED_WITHIN_S:.0f} s; it will"
            )
        return json_answer(PauseView(instance=self._instance, paused=True))

    async def _resume(self, request: Request) -> Response:
        self._local.pause.end(actor=actor_of(request))
        return json_answer(PauseView(instance=self._instance, paused=False))

    def min_position(self, query: QueryParams) -> MinPosition | None:
        """The parameter `minPosition`. Raises a problem (422) that says how it is written."""
        text = query.get("minPosition")
        if text is None:
            return None
        place, _, offset = text.rpartition(":")
        topic, _, number = place.rpartition("-")
        if topic != self._source or not (_is_number(number) and _is_number(offset)):
            raise problems.invalid(f"minPosition is written {self._source}-<partition>:<offset>")

        partitions = self._count(self._source)
        if int(number) >= partitions:
            raise problems.invalid(f"minPosition: {self._source} has {partitions} partitions")
        return MinPosition((topic, int(number)), int(offset))

    def _is_own(self, table: str, number: int) -> bool:
        """Whether this instance answers; for what it kept in a pause only until another has it."""
        task = self._local.tasks.get((table, number))
        if task is None or task.state is not TaskState.PAUSED:
            return task is not None
        owner = self._directory.owner((self._tables[table].repartition.name, number))
        return owner is None or not owner.url or owner.name == self._instance

    def _own(self, request: Request, read: Read) -> Part:
        table = request.path_params["table"]
        if table not in self._tables:
            raise problems.problem(HTTPStatus.NOT_FOUND, "no-such-table", "There is no such table")

        required = dict(_required(text) for text in request.query_params.getlist("partition"))
        if not required:
            raise problems.invalid("partition: name at least one, as <number>:<offset>")
        tasks = [self._local.tasks.get((table, number)) for number in required]
        own = [task for task in tasks if task is not None]
        if len(own) < len(required):
            raise _nobody(table, required)
        deadline = time.monotonic() + HOP_WAIT_S
        while not self._has(table, required):
            if time.monotonic() >= deadline:
                raise problems.problem(
                    HTTPStatus.TOO_EARLY, "not-yet", "The position is not reached yet"
                )
            time.sleep(WAIT_STEP_S)
        return self._read(table, required, read)

    def _gather(
        self,
        table: str,
        numbers: Sequence[int],
        path: str,
        query: Mapping[str, str],
        read: Read,
        minimum: MinPosition | None,
    ) -> Part:
        """
        These partitions' parts. One that moves to another instance at this moment, as when a pause
        has ended, is waited for: 1 s at most.
        """
        until = time.monotonic() + MOVING_S
        while True:
            try:
                return self._try_to_gather(table, numbers, path, query, read, minimum)
            except problems.Problem:
                if time.monotonic() >= until:
                    raise
            time.sleep(WAIT_STEP_S)

    def _try_to_gather(
        self,
        table: str,
        numbers: Sequence[int],
        path: str,
        query: Mapping[str, str],
        read: Read,
        minimum: MinPosition | None,
    ) -> Part:
        """This instance's own parts, and those of others, asked at once."""
        deadline = time.monotonic() + WAIT_MAX_S
        required = dict.fromkeys(numbers, 0)
        if minimum is not None:
            required = self._required_inputs(table, required, minimum, deadline)

        own = {n: offset for n, offset in required.items() if self._is_own(table, n)}
        others: dict[Instance, list[str]] = {}
        for number, offset in required.items():
            if number not in own:
                owner = self._owner(table, number)
                others.setdefault(owner, []).append(f"{number}:{offset}")

        asks = [
            partial(self._ask, instance, path, {**query, "partition": wanted}, deadline)
            for instance, wanted in others.items()
        ]
        # The first on this thread: a request of one hop waits for no other's.
        hops = [self._pool.submit(ask) for ask in asks[1:]]
        parts = [ask() for ask in asks[:1]]
        while not self._has(table, own):
            _rest(deadline)
        parts += [self._read(table, own, read), *(hop.result() for hop in hops)]
        return Part(
            entries=[entry for part in parts for entry in part.entries],
            freshness=sorted(
                (fresh for part in parts for fresh in part.freshness),
                key=lambda fresh: fresh.partition,
            ),
        )

    def _read(self, table: str, numbers: Iterable[int], read: Read) -> Part:
        entries: list[Entry] = []
        freshness: list[Freshness] = []
        for number in numbers:
            task = self._local.tasks.get((table, number))
            if task is None:
                raise _nobody(table, [number])

            # The position before the store: what is read is at least as new as it says.
            at_least = self._input(task)
            try:
                read_entries, position = read(task)
            except StoreDamaged as error:
                raise _restoring(task) from error
            entries += read_entries
            freshness.append(self._freshness(task, max(at_least, position.input)))
        return Part(entries=entries, freshness=freshness)

    def _input(self, task: Task) -> int:
        if task.state is not TaskState.ACTIVE and task.input < 0:
            # It begins from nothing: what it has is no state that there ever was.
            raise _restoring(task)
        return task.input

    def oldest_s(self) -> float | None:
        """
        How old the oldest answer of this instance's tables would be now, in seconds; at least, if
        it is older than anybody remembers. None if it has no tables, or nothing is known yet.
        """
        moments = [
            self._complete_at(task) or self._directory.remembered_since(self._input_place(task))
            for task in self._local.tasks.values()
        ]
        known = [moment for moment in moments if moment is not None]
        if not known or len(known) < len(moments):
            return None
        return milliseconds_since(min(known)) / 1000

    def _complete_at(self, task: Task) -> datetime | None:
        return self._directory.complete_at(self._input_place(task), task.input)

    def _input_place(self, task: Task) -> Place:
        return self._tables[task.table].repartition.name, task.partition

    def _freshness(self, task: Task, position: int) -> Freshness:
        topic = self._tables[task.table].repartition.name
        complete_at = self._directory.complete_at((topic, task.partition), position)
        return Freshness(
            partition=task.partition,
            position=f"{topic}-{task.partition}:{position}",
            complete_at=complete_at,
            behind_ms=None if complete_at is None else milliseconds_since(complete_at),
            instance=self._instance,
            state=task.state,
        )

    def _owner(self, table: str, number: int) -> Instance:
        owner = self._directory.owner((self._tables[table].repartition.name, number))
        if owner is None or not owner.url or owner.name == self._instance:
            raise _nobody(table, [number])
        return owner

    def _ask(
        self,
        instance: Instance,
        path: str,
        query: Mapping[str, str | Sequence[str]],
        deadline: float,
    ) -> Part:
        while True:
            try:
                answer = self._client.get(f"{instance.url}{path}", params=dict(query))
            except httpx2.TransportError as error:
                raise problems.unavailable(
                    f"{instance.name}, which has this part, does not answer"
                ) from error
            if answer.status_code != HTTPStatus.TOO_EARLY:
                break
            _rest(deadline)

        if answer.status_code != HTTPStatus.OK:
            raise problems.unavailable(f"{instance.name} can't answer for this part now")
        return msgspec.json.decode(answer.content, type=Part)

    def _partitions(self, table: str) -> int:
        return self._count(self._tables[table].repartition.name)

    def _count(self, topic: str) -> int:
        try:
            return self._directory.partitions(topic)
        except Unavailable as error:
            raise problems.unavailable("the brokers have not answered yet") from error

    def _required_inputs(
        self, table: str, numbers: Iterable[int], minimum: MinPosition, deadline: float
    ) -> dict[int, int]:
        """
        The offsets of the table's input below which everything is that stands below `minimum`.

        Known once all of that is re-keyed, and forwarded by the tables before this one: then it is
        on the repartition topics, as they are now.
        """
        topic = self._tables[table].repartition.name
        sample = self._sample_after({minimum.place: minimum.offset}, deadline)
        for earlier in self._directory.before(topic):
            ends = {place: end for place, end in sample.inputs.items() if place[0] == earlier}
            sample = self._sample_after(ends, deadline)
        return {number: sample.inputs.get((topic, number), 0) for number in numbers}

    def _sample_after(self, ends: Mapping[Place, int], deadline: float) -> Sample:
        """Wait until what everything below `ends` leads to is on the next topics."""
        while True:
            try:
                sample = self._directory.sample()
            except Unavailable as error:
                raise problems.unavailable("the brokers do not answer") from error
            if sample.has_rekeyed(ends):
                return sample
            _rest(deadline)

    def _has(self, table: str, required: Mapping[int, int]) -> bool:
        """
        Whether everything below these offsets of the table's input is in its stores. A task that is
        not here any more is nothing to wait for.
        """
        tasks = {number: self._local.tasks.get((table, number)) for number in required}
        # Nothing is required below 0, whatever a store that begins from nothing says.
        return all(task is None or max(task.input, 0) >= required[n] for n, task in tasks.items())


def _rest(deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise problems.unavailable(f"minPosition was not reached within {WAIT_MAX_S:.0f} s")
    time.sleep(WAIT_STEP_S)


def _required(text: str) -> tuple[int, int]:
    """`<partition>:<offset>`, as another instance sends it."""
    number, _, offset = text.partition(":")
    if not (_is_number(number) and _is_number(offset)):
        raise problems.invalid("partition is written <number>:<offset>")
    return int(number), int(offset)


def _is_number(text: str) -> bool:
    """Whether it is written in digits, and no greater than an offset can be."""
    return text.isascii() and text.isdigit() and len(text) <= OFFSET_DIGITS_MAX


def _get(key: bytes) -> Read:
    def read(task: Task) -> tuple[Sequence[Entry], StorePosition]:
        value, position = task.reader.get(key)
        return ([] if value is None else [Entry(key, value)]), position

    return read


def _top(rank: str, limit: int) -> Read:
    return lambda task: task.reader.top(rank, limit)


def _range(first: bytes, last: bytes, limit: int) -> Read:
    return lambda task: task.reader.between(first, last, limit)


def _hex(query: QueryParams, name: str) -> bytes:
    try:
        return bytes.fromhex(query.get(name, ""))
    except ValueError:
        raise problems.invalid(f"{name} is written in hexadecimal digits") from None


def _restoring(task: Task) -> problems.Problem:
    progress = task.progress
    done = f": {progress.done:,} of {progress.total:,} records" if progress else ""
    return problems.unavailable(f"{task.table}-{task.partition} is being restored{done}")


def _nobody(table: str, numbers: Iterable[int]) -> problems.Problem:
    which = ", ".join(str(number) for number in numbers)
    return problems.unavailable(f"nobody has partition {which} of {table} at this moment")
