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
    chooses. A delivery with a state store, for example: `handle` lets the handler read and write an
    overlay of the store, and adds the changelog records to the turn's outputs; `end_turn` runs the
    turn's transaction (outputs, changelog and offsets become visible together), then applies the
    overlay, or drops it if the transaction was aborted; `before_revoke` closes the stores of the
    partitions that leave. Restoring a store comes before the first record of its partition: the
    partition stays paused until then.
    """

    @property
    def needs(self) -> Sequence[Gate]:
        """
        The gates that must be open for a wave to be handled. While one is probing, a wave is one
        record.
        """

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
