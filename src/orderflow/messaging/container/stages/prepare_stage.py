"""
The stage before the handler: an effect outside any transaction is intended, done and recorded, many
at a time.

A call that has ended makes its record ready by itself; no record waits for the slowest call. What
was done for a partition that was taken away is recorded all the same; it is not announced.
"""

from __future__ import annotations

from typing import Protocol

from orderflow.messaging.container.failures import Failures
from orderflow.messaging.container.records.queues import EndedCall
from orderflow.messaging.container.records.record import Record, State
from orderflow.messaging.container.shared import Shared
from orderflow.messaging.container.stages.look_ahead import Ahead
from orderflow.messaging.errors import ConfigurationError, Fenced, Refused, Transient
from orderflow.messaging.listener import Ask, Prepare, Settled, Unknown
from orderflow.messaging.work.calls import Calls

STOPPING = (Fenced, Refused, ConfigurationError)
"""Errors that end the worker, wherever they come from."""

CALLS_POLL_S = 0.005


class Preparation(Protocol):
    """
    The stage as the loop sees it: `Preparing`, or `NothingToPrepare` for a listener without
    `Prepare`.
    """

    @property
    def running(self) -> int:
        """How many calls run, or have ended and were not collected."""

    def step(self, now: float) -> list[Record]:
        """
        Record what has ended, begin what may begin. Returns the records that became dead letters.
        """

    def finish(self, deadline: float) -> None:
        """Begin nothing new; record the calls that end before `deadline`, in monotonic seconds."""

    def close(self) -> None:
        """Let the pool's threads end."""


class NothingToPrepare:
    """A listener without `Prepare`: its records are ready at once."""

    running = 0

    def step(self, _now: float) -> list[Record]:
        return []

    def finish(self, deadline: float) -> None:
        pass

    def close(self) -> None:
        pass


class Preparing:
    """Takes heads of keys, of all partitions of the worker; a key never has two calls running."""

    def __init__(
        self,
        shared: Shared,
        prepare: Prepare,
        *,
        calls: Calls[Record],
        failures: Failures,
        ahead: Ahead | None = None,
    ) -> None:
        self._prepare = prepare
        self._ahead = ahead
        self._calls = calls
        self._records_max = shared.settings.records_max
        self._gates = shared.gates
        self._queues = shared.queues
        self._clock = shared.clock
        self._failures = failures
        self._stopping = False
        self._over: list[Record] = []

    @property
    def running(self) -> int:
        return self._calls.running

    def step(self, now: float) -> list[Record]:
        # Outcomes first: they free room in the pool, and a record that ended must not wait for new
        # ones.
        self._collect()
        self._intend(now)

        over, self._over = self._over, []
        return over

    def finish(self, deadline: float) -> None:
        self._stopping = True
        while self._calls.running and self._clock.monotonic() < deadline:
            self._collect(within_s=CALLS_POLL_S)
        self._collect()

    def close(self) -> None:
        self._calls.close()

    def _collect(self, *, within_s: float = 0.0) -> None:
        """
        Judge the calls that have ended, waiting at most `within_s` for the first; record their
        outcomes.
        """
        queues = self._queues
        for ended in self._calls.collect(within_s=within_s):
            record, _task, _answer, error = ended
            if error is None:
                # Its key stays taken: until the outcome is recorded, nobody may decide from rows.
                self._gates.call.succeeded()
                queues.ended.append(ended)
                continue

            queues.calling.discard(record.key)
            if isinstance(error, Transient):
                # The record is intended again, which finds its intent. It goes to the end: if only
                # this record's call finds the resource away, the next probe must not be the same.
                self._gates.call.failed(error)
                if record.is_head:
                    queues.to_prepare.append(record)
            elif isinstance(error, STOPPING):
                raise error
            else:
                self._failed(record, error)

        if queues.ended and self._gates.outcome.may_try(self._clock.monotonic()):
            batch, queues.ended = (
                queues.ended[: self._records_max],
                queues.ended[self._records_max :],
            )
            self._record(batch)

    def _intend(self, now: float) -> None:
        """Record the intents of as many records as the pool has room for."""
        gates = self._gates
        # While outcomes can't be recorded no effect is begun: nobody could say afterwards how it
        # ended.
        if not self._queues.to_prepare or self._stopping or gates.outcome.is_probing:
            return
        needed = (gates.intent, gates.call, gates.handle)
        if not all(gate.may_try(now) for gate in needed):
            return
        probing = any(gate.is_probing for gate in needed)
        if probing and self._calls.running:
            return

        limit = 1 if probing else min(self._records_max, self._calls.room)
        batch = self._queues.take_to_prepare(limit)
        if batch:
            self._intend_batch(batch)

    def _intend_batch(self, batch: list[Record]) -> None:
        try:
            # First, so that what is queued behind can still keep the effect from being begun.
            if self._ahead is not None:
                self._ahead.show(batch)
            steps = self._prepare.intent([record.progress.received for record in batch])
        except Transient as error:
            self._gates.intent.failed(error)
            self._queues.to_prepare.extendleft(reversed(batch))
        except STOPPING:
            raise
        except Exception as error:  # noqa: BLE001 - only the container catches broadly
            if len(batch) == 1:
                self._failed(batch[0], error)
                return
            # One by one, so that only the record that fails alone is charged an attempt.
            for record in batch:
                self._intend_batch([record])
        else:
            self._gates.intent.succeeded()
            for record, step in zip(batch, steps, strict=True):
                self._step(record, step)

    def _record(self, ended: list[EndedCall]) -> None:
        try:
            steps = self._prepare.outcome(
                [(record.progress.received, task, answer) for record, task, answer, _error in ended]
            )
        except Transient as error:
            self._gates.outcome.failed(error)
            self._queues.ended[:0] = ended
        except STOPPING:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            if len(ended) == 1:
                self._queues.calling.discard(ended[0][0].key)
                self._failed(ended[0][0], error)
                return
            for call in ended:
                self._record([call])
        else:
            self._gates.outcome.succeeded()
            self._queues.calling.difference_update(record.key for record, *_ in ended)
            for (record, _task, _answer, _error), step in zip(ended, steps, strict=True):
                self._step(record, step)

    def _step(self, record: Record, step: Settled | Ask | Unknown) -> None:
        """
        Queue the record according to the step that `Prepare` returned, unless the record's
        partition was taken away meanwhile.
        """
        if not record.is_head:
            return

        match step:
            case Settled(outcome):
                record.progress.outcome = outcome
                record.progress.state = State.READY
                self._queues.ready.append(record)
            case Ask(task):
                if not self._stopping:
                    self._queues.calling.add(record.key)
                    self._calls.submit(record, task)
            case Unknown():
                if self._failures.unknown(record, step):
                    self._over.append(record)

    def _failed(self, record: Record, error: Exception) -> None:
        if record.is_head and self._failures.alone(record, error, self._queues.to_prepare):
            self._over.append(record)
