"""
Listeners as values: which topics a group consumes, how it handles their records, what it publishes,
and with which delivery guarantee.

A handler is a plain function over a batch: it gets records and returns the events they caused. The
rule that the guarantees rest on: **a handler touches exactly one transactional resource.** With
`ExactlyOnce` that is Kafka, so the handler only computes; with `InboxOutbox` it is the one database
transaction that it is given; with `IdempotentWrite` it is a store outside of both. The `container`
does the rest: batches, order per key, waiting, retries, dead letters, commits.

A batch never holds two records of one key. It may hold several types; a handler that needs one
statement per batch writes one for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

import msgspec

from orderflow.messaging.errors import Poison, RecordFault
from orderflow.messaging.event import Attributes, Metadata
from orderflow.messaging.kafka.group_topics import replay_topic
from orderflow.messaging.kafka.topics import Topic
from orderflow.messaging.postgres import Cursor
from orderflow.messaging.streams.topology import Topology


@runtime_checkable
class Publishable(Protocol):
    """What an event needs to be published: its record's key, `ce_subject` and `ce_time`."""

    @classmethod
    def type_name(cls) -> str:
        """The schema's full name."""

    @property
    def key(self) -> str:
        """Records of one key stay in order."""

    @property
    def subject(self) -> str:
        """The entity that the event is about: `ce_subject`."""

    @property
    def happened_at(self) -> datetime:
        """Aware UTC, in milliseconds. Recorded with the effect, so that a re-run gives the same."""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """
    One record as a handler gets it. `event` is an instance of one of the listener's types;
    `attributes`: what the record's headers say of it, and by them its `metadata`.

    `original`: topic, partition and offset of the record that this one replays, if it does and says
    of which.
    """

    event: Any
    attributes: Attributes
    topic: str
    partition: int
    offset: int
    key: bytes
    original: tuple[str, int, int] | None = None

    @property
    def metadata(self) -> Metadata:
        return self.attributes.metadata


Caused = tuple[Received, Any]
"""
A record and an event that it caused. The same record and events, in the same order, get the same
ids every time.
"""


class Settled(msgspec.Struct, frozen=True):
    """The outcome is recorded and final. The handler gets it, and announces it, or nothing."""

    outcome: Any


class Ask(msgspec.Struct, frozen=True):
    """The intent is recorded, and the effect must be done: `task` goes to `Prepare.call`."""

    task: Any


class Unknown(msgspec.Struct, frozen=True):
    """
    Whether the effect happened is not known yet. The record waits in place and is given to
    `Prepare.intent` again, 1 s to 30 s apart, for an hour; then it becomes a dead letter.

    The hour is the record's own, from `since` (aware UTC: the first look-up for this record that
    was not answered), or from the first `Unknown` of this record in this process, whichever is
    earlier. With `gives_up` false it has no end, and the log says so every hour: for what is owed
    whatever happens. `rest_s`: the least seconds before the next look-up.
    """

    since: datetime | None = None
    gives_up: bool = True
    rest_s: float = 0.0


class Prepared(msgspec.Struct, frozen=True):
    """What the handler of a listener with `Prepare` gets: a record and its recorded outcome."""

    received: Received
    outcome: Any


class Prepare(Protocol):
    """
    An idempotent effect outside any transaction (a charge), done before its outcome is announced.

    `intent` and `outcome` run on the container's thread, with one statement each, and may raise
    Transient. A batch holds at most one record of a key, over all partitions of the worker, and
    none of a key whose call runs or is not recorded yet, whoever owns its partition now.

    `call` runs elsewhere, many at a time: on a pool of threads, or, if it is a coroutine function,
    all on one event loop, which it must not hold up. It must end within its own time-outs.
    Transient says that the resource as a whole is away: the record is then given to `intent` again,
    once the resource is probed, so `intent` must find from what is recorded that the effect may
    have happened. What may have happened to one record alone is an answer, not an exception.
    """

    def intent(self, batch: Sequence[Received]) -> Sequence[Settled | Ask | Unknown]:
        """Record intents, or find what is recorded. One step for each record, in their order."""

    def call(self, task: Any) -> Any:
        """Do the effect. What is returned goes to `outcome`."""

    def outcome(
        self, finished: Sequence[tuple[Received, Any, Any]]
    ) -> Sequence[Settled | Ask | Unknown]:
        """
        Record how calls ended: (record, task, answer) each. One step for each, in their order.

        Write by compare-and-set: another worker may have the partition by now. A step `Ask` makes
        another call (a look-up that leads to a refund).
        """


@runtime_checkable
class PrepareTogether(Prepare, Protocol):
    """A `Prepare` that can record outcomes and intents in one transaction, or statement."""

    def advance(
        self, finished: Sequence[tuple[Received, Any, Any]], batch: Sequence[Received]
    ) -> tuple[Sequence[Settled | Ask | Unknown], Sequence[Settled | Ask | Unknown]]:
        """
        `outcome` of the one and `intent` of the other, all or nothing as far as it matters: both
        are given again if it raises.
        """


class ExactlyOnce(msgspec.Struct, frozen=True, kw_only=True):
    """
    Outputs and consumed offsets commit in one Kafka transaction. `handler` only computes: it may be
    called again for the same records.

    With `prepare`, the handler gets `Prepared` instead of `Received`. At most `calls_max` calls run
    at a time.

    `look_ahead`: before a record is prepared, for the first time or again, it is given the records
    that are queued behind it and were not shown before, decoded: one of them may say that the
    effect is not wanted any more. It runs on the container's thread, as `intent` does, may raise
    Transient, and may be shown a record again. It decides nothing about a record that it is shown:
    its turn comes. Records that can't be read are not shown.
    """

    handler: Callable[[Sequence[Any]], Iterable[Caused]]
    prepare: Prepare | None = None
    look_ahead: Callable[[Sequence[Received]], None] | None = None
    calls_max: int = 128


class Stateful(msgspec.Struct, frozen=True, kw_only=True):
    """
    `ExactlyOnce` with state: input offsets, changelogs and output commit in one Kafka transaction.

    The functions of `topology` only compute: they may be called again for the same records. What an
    event changes is in the state store once, and only once, its transaction is committed.
    """

    topology: Topology


class InboxOutbox(msgspec.Struct, frozen=True, kw_only=True):
    """
    Inbox rows, the handler's effect and outbox rows commit in one database transaction, the offsets
    after it.

    A record whose event id is in the inbox already does not reach the handler.
    """

    handler: Callable[[Cursor, Sequence[Received]], Iterable[Caused]]


class IdempotentWrite(msgspec.Struct, frozen=True, kw_only=True):
    """
    The handler's effect is a durable write outside of Kafka and database; the offsets are committed
    after it. Nothing is published.

    When `handler` returns, all of the batch is durable; when it raises, any part may be. The same
    records may come again, in other batches, to another worker, and while this one still writes:
    writing what is there must change nothing. It has bounds of its own for what it waits for.

    Records are gathered until `gather_records` are there or `gather_s` have passed since the last
    ones were handled; what comes after a longer rest is handled at once.
    """

    handler: Callable[[Sequence[Received]], None]
    gather_records: int = 500
    gather_s: float = 0.0


class DeadLetter(msgspec.Struct, frozen=True):
    """Give the record up, after `attempts` attempts or look-ups."""

    attempts: int


class Wait(msgspec.Struct, frozen=True):
    """Let the record wait in place for `seconds` ± 20 %, then try again."""

    seconds: float


class CloseGate(msgspec.Struct, frozen=True):
    """Count no attempt: the handler is suspected of failing for every record. Probe it."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is done about a record that fails: as many attempts as there are back-offs and one, then a
    dead letter.

    `back_off_s`: seconds before the second attempt, the third, …. `unknown_back_off_s`: the least
    and the most between two look-ups of an unknown outcome; `unknown_for_s` and
    `unknown_lookups_min`: for how long, and how often, it is looked up at least.
    `lone_failures_max`: if so many records of at least `lone_keys_min` keys fail alone by
    unexpected exceptions, with no success in between, the handler is suspected, not the records.
    `contention_back_off_s`: the least and the most between two tries of a record that meets a lock.
    """

    back_off_s: tuple[float, ...] = (2.0, 30.0)
    unknown_back_off_s: tuple[float, float] = (1.0, 30.0)
    unknown_for_s: float = 3600.0
    unknown_lookups_min: int = 20
    lone_failures_max: int = 20
    lone_keys_min: int = 5
    contention_back_off_s: tuple[float, float] = (0.5, 5.0)

    @property
    def attempts_max(self) -> int:
        return len(self.back_off_s) + 1

    def next_step(
        self, error: Exception, *, attempts: int, lone: tuple[int, int], suspected: bool
    ) -> DeadLetter | Wait | CloseGate:
        """
        What to do with a record that failed alone with `error`, after `attempts` attempts that were
        charged to it.

        `lone`: how many lone failures by unexpected exceptions there were with no success in
        between, and of how many keys, this one included. `suspected`: the handler is already.
        """
        if isinstance(error, Poison):
            return DeadLetter(attempts + 1)

        # A record fault says something about the record, whatever the handler's state is.
        failures, keys = lone
        floods = failures >= self.lone_failures_max and keys >= self.lone_keys_min
        if (suspected or floods) and not isinstance(error, RecordFault):
            return CloseGate()
        if attempts >= len(self.back_off_s):
            return DeadLetter(attempts + 1)
        return Wait(self.back_off_s[attempts])

    def next_contended(self, contentions: int) -> Wait:
        """How long a record waits that has met a lock alone so many times."""
        least, most = self.contention_back_off_s
        return Wait(min(most, least * 2.0 ** min(contentions - 1, 30)))

    def next_lookup(self, step: Unknown, *, lookups: int, unknown_s: float) -> DeadLetter | Wait:
        """What to do with a record of unknown outcome, after that long and `lookups` look-ups."""
        # Both: an hour in which nobody could be asked says nothing about the outcome.
        asked_enough = lookups >= self.unknown_lookups_min
        if step.gives_up and unknown_s > self.unknown_for_s and asked_enough:
            return DeadLetter(lookups)
        least, most = self.unknown_back_off_s
        return Wait(max(step.rest_s, min(most, least * 2.0 ** min(lookups, 30))))


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """
    One row of a service's table of listeners: the consumer group `group` reads `topics`, `delivery`
    is its guarantee and its handler, and events go to the topic of `publishes` that has their type.

    `name` is the first part of the inbox's key and of the transactional id; never change it.
    `source` is the `ce_source` of what it publishes, `namespace` that of derived ids. Records of
    types that belong on a topic but are not in `handles` are skipped and counted. A log line shows
    an event's `headline` (a text), if its type has one, else its type's short name.

    `wanted` says of an event of a handled type whether the handler has anything to do for it. One
    that is not wanted is skipped and counted as a record of another type is: no inbox row, no
    attempt, no handler. It has to be pure, of the event alone: the same answer for a repeat and a
    replay, today and after a restart. If it raises, the event is wanted, and the handler judges.
    """

    name: str
    group: str
    source: str
    namespace: UUID
    topics: tuple[Topic, ...]
    handles: tuple[type[Any], ...]
    wanted: Callable[[Any], bool] | None = None
    publishes: tuple[Topic, ...] = ()
    delivery: ExactlyOnce | Stateful | InboxOutbox | IdempotentWrite
    retry: RetryPolicy = RetryPolicy()

    @property
    def subscribed(self) -> Mapping[str, Topic]:
        """Every topic that the group reads; a replay topic with the topic that it stands for."""
        return {
            **{topic.name: topic for topic in self.topics},
            **{replay_topic(topic, self.group).name: topic for topic in self.topics},
        }

    @property
    def types(self) -> Mapping[str, type[Any]]:
        """The handled types by their full names."""
        return {event.type_name(): event for event in self.handles}
