"""What a turn has done so far, and what only the commit at its end makes true."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from orderflow.messaging.container.records.partition import Partition
from orderflow.messaging.container.records.record import Record, State
from orderflow.messaging.kafka.transactions import Placed, Produced


class BulkTaken(msgspec.Struct, frozen=True):
    """
    Records of one partition that were handed over in bulk. `before`: the partition's next offset
    before them; `handled`: those that had a handler.
    """

    partition: Partition
    messages: Sequence[Any]
    before: int
    handled: Sequence[Any]


class Uncommitted:
    """
    Records that are HANDLED, and what is to be published for them.

    `handled` with their `outputs`, and what they change in changelogs (`placed`); `skipped`, which
    nothing handles; `dead` with their letters. `held`: dead ones whose letters can't be written
    now; they are unfinished, and wait. `bulk`: what was handed over in bulk; `returned`: messages
    of it whose transaction was not committed, to be admitted one by one.
    """

    def __init__(self) -> None:
        self.handled: list[Record] = []
        self.outputs: list[Produced] = []
        self.placed: list[Placed] = []
        self.bulk: list[BulkTaken] = []
        self.returned: list[Any] = []
        self.skipped: list[Record] = []
        self.dead: list[tuple[Record, Produced]] = []
        self.held: deque[tuple[Record, Produced]] = deque()

    def __bool__(self) -> bool:
        return bool(self.handled or self.skipped or self.dead or self.bulk)

    @property
    def records(self) -> list[Record]:
        return [*self.handled, *self.skipped, *(record for record, _letter in self.dead)]

    @property
    def published(self) -> list[Produced]:
        return [*self.outputs, *(letter for _record, letter in self.dead)]

    def put_back(self) -> list[Record]:
        """
        Undo what was handled: each record is the head of its lane again, and no attempt is counted.
        The records in their order.

        Skipped and dead records keep their state: they need no handler to be committed with the
        next transaction.
        """
        handled, self.handled, self.outputs, self.placed = self.handled, [], [], []
        self._return_bulk()
        kept = [record for record in handled if not record.partition.gone]
        # The last one first: of two records of one key the earlier must end up at the head.
        for record in reversed(kept):
            record.partition.put_back(record)
        return kept

    def _return_bulk(self) -> None:
        bulk, self.bulk = self.bulk, []
        for taken in bulk:
            if not taken.partition.gone:
                self.returned += taken.messages
        # The first of each partition last: from there its records are admitted again.
        for taken in reversed(bulk):
            taken.partition.next = taken.before

    def drop_gone(self) -> None:
        """
        Forget skipped and dead records of partitions that were taken away: the next owner reads
        them again.
        """
        if any(record.partition.gone for record in self.skipped):
            self.skipped = [record for record in self.skipped if not record.partition.gone]
        if any(record.partition.gone for record, _letter in self.dead):
            self.dead = [entry for entry in self.dead if not entry[0].partition.gone]
        if any(record.partition.gone for record, _letter in self.held):
            self.held = deque(entry for entry in self.held if not entry[0].partition.gone)

    def hold_letters(self) -> None:
        """Leave the dead ones out of the next transactions: until then they are unfinished."""
        for record, _letter in self.dead:
            record.progress.state = State.WAITING
        self.held += self.dead
        self.dead = []

    def release_letters(self, at_most: int) -> None:
        """Put held ones back into the next transaction, the longest held first."""
        for _ in range(min(at_most, len(self.held))):
            record, letter = self.held.popleft()
            record.progress.state = State.HANDLED
            self.dead.append((record, letter))

    def clear(self) -> None:
        """Forget all that is not held: it is committed, or will be read again."""
        self.handled, self.outputs, self.placed = [], [], []
        self.skipped, self.dead, self.bulk, self.returned = [], [], [], []
