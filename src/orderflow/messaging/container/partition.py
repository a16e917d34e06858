"""
One assigned partition: what is unfinished in it, what is held back, and which records of a key come after which.

Nothing here talks to Kafka. A partition that is taken away is marked `gone`; whatever still refers to it is dropped.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

from orderflow.messaging.kafka.finished_offsets import Window, admits, decode
from orderflow.messaging.telemetry import logger

BEGINNING = -1
"""Nothing was ever committed: the first record that comes is the first there is."""

RESUME_SPAN_MAX = 11_500
RESUME_UNFINISHED_MAX = (225, 1_000)

log = logger("listener")


class Item:
    """
    One admitted record on its way. `message` is the client's; what is computed from it is kept for the next try.

    `headers` stay None if they can't be read.
    """

    __slots__ = (
        "alone",
        "attempts",
        "done",
        "first_failure",
        "headers",
        "key",
        "lane",
        "looks",
        "message",
        "offset",
        "outcome",
        "partition",
        "received",
        "settled",
    )

    def __init__(
        self, message: Any, partition: Partition, offset: int, key: bytes, lane: deque[Item]
    ) -> None:
        self.message = message
        self.partition = partition
        self.offset = offset
        self.key = key
        self.lane = lane
        self.headers: Any = None
        self.received: Any = None
        self.outcome: Any = None
        self.settled = False
        self.attempts = 0
        self.looks = 0
        self.first_failure: Any = None
        self.alone = False
        self.done = False

    @property
    def is_head(self) -> bool:
        """May it run: is its partition still ours, and is no earlier record of its key in the way?"""
        lane = self.lane
        return not self.partition.gone and bool(lane) and lane[0] is self

    @property
    def place(self) -> str:
        """`orders-2@1234`, for messages."""
        return f"{self.partition.topic}-{self.partition.number}@{self.offset}"


class Partition:
    """
    State of one assigned partition, from the window that its group committed.

    `next` is the offset after the highest admitted one. An offset below it that was never delivered (a marker, an
    aborted record) counts as finished.
    """

    def __init__(self, topic: str, number: int, window: Window) -> None:
        self.topic = topic
        self.number = number
        self.next = window.end
        self.unfinished: OrderedDict[int, Item | None] = OrderedDict.fromkeys(window.unfinished)
        self.held: deque[Any] = deque()
        self.eof = BEGINNING
        self.start = window.base
        self.changed = False
        self.paused = False
        self.gone = False
        self._to_come = deque(window.unfinished)
        self._lanes: dict[bytes, deque[Item]] = {}

    def may_admit(self, offset: int) -> bool:
        """Would the window, with `offset` in it, still fit into a commit's metadata?"""
        if offset < self.next:
            return True
        unfinished = self.unfinished
        if not unfinished:
            return True
        return admits(offset + 1 - next(iter(unfinished)), len(unfinished) + 1)

    def may_resume(self) -> bool:
        """Half of what was the limit."""
        unfinished = len(self.unfinished)
        if unfinished == 0:
            return True
        span = self.next - next(iter(self.unfinished))
        few, many = RESUME_UNFINISHED_MAX
        return (span <= RESUME_SPAN_MAX or unfinished <= few) and unfinished <= many

    def admit(self, message: Any) -> Item | None:
        """The record's item, or None if it was finished before a restart or a rebalance."""
        offset: int = message.offset()
        to_come = self._to_come
        while to_come and to_come[0] < offset:
            # It was unfinished, and the log does not have it any more: retention has taken it.
            self.unfinished.pop(to_come.popleft(), None)
        if to_come and to_come[0] == offset:
            to_come.popleft()
        elif offset < self.next:
            return None
        else:
            self.next = offset + 1
        key: bytes = message.key() or b""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = deque()
        item = Item(message, self, offset, key, lane)
        self.unfinished[offset] = item
        lane.append(item)
        return item

    def advance(self, item: Item) -> Item | None:
        """Take `item` off the head of its lane; the record that is the head now, if there is one."""
        lane = item.lane
        if lane and lane[0] is item:
            lane.popleft()
        if lane:
            return lane[0]
        self._lanes.pop(item.key, None)
        return None

    def put_back(self, item: Item) -> None:
        """Make `item` the head of its lane again. Of several, the last one first."""
        item.done = False
        if not item.lane or item.lane[0] is not item:
            item.lane.appendleft(item)
        self._lanes[item.key] = item.lane

    def finish(self, item: Item) -> None:
        """The record is done for good."""
        self.unfinished.pop(item.offset, None)
        self.changed = True

    def reach_eof(self) -> None:
        """Everything up to the partition's end is admitted: what lies between are markers."""
        if not self.held and self.eof > self.next:
            while self._to_come:
                self.unfinished.pop(self._to_come.popleft(), None)
            self.next = self.eof
            self.changed = True

    def window(self, *, settled: bool = True) -> Window:
        """What may be committed: if everything that is `done` finishes with it (`settled`), or without that."""
        if not settled:
            return Window(self.next, tuple(self.unfinished))
        return Window(
            self.next,
            tuple(at for at, item in self.unfinished.items() if item is None or not item.done),
        )


def restored(place: tuple[str, int], offset: int, metadata: str | None) -> Partition:
    """The state of a partition from what its group committed; `offset` is below 0 if that is nothing."""
    topic, number = place
    where = f"{topic}-{number}"
    if offset < 0:
        return Partition(topic, number, Window(BEGINNING))

    def ignored(why: str) -> None:
        log.warning("metadata beside a committed offset is ignored", partition=where, why=why)

    window = decode(metadata, offset=offset, on_ignored=ignored)
    if window.unfinished:
        unfinished = len(window.unfinished)
        log.info("finished records were handed over", partition=where, waiting=unfinished)
    return Partition(topic, number, window)
