"""
What a container needs of Kafka, as a protocol. `BrokerClient` implements it on brokers,
`testing.memory_client.MemoryClient` on topics in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from orderflow.messaging.container.records.partition import Partition
from orderflow.messaging.container.settings import ContainerSettings
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.reports import Reports
from orderflow.messaging.kafka.transactions import Placed, Produced, ProducerLost

Windows = Sequence[tuple[Partition, Window]]
"""The offsets to commit, with what is finished above them, for each of these partitions."""

BeforeRevoke = Callable[[list[Partition]], None]

Assigned = Callable[[Sequence[Partition]], None]


class Polled(msgspec.Struct, frozen=True):
    """
    What one poll brought. `ends`: partitions that were read to their end, and that offset.

    Both or neither are admitted: an end that counts without the records before it would let a
    commit pass over them.
    """

    messages: Sequence[Any] = ()
    ends: Sequence[tuple[Partition, int]] = ()


class KafkaClient(Protocol):
    """
    One member of a consumer group with one transactional producer, used by one thread.

    Partitions are assigned and taken away inside `poll`, `renew` and `close`, and nowhere else. A
    partition that was taken away is marked `gone` and leaves `partitions`. No method holds the
    thread for long while a broker is away: it returns, or raises Transient, and `broker_error`
    contains the reason.
    """

    @property
    def partitions(self) -> Mapping[Place, Partition]:
        """The assigned partitions."""

    @property
    def broker_error(self) -> str:
        """Why the brokers seem to be away; empty when the last answer was good."""

    @property
    def is_member(self) -> bool:
        """Whether the group counts this client as a member, as far as the client knows."""

    def open(self, before_revoke: BeforeRevoke, assigned: Assigned) -> None:
        """
        Fence the predecessor of this slot, abort what it left open on the group's offsets, then
        join the group.

        `before_revoke` is called with partitions that are about to be revoked, while their offsets
        can still be committed; not with partitions that are lost. `assigned` is called with the new
        state of partitions, read from what is committed, before anything of them is fetched.
        Nothing is fetched of those that it marks `restoring`: they are paused.
        """

    def close(self) -> None:
        """Leave. With static membership the partitions stay assigned until the session ends."""

    def poll(self, timeout_s: float, records_max: int, *, rest_s: float = 0.0) -> Polled:
        """
        At most `records_max` records of the assigned partitions, in the shape of the client
        library's messages; as soon as there are any, but not before so many are there or `rest_s`
        have passed: a caller that rests is not woken for each. A partition whose log does not have
        the group's offset is placed again: see `out_of_range`.

        Raises Fenced when another process runs in this slot, Unavailable when committed offsets
        could not be read.
        """

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Fetch nothing more of these; `poll` keeps the membership alive all the same."""

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Fetch these again, from where they were paused."""

    def transact(
        self, records: Sequence[Produced], windows: Windows, placed: Sequence[Placed] = ()
    ) -> Mapping[Place, int]:
        """
        Produce `records` and `placed`, and commit the offsets of `windows`, in one Kafka
        transaction. Returns the offsets after what was placed; one may be missing.

        Raises TransactionAborted (nothing is visible, the same producer goes on), or ProducerLost
        (whether it is committed is unknown: only `renew` may be called next).
        """

    @property
    def reports(self) -> Reports:
        """Where the `records` of the last `transact` are, as far as that was reported."""

    def renew(self, lost: ProducerLost) -> None:
        """
        Replace the producer, and start every assigned partition again from its committed offset and
        metadata.

        All partitions from before are `gone`. Raises Fenced when another process runs in this slot.
        """

    @property
    def committing(self) -> bool:
        """
        Whether a plain commit is not answered yet. Until it is, nothing else may be committed.
        """

    def begin_commit(self, windows: Windows) -> None:
        """
        Send the offsets of `windows` outside any transaction, without waiting: a plain commit.
        """

    def end_commit(self) -> tuple[Windows, str] | None:
        """
        The plain commit that was answered and its error, empty if it succeeded; None while no
        answer is here.
        """

    def commit_now(self, windows: Windows) -> None:
        """
        Commit outside any transaction and wait. Errors are ignored: they cost records read twice.
        """


class Connect(Protocol):
    """Makes the client of one container. Nothing is opened before `open`."""

    def __call__(self, settings: ContainerSettings, *, between: Callable[[], None]) -> KafkaClient:
        """
        `between` is called between slices of every wait on a broker, and may raise to give up.
        """
