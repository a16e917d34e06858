"""The interface of a delivery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orderflow.messaging.container.records.partition import Partition
from orderflow.messaging.container.records.record import Record
from orderflow.messaging.work.gate import Gate


class Delivery(Protocol):
    """
    Calls the handler and commits. Everything runs on the container's thread; `end_turn` and `last`
    come after the turn's `poll`, so a rebalance never meets an open transaction.

    Another delivery is one more file with these members, and one more branch where the loop
    chooses.
    """

    @property
    def needs(self) -> Sequence[Gate]:
        """
        The gates that must be open for a wave to be handled. While one is probing, a wave is one
        record.
        """

    @property
    def is_restoring(self) -> bool:
        """Whether state is read, so that the next turn should come soon."""

    @property
    def due_at(self) -> float:
        """
        From when on, in monotonic seconds, what is ready should be handled: a delivery may gather.
        """

    def reasons(self) -> list[str]:
        """Why it is not ready, one sentence each, beside what gates say; empty if it is."""

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """
        These are new, with their committed offsets, and nothing of them is fetched yet. Of those
        that are marked `restoring` nothing is, until the mark is gone.
        """

    def begin_turn(self) -> None:
        """Called after each poll, before what it brought is admitted."""

    def handle(self, wave: list[Record]) -> list[Record]:
        """
        Hand `wave`, records of different keys, to the handler. Returns the records that are over:
        the next of their keys may be handled in the same turn.

        Whatever the handler raises is raised here, and then nothing of the wave was done.
        """

    def skip(self, record: Record) -> None:
        """
        Count `record` as done without handling it: its type belongs on the topic, but nothing here
        handles it.
        """

    def end_turn(self, now: float) -> list[Record]:
        """
        Commit what the turn has done. Returns the records that are over only now, after the commit.
        """

    def before_revoke(self, leaving: list[Partition]) -> None:
        """These partitions are about to be revoked; their offsets can still be committed."""

    def last(self, deadline: float) -> None:
        """
        Commit what is done before the worker leaves, waiting until `deadline` at most, in monotonic
        seconds.
        """

    def close(self) -> None:
        """Close what the delivery has opened. What is not committed will be read again."""


class WithoutState:
    """The members of a delivery that only one with state has a use for."""

    @property
    def is_restoring(self) -> bool:
        return False

    @property
    def due_at(self) -> float:
        return 0.0

    def reasons(self) -> list[str]:
        return []

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """Nothing: there is no state to restore."""

    def begin_turn(self) -> None:
        """Nothing: there is no state to restore."""

    def close(self) -> None:
        """Nothing was opened."""
