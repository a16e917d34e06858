"""
The Kafka transaction at the end of a turn: outputs, dead letters and offsets become visible
together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from orderflow.messaging.container.metrics import COMMIT_S, RECORDS
from orderflow.messaging.container.records.partition import Partition
from orderflow.messaging.container.records.record import Record
from orderflow.messaging.container.refusals import Refusals
from orderflow.messaging.container.shared import Shared
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.publish_log import PublishLog, unpublished
from orderflow.messaging.kafka.sent import count_dead_letters, count_sent
from orderflow.messaging.kafka.transactions import ProducerLost, Refusal, TransactionAborted
from orderflow.messaging.telemetry import logger
from orderflow.messaging.work.gate import BACK_OFF_S

ANSWER_POLL_S = 0.05
"""How long a poll may take while an answer to a plain commit is awaited: it ends no poll early."""

log = logger("listener")


class Ended(msgspec.Struct, frozen=True):
    """
    Records that a transaction ended: handled and committed, or dead because it was refused. `ends`:
    the offsets after what it put on changelogs, as far as they are known.
    """

    is_committed: bool = False
    committed: Sequence[Record] = ()
    dead: Sequence[Record] = ()
    ends: Mapping[Place, int] = {}


class TurnTransaction:
    """
    Commits a turn, or undoes it.

    | outcome | what follows |
    |---|---|
    | committed | its records are finished |
    | aborted | handled records are ready again, first of their keys; no attempt, no seek |
    | aborted, because a record was refused | halved, until the one refused alone is charged |
    | aborted, because a topic was refused | as aborted, until the topic is there |
    | either, with dead letters in it | as aborted, and the letters wait, apart from the others |
    | unknown | a new producer, and after a back-off every partition again from what is committed |

    `rest_until`: monotonic seconds before which the next transaction should not begin without need.
    """

    def __init__(self, shared: Shared, refusals: Refusals) -> None:
        self._settings = shared.settings
        self._name = shared.settings.listener.name
        self._client = shared.client
        self._commit_gate = shared.gates.commit
        self._letters_gate = shared.gates.dead_letters
        self._queues = shared.queues
        self._uncommitted = shared.uncommitted
        self._record_log = shared.record_log
        self._traces = shared.traces
        self._publish_log = PublishLog(shared.settings.listener.name)
        self._clock = shared.clock
        self._refusals = refusals

        self.rest_until = 0.0
        self._lost_in_a_row = 0

    @property
    def any_changed(self) -> bool:
        """Whether a partition has finished records, or markers, that are not committed."""
        return any(partition.changed for partition in self._client.partitions.values())

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self._uncommitted) or self.any_changed or self.letters_are_due

    @property
    def letters_are_due(self) -> bool:
        """Whether held letters may be tried."""
        now = self._clock.monotonic()
        return bool(self._uncommitted.held) and self._letters_gate.may_try(now)

    def due_in(self, now: float) -> float | None:
        """
        Seconds until something is to be committed, if nothing else happens; None if nothing is.
        """
        if self._uncommitted and self._client.committing:
            return ANSWER_POLL_S
        if self._uncommitted or self.letters_are_due:
            return max(self.rest_until, self._commit_gate.next_try_at) - now
        return self._settings.commit_every_s if self.any_changed else None

    def run(self) -> Ended:
        """
        Returns the handled records if they are committed, and those that this ended as dead
        letters; what else follows is done.

        After a refusal letters have transactions of their own, one letter in each: what can't be
        written waits, and holds up neither good records nor other letters.
        """
        uncommitted, letters = self._uncommitted, self._letters_gate
        if letters.is_probing:
            uncommitted.hold_letters()
        else:
            uncommitted.release_letters(len(uncommitted.held))

        ended = self._transact() if uncommitted or self.any_changed else Ended()
        now = self._clock.monotonic()
        may_try = self.letters_are_due and self._commit_gate.may_try(now)
        if letters.is_probing and not uncommitted and may_try:
            uncommitted.release_letters(1)
            self._transact()
        return ended

    def _transact(self) -> Ended:
        gate, uncommitted = self._commit_gate, self._uncommitted
        began = self._clock.monotonic()
        if not gate.may_try(began):
            self.put_back()
            return Ended()
        # The group would refuse the offsets after everything else was sent.
        if not self._client.is_member:
            self.put_back()
            why = "not a member of the group at this moment"
            gate.failed(Unavailable(why, resource="broker", reason=why))
            return Ended()

        windows, began_at = self._windows(), self._clock.now()
        published, placed = uncommitted.published, uncommitted.placed
        try:
            ends = self._client.transact(published, windows, placed)
        except TransactionAborted as error:
            log.warning(
                "aborted; its records are put back",
                listener=self._name,
                why=str(error),
                **unpublished(published),
            )
            return self._aborted(error)
        except ProducerLost as error:
            if published:
                log.warning(
                    "whether these are published is unknown: the group's offsets tell",
                    listener=self._name,
                    why=str(error),
                    **unpublished(published),
                )
            # Whether it is committed is unknown: only the group's offsets can tell, so memory
            # counts for nothing.
            self._client.renew(error)
            self._queues.forget()
            uncommitted.clear()
            uncommitted.held.clear()
            # The same records may lose the next producer too: that must be slow, and seen. Counted
            # here, because the gate opens when nothing is left in memory.
            self._lost_in_a_row += 1
            least, most = BACK_OFF_S
            error.retry_after_s = min(most, least * 2.0 ** min(self._lost_in_a_row, 30))
            gate.failed(error)
            return Ended()

        gate.succeeded()
        self._lost_in_a_row = 0
        if uncommitted.dead:
            self._letters_gate.succeeded()
        self._trace(began_at)
        handled = self._finish(windows)
        self._publish_log.committed(published, self._client.reports, placed)
        self._refusals.committed(handled)
        self._rest(began)
        return Ended(is_committed=True, committed=handled, ends=ends)

    def _aborted(self, error: TransactionAborted) -> Ended:
        uncommitted, with_letters = self._uncommitted, bool(self._uncommitted.dead)
        with_bulk = bool(uncommitted.bulk)
        # Nothing is sought: the records are in memory, and reading them again would mix up their
        # order.
        handled = uncommitted.put_back()
        if error.refused and with_letters:
            # Letters first: with them in it, a refusal says nothing about the other records.
            self._letters_gate.failed(error)
            uncommitted.hold_letters()
            if not handled and not uncommitted.skipped:
                return Ended()
        elif error.refused is Refusal.RECORD and handled and not with_bulk:
            return Ended(dead=self._refusals.refused(handled, error))
        elif self._letters_gate.is_probing:
            # The abort that follows a refusal is not the letter's fault, and opens no gate.
            uncommitted.hold_letters()

        self._queues.put_back(handled)
        self._commit_gate.failed(error)
        return Ended()

    def put_back(self) -> None:
        """Undo what the turn has handled: its records are ready again, and nothing is sent."""
        self._queues.put_back(self._uncommitted.put_back())
        if self._letters_gate.is_probing:
            self._uncommitted.hold_letters()

    def _windows(self) -> list[tuple[Partition, Window]]:
        touched = {record.partition for record in self._uncommitted.records}
        touched.update(p for p in self._client.partitions.values() if p.changed)
        return [(p, p.window(include_handled=True)) for p in touched if p.next >= 0]

    def _finish(self, windows: Sequence[tuple[Partition, Window]]) -> list[Record]:
        uncommitted = self._uncommitted
        handled = uncommitted.handled
        in_bulk = sum(len(taken.handled) for taken in uncommitted.bulk)
        RECORDS.labels(self._name, "handled").inc(len(handled) + in_bulk)
        RECORDS.labels(self._name, "dead").inc(len(uncommitted.dead))
        self._count_sent()
        self._record_log.add(handled, "handled")
        self._record_log.add_bulk(uncommitted.bulk)
        self._record_log.add(uncommitted.skipped, "skipped")
        self._record_log.add((record for record, _letter in uncommitted.dead), "dead letter")

        for record in uncommitted.records:
            record.partition.finish(record)
        # `finish` has just set these again, but their windows went with the transaction.
        for partition, _window in windows:
            partition.changed = False
        uncommitted.clear()
        return handled

    def _trace(self, began: datetime) -> None:
        """The spans of what the transaction has committed, before it is forgotten."""
        uncommitted, traces = self._uncommitted, self._traces
        traces.add(uncommitted.handled, "handled")
        traces.add_bulk(uncommitted.bulk)
        traces.add((record for record, _letter in uncommitted.dead), "dead letter")
        traces.add_sent(uncommitted.outputs, began)
        traces.add_sent((placed.unplaced for placed in uncommitted.placed), began)
        traces.add_letters(uncommitted.dead, began)

    def _count_sent(self) -> None:
        sent = [(topic, headers) for topic, _key, _value, headers in self._uncommitted.outputs]
        sent += [(placed.topic, placed.headers) for placed in self._uncommitted.placed]
        count_sent(sent)
        count_dead_letters(letter[0] for _record, letter in self._uncommitted.dead)

    def _rest(self, began: float) -> None:
        now = self._clock.monotonic()
        self.rest_until = now + self._settings.kafka_rest_s(now - began)
        COMMIT_S.labels(self._name).observe(now - began)
