"""
Who has which table partition, and up to which moment its answers contain everything.

A thread asks the brokers twice a second. The group's own description of its members says where
each partition is; a member's client id ends with its address (`revenue-1@http://10.0.0.7:8086`).
Ends and committed offsets say how fresh a position is.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec

from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.clients import KafkaException
from orderflow.messaging.kafka.groups import Members
from orderflow.messaging.kafka.lag import committed_windows, observer
from orderflow.messaging.kafka.logs import Logs
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.streams.topology import Topology, no_forward
from orderflow.messaging.telemetry import logger

EVERY_S = 0.5
ASK_WITHIN_S = 2.0
POINTS_MAX = 1_200
"""Moments that are remembered: ten minutes of them."""

Point = tuple[datetime, Mapping[Place, int]]
"""A moment, and the ends that hold what was on the source then."""

log = logger("streams")


class Instance(msgspec.Struct, frozen=True):
    """A member of the group, and where its API is."""

    name: str
    url: str


class Sample(msgspec.Struct, frozen=True):
    """
    What the brokers said at one moment. `ends`: of the source; `committed`: the group's offsets on
    it and on the repartition topics; `inputs`: the ends of those, asked for after `committed`.
    """

    at: datetime
    ends: Mapping[Place, int]
    committed: Mapping[Place, int]
    inputs: Mapping[Place, int]

    def has_rekeyed(self, ends: Mapping[Place, int]) -> bool:
        """Whether what everything below `ends` leads to is on the next topics: below `inputs`."""
        return all(self.committed.get(place, 0) >= end for place, end in ends.items())


class Directory:
    """
    `start` and `close` from one thread; everything else from any.

    Until the first answer of the brokers nobody has anything.
    """

    def __init__(
        self, kafka: KafkaSettings, *, group: str, topology: Topology, own: Instance
    ) -> None:
        self._own = own
        self._source = topology.source.name
        self._inputs = [table.repartition.name for table in topology.tables]
        self._logs = Logs(kafka)
        self._members = Members(kafka, group)
        self._observer = observer(kafka, group)
        self._asking = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="streams-directory", daemon=True)

        self._owners: Mapping[Place, Instance] = {}
        self._counts: Mapping[str, int] = {}
        # What is folded at one table and goes on to a later one is not there yet when the source is
        # re-keyed: before each repartition topic, those whose tables forward.
        forwarding = [
            table.repartition.name for table in topology.tables if table.forward is not no_forward
        ]
        self._before = {
            name: forwarding[: sum(earlier in forwarding for earlier in self._inputs[:number])]
            for number, name in enumerate(self._inputs)
        }
        self._steps = [self._source, *forwarding]
        self._waiting: list[deque[Point]] = [deque(maxlen=POINTS_MAX) for _ in self._steps]
        self._points: list[deque[Point]] = [deque(maxlen=POINTS_MAX) for _ in self._steps]
        self._problem = "not asked yet"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(ASK_WITHIN_S)
        if not self._thread.is_alive():
            self._observer.close()

    def reasons(self) -> list[str]:
        """Why it is not known who has what; empty if it is."""
        reasons = [f"directory: {self._problem}"] if self._problem else []
        known = [owner for owner in self._owners.values() if owner.name == self._own.name]
        if known and known[0].url != self._own.url:
            # A static member keeps its first client id until its session ends.
            reasons.append(
                f"directory: the group knows {self._own.name} at {known[0].url}, not at"
                f" {self._own.url}: the others can't ask it; give each slot an address that stays"
            )
        return reasons

    def owner(self, place: Place) -> Instance | None:
        """Which instance has this partition of a repartition topic."""
        return self._owners.get(place)

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Raises Unavailable before the brokers have answered."""
        if topic not in self._counts:
            raise Unavailable(f"partitions of {topic}: {self._problem}", resource="broker")
        return self._counts[topic]

    def complete_at(self, place: Place, position: int) -> datetime | None:
        """
        The latest known moment of which everything that was on the source is below `position` of
        this partition; None if none is known.
        """
        points = self._points[len(self._before[place[0]])]
        for at, inputs in reversed(list(points)):
            if position >= inputs.get(place, 0):
                return at
        return None

    def remembered_since(self, place: Place) -> datetime | None:
        """
        The earliest moment that is remembered of this partition: if `complete_at` knows none, then
        what was asked about is older than this. None before the first answer of the brokers.
        """
        step = len(self._before[place[0]])
        remembered = [*list(self._points[step])[:1], *list(self._waiting[step])[:1]]
        return min((at for at, _inputs in remembered), default=None)

    def before(self, topic: str) -> Sequence[str]:
        """
        The repartition topics whose tables may forward to `topic`, in order: what is on the source
        comes through them.
        """
        return self._before[topic]

    def sample(self) -> Sample:
        """Ask the brokers now. Raises Unavailable."""
        with self._asking:
            return self._ask()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._asking:
                    self._refresh()
                self._problem = ""
            except Unavailable as error:
                self._problem = str(error)
            except Exception as error:  # a thread that ends would leave everything as it was
                log.exception("the directory could not be read")
                self._problem = error_text(error)
            self._stop.wait(EVERY_S)

    def _refresh(self) -> None:
        sample = self._ask()
        # A partition that nobody has while the group rebalances, or only a member without address
        # while the state is rebuilt: who had it before is asked.
        owners = {place: _instance(client) for place, client in self._members.assigned().items()}
        addressed = {place: owner for place, owner in owners.items() if owner.url}
        self._owners = {**self._owners, **addressed}

        self._learn(sample)

    def _learn(self, sample: Sample) -> None:
        """Which moments' records have come through each step."""
        arrived: Point | None = (sample.at, sample.ends)
        for number, (waiting, points) in enumerate(zip(self._waiting, self._points, strict=True)):
            if arrived is not None:
                waiting.append(arrived)
            arrived = None
            # In the order of the moments, whose ends only grow.
            while waiting and sample.has_rekeyed(waiting[0][1]):
                at, _ends = waiting.popleft()
                arrived = at, _on(sample.inputs, self._steps[number + 1 : number + 2])
                points.append((at, sample.inputs))

    def _ask(self) -> Sample:
        # Again until all of them exist: a deployment may make them after this process has begun.
        if any(topic not in self._counts for topic in (self._source, *self._inputs)):
            self._counts = self._logs.partitions([self._source, *self._inputs])

        # The moment before the ends, the commits before what they have put on the next topics: so
        # each says at least what the one before it needs.
        at = datetime.now(UTC)
        ends = self._logs.stable_ends(self._places([self._source]))
        try:
            read = [*ends, *self._places(self._steps[1:])]
            windows = committed_windows(self._observer, read, timeout_s=ASK_WITHIN_S)
        except KafkaException as error:
            raise Unavailable(f"offsets: {error.args[0].str()}", resource="broker") from error
        committed = {place: window.base for place, window in windows.items()}
        # Open transactions included: what was committed with those offsets may still wait for its
        # marker.
        inputs = self._logs.ends(self._places(self._inputs))
        # The client library collects what nobody polls for.
        with suppress(KafkaException):
            self._observer.poll(0)
        return Sample(at, ends, committed, inputs)

    def _places(self, topics: Sequence[str]) -> list[Place]:
        return [(topic, number) for topic in topics for number in range(self.partitions(topic))]


def _on(ends: Mapping[Place, int], topics: Sequence[str]) -> Mapping[Place, int]:
    return {place: end for place, end in ends.items() if place[0] in topics}


def milliseconds_since(at: datetime) -> int:
    """Whole milliseconds, never negative."""
    return max(0, (datetime.now(UTC) - at) // timedelta(milliseconds=1))


def _instance(client_id: str) -> Instance:
    name, _, url = client_id.partition("@")
    return Instance(name, url)
