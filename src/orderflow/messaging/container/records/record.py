"""One admitted record: what it is, which never changes, and how far it has come."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import msgspec

from orderflow.messaging.telemetry.trace_context import TraceContext
from orderflow.messaging.telemetry.traces import Moment

if TYPE_CHECKING:
    from orderflow.messaging.container.records.partition import Partition

UNPREPARED = object()
"""The outcome of a record that was not prepared, or not to its end."""


class State(Enum):
    """
    Where a record is on its way. Only the head of a key's lane ever leaves UNREAD.

    UNREAD → (TO_PREPARE →) READY → HANDLED → FINISHED. WAITING comes after a failure or an unknown
    outcome, and leads back to where the record was. An aborted transaction takes HANDLED back to
    READY.
    """

    UNREAD = auto()
    """Not decoded: another record of its key is before it, or the registry is away."""
    TO_PREPARE = auto()
    """Its effect outside is not recorded yet: it is to be intended, or its call runs."""
    READY = auto()
    """The handler may have it."""
    WAITING = auto()
    """A back-off runs. The records of its key wait behind it."""
    HANDLED = auto()
    """Handled, skipped or given up in this turn; true once the turn's transaction is committed."""
    FINISHED = auto()
    """For good: its offset may be committed by anybody."""


class RecordTrace(msgspec.Struct, gc=False):
    """
    Of a record whose trace is sampled: where it comes from, when it was read, and what happened
    since.
    """

    context: TraceContext
    began_ns: int
    moments: list[Moment] = []


class Progress(msgspec.Struct, eq=False, gc=False):
    """
    The part of a record that changes. What was computed is kept for the next try. Nothing in it
    refers back to the record, so the garbage collector need not track it.

    `received` is what the handler gets; `headers` stay None if they can't be read. `attempts`,
    `contentions` (how often it met a lock or a time-out alone) and `lookups` are in memory only:
    after a restart they count anew. `unknown_since`: the beginning of the hour for which an unknown
    outcome is looked up; `hours` of it are in the log. `shown`: to a listener that looks ahead.
    `refused`: the broker refused its output, so its transaction is its own. `trace`: None unless
    it is sampled.
    """

    state: State = State.UNREAD
    headers: Any = None
    received: Any = None
    outcome: Any = UNPREPARED
    attempts: int = 0
    contentions: int = 0
    lookups: int = 0
    first_failure: datetime | None = None
    unknown_since: datetime | None = None
    hours: int = 0
    shown: bool = False
    refused: bool = False
    found_away: bool = False
    trace: RecordTrace | None = None


class Record(msgspec.Struct, frozen=True, eq=False):
    """
    One admitted record. `message` is the client library's; `lane` holds the unfinished records of
    its key in this partition, in their order.
    """

    message: Any
    partition: Partition
    offset: int
    key: bytes
    lane: deque[Record]
    progress: Progress

    @property
    def is_head(self) -> bool:
        """
        Whether it may run: its partition is assigned, and no earlier record of its key is
        unfinished.
        """
        lane = self.lane
        return not self.partition.gone and bool(lane) and lane[0] is self

    @property
    def runs_alone(self) -> bool:
        """
        Whether it failed, met a lock or found its resource away by itself before: then no other
        record may share a wave with it.
        """
        progress = self.progress
        return progress.attempts > 0 or progress.contentions > 0 or progress.found_away

    @property
    def place(self) -> str:
        """`orders-2@1234`, for messages."""
        return f"{self.partition.topic}-{self.partition.number}@{self.offset}"
