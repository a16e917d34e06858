"""
The container's Kafka client on topics in memory: see `container.kafka_client.KafkaClient`, which it
implements.

Nothing waits in here: `poll` returns at once and notes until when it would have waited
(`wakes_at`). Whoever runs the container, the bus or a test, advances the clock to there when
nothing else is left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from orderflow.messaging.container.client.kafka_client import (
    Assigned,
    BeforeRevoke,
    Polled,
    Windows,
)
from orderflow.messaging.container.client.out_of_range import place_again
from orderflow.messaging.container.records.partition import BEGINNING, Partition, restored
from orderflow.messaging.container.settings import ContainerSettings
from orderflow.messaging.errors import Fenced
from orderflow.messaging.kafka import finished_offsets
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.reports import Reports
from orderflow.messaging.kafka.transactions import (
    Placed,
    Produced,
    ProducerLost,
    Refusal,
    TransactionAborted,
)
from orderflow.messaging.testing.memory_broker import Fault, MemoryBroker, Message
from orderflow.messaging.testing.memory_clock import MemoryClock

RESOURCE = "broker"
TRANSACTION_FAULTS = (
    Fault.ABORTED,
    Fault.COMMITTED_UNANSWERED,
    Fault.ABORTED_UNANSWERED,
    Fault.UNDONE,
    Fault.TIMED_OUT,
)


class MemoryClient:
    """One member of a group on a `MemoryBroker`."""

    def __init__(
        self,
        settings: ContainerSettings,
        *,
        between: Callable[[], None],
        broker: MemoryBroker,
        clock: MemoryClock,
    ) -> None:
        self.partitions: dict[Place, Partition] = {}
        self.broker_error = ""
        self.is_member = False
        self.wakes_at = clock.monotonic()

        self._name = settings.listener.name
        self._instance_id = settings.instance_id
        self._between = between
        self._broker = broker
        self._clock = clock
        self._group = broker.groups[settings.listener.group]
        self._places = broker.places(settings.listener.subscribed)
        self._positions: dict[Place, int] = {}

        self._before_revoke: BeforeRevoke | None = None
        self._on_assigned: Assigned | None = None
        self._generation = -1
        self._lost = False
        self._refused_before = False
        self._undone_before = False
        self.reports = Reports()

        self._in_flight: Windows = ()
        self._commit_error: str | None = None
        self._polled_since_commit = False

    def open(self, before_revoke: BeforeRevoke, assigned: Assigned) -> None:
        self._before_revoke, self._on_assigned = before_revoke, assigned
        self._group.join(self._instance_id, self)

    def close(self) -> None:
        """
        Leave, as after the end of the session: others get the partitions at their next `poll`.
        """
        if self._group.members.get(self._instance_id) is self:
            self._group.leave(self._instance_id)
        self.is_member = False

    def is_due(self) -> bool:
        """Whether a turn now would do anything: there is something to poll, or a wait is over."""
        return self.wakes_at <= self._clock.monotonic() or (
            not self._broker.away
            and (
                self._is_out_of_date
                or self.committing
                or any(self._fetchable(place) for place in self.partitions)
            )
        )

    def poll(self, timeout_s: float, records_max: int, *, rest_s: float = 0.0) -> Polled:
        self._between()
        self._refuse_if_replaced("its instance id is used by another")
        self.wakes_at = self._clock.monotonic() + timeout_s
        if self._broker.away:
            self.broker_error = "all brokers are down"
            return Polled()

        self.broker_error = ""
        self._polled_since_commit = True
        self._rebalance()
        self._place_again()
        messages = self._fetch(records_max)
        if messages:
            self.wakes_at = self._clock.monotonic() + rest_s
        return Polled(messages, self._ends())

    def expel(self) -> None:
        """
        Lose the membership, as after `max.poll.interval.ms`: the next `poll` notices, and joins
        again.
        """
        self._group.leave(self._instance_id)
        self.is_member = False

    def pause(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            partition.paused = True

    def resume(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            partition.paused = False

    def transact(
        self, records: Sequence[Produced], windows: Windows, placed: Sequence[Placed] = ()
    ) -> Mapping[Place, int]:
        assert not self._lost, "a producer was used again whose transaction has an unknown outcome"
        assert not self._in_flight, "a plain commit is on its way, and could land after this one"
        if self._group.members.get(self._instance_id) not in (self, None):
            raise self._lose("a newer producer has this transactional id", fenced=True)

        fault = self._broker.struck(*TRANSACTION_FAULTS)
        # Encoded before anything is appended: a window that can't be encoded commits nothing.
        commits = _encoded(windows)
        if fault is Fault.COMMITTED_UNANSWERED:
            self._commit(records, commits, placed)
            raise self._lose("the commit was not answered", fenced=False)
        if fault in (Fault.ABORTED_UNANSWERED, Fault.TIMED_OUT):
            self._broker.append_aborted(records, placed)
            raise self._lose(fault.value, fenced=fault is Fault.TIMED_OUT)
        if self._undone_before:
            self._undone_before = False
            self._broker.append_aborted(records, placed)
            raise self._lose("the broker was away meanwhile", fenced=False)
        if fault is Fault.UNDONE:
            # Answered as a commit is, where its records are too.
            self._undone_before = True
            return self._broker.append_aborted(records, placed)
        if fault is Fault.ABORTED or self._broker.away or self._is_out_of_date:
            self._broker.append_aborted(records, placed)
            raise TransactionAborted("the transaction was aborted", resource=RESOURCE)
        if self._refused_before:
            # As a broker does: whatever this transaction contains.
            self._refused_before = False
            self._broker.append_aborted(records, placed)
            raise TransactionAborted("out of order after a refusal", resource=RESOURCE)
        self._refuse(records)
        return self._commit(records, commits, placed)

    def _refuse(self, records: Sequence[Produced]) -> None:
        topics = sorted({topic for topic, *_ in records} & self._broker.refused_topics)
        pairs = {(topic, key) for topic, key, *_ in records} & self._broker.refused_keys
        if topics or pairs:
            self._broker.append_aborted(records)
        if topics:
            why = f"{topics[0]} is refused"
            raise TransactionAborted(why, resource=RESOURCE, refused=Refusal.TOPIC, reason=why)
        if pairs:
            self._refused_before = True
            why = "a record is refused"
            raise TransactionAborted(why, resource=RESOURCE, refused=Refusal.RECORD, reason=why)

    def renew(self, lost: ProducerLost) -> None:
        if lost.fenced:
            self._refuse_if_replaced(str(lost))
        self._lost = self._refused_before = False
        assigned = list(self.partitions)
        self._forget(assigned)
        self._assign(assigned)

    @property
    def committing(self) -> bool:
        return bool(self._in_flight)

    def begin_commit(self, windows: Windows) -> None:
        assert not self._in_flight, "two plain commits at once: which of them lands last is unknown"
        self._in_flight, self._polled_since_commit = windows, False
        # The broker decides when the request arrives; only the answer comes with a later `poll`.
        self._commit_error = None if self._broker.away else self._commit_plainly(windows)

    def end_commit(self) -> tuple[Windows, str] | None:
        if not self._in_flight or not self._polled_since_commit or self._broker.away:
            return None
        if self._commit_error is None:
            self._commit_error = "the broker was away"
        windows, self._in_flight = self._in_flight, ()
        return windows, self._commit_error

    def commit_now(self, windows: Windows) -> None:
        if windows and not self._broker.away:
            self._commit_plainly(windows)

    def _commit_plainly(self, windows: Windows) -> str:
        """Commit outside any transaction; the error, empty if there is none."""
        if self._broker.struck(Fault.COMMIT_REFUSED):
            return Fault.COMMIT_REFUSED.value
        owned = [(p, w) for p, w in windows if self._group.owners.get(_place(p)) is self]
        self._group.committed.update(_encoded(owned))
        return ""

    def _commit(
        self,
        records: Sequence[Produced],
        commits: dict[Place, tuple[int, str]],
        placed: Sequence[Placed],
    ) -> Mapping[Place, int]:
        messages = self._broker.append(records, placed, marked=True)
        self._group.committed.update(commits)
        last = messages[len(records) :]
        return {(m.topic(), m.partition()): m.offset() + 1 for m in last}

    @property
    def _is_out_of_date(self) -> bool:
        return self._generation != self._group.generation

    def _lose(self, why: str, *, fenced: bool) -> ProducerLost:
        self._lost = True
        return ProducerLost(why, fenced=fenced)

    def _refuse_if_replaced(self, why: str) -> None:
        if self._group.members.get(self._instance_id) not in (self, None):
            raise Fenced(f"{self._instance_id} runs elsewhere: {why}")

    def _rebalance(self) -> None:
        """What the group decided since the last `poll`: partitions are lost, revoked, assigned."""
        if self._group.members.get(self._instance_id) is None:
            self._forget(list(self.partitions))
            self._group.join(self._instance_id, self)
            return

        if self.is_member and self._broker.struck(Fault.EXPELLED):
            self.expel()
            self._forget(list(self.partitions))
            return

        self.is_member = True
        target = self._group.target(self._places)
        leaving = [place for place in self.partitions if target[place] is not self]
        if leaving:
            assert self._before_revoke is not None
            self._before_revoke([self.partitions[place] for place in leaving])
            self._forget(leaving)

        # Cooperative: a partition is assigned only after its owner has let it go.
        owners = self._group.owners
        coming = [place for place in self._places if target[place] is self and place not in owners]
        self._assign(coming)
        self._generation = self._group.generation

    def _assign(self, places: Iterable[Place]) -> None:
        coming: list[Partition] = []
        for place in places:
            offset, metadata = self._group.committed.get(place, (BEGINNING, ""))
            partition = restored(place, offset, metadata)
            self.partitions[place] = partition
            self._positions[place] = max(partition.start, 0)
            self._group.owners[place] = self
            coming.append(partition)

        assert self._on_assigned is not None
        self._on_assigned(coming)
        for partition in coming:
            partition.paused = partition.restoring

    def _forget(self, places: Iterable[Place]) -> None:
        for place in places:
            self.partitions.pop(place).gone = True
            if self._group.owners.get(place) is self:
                del self._group.owners[place]

    def _fetchable(self, place: Place) -> bool:
        position, end = self._positions[place], self._broker.end(place)
        return not self.partitions[place].paused and (position < end or self._is_refused(place))

    def _is_refused(self, place: Place) -> bool:
        """Whether the log does not have the offset that would be fetched next."""
        return not self._broker.first(place) <= self._positions[place] <= self._broker.end(place)

    def _place_again(self) -> None:
        for place, partition in list(self.partitions.items()):
            # A partition is only asked for when it is not paused.
            if partition.paused or not self._is_refused(place):
                continue
            first, end = self._broker.first(place), self._broker.end(place)
            placed = place_again(self._name, partition, first=first, end=end)
            partition.gone = placed is not partition
            self.partitions[place] = placed
            self._positions[place] = first
            if partition.gone:
                assert self._on_assigned is not None
                self._on_assigned([placed])
                placed.paused = placed.restoring

    def _fetch(self, records_max: int) -> list[Message]:
        """Some partitions, in any order, as brokers answer; of each its records in their order."""
        fetchable = [place for place in self.partitions if self._fetchable(place)]
        self._broker.draw.shuffle(fetchable)
        messages: list[Message] = []

        for place in fetchable:
            log = self._broker.log(place)
            while self._positions[place] < len(log) and len(messages) < records_max:
                message = log[self._positions[place]]
                self._positions[place] += 1
                if message is not None:
                    messages.append(message)
        return messages

    def _ends(self) -> list[tuple[Partition, int]]:
        return [
            (partition, self._positions[place])
            for place, partition in self.partitions.items()
            if self._positions[place] == self._broker.end(place)
        ]


def _place(partition: Partition) -> Place:
    return partition.topic, partition.number


def _encoded(windows: Windows) -> dict[Place, tuple[int, str]]:
    """
    What a group keeps of each window: the lowest unfinished offset, and the metadata beside it.
    """
    return {
        _place(partition): (window.base, finished_offsets.encode(window))
        for partition, window in windows
    }
