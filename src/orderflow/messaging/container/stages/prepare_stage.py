"""
The stage before the handler: an effect outside any transaction is intended, done and recorded, many
at a time.

A call that has ended makes its record ready by itself; no record waits for the slowest call. What
was done for a partition that was taken away is recorded all the same; it is not announced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from orderflow.messaging.container.failures import PROBES_MAX, Failures
from orderflow.messaging.container.records.queues import EndedCall
from orderflow.messaging.container.records.record import Record, State
from orderflow.messaging.container.shared import Shared
from orderflow.messaging.container.stages.look_ahead import Ahead
from orderflow.messaging.errors import (
    ConfigurationError,
    Contention,
    Fenced,
    Refused,
    Transient,
)
from orderflow.messaging.listener import (
    Ask,
    Prepare,
    PrepareTogether,
    Received,
    Settled,
    Unknown,
)
from orderflow.messaging.postgres import BatchSize
from orderflow.messaging.telemetry.traces import within
from orderflow.messaging.work.calls import Calls
from orderflow.messaging.work.pace import rest_s

STOPPING = (Fenced, Refused, ConfigurationError)
"""Errors that end the worker, wherever they come from."""

CALLS_POLL_S = 0.005
REST_S = (0.005, 0.05)
ENOUGH = 32
"""
Between two transactions is a rest, twice as long as the last one took, unless so many calls have
ended: on a busy machine it makes batches larger, and nobody waits for it otherwise.
"""
APART_FOR_S = 30.0
"""
For how long after a failure outcomes and intents are recorded apart: which of them fails must show.
"""

Step = Settled | Ask | Unknown


class Preparation(Protocol):
    """
    The stage as the loop sees it: `Preparing`, or `NothingToPrepare` for a listener without
    `Prepare`.
    """

    @property
    def running(self) -> int:
        """How many calls run, or have ended and were not collected."""

    @property
    def rest_until(self) -> float:
        """Monotonic seconds before which a step begins nothing without need."""

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
    rest_until = 0.0

    def step(self, _now: float) -> list[Record]:
        return []

    def finish(self, deadline: float) -> None:
        pass

    def close(self) -> None:
        pass


class Preparing:
    """
    Takes heads of keys, of all partitions of the worker; a key never has two calls running.

    A step is one transaction of intents and one of outcomes at most, whatever fails in them:
    between two steps the container polls. It is one for both where `Prepare` can do that.
    """

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
        self._together = prepare if isinstance(prepare, PrepareTogether) else None
        self._apart_until = 0.0
        self.rest_until = self._began_at = 0.0
        self._ahead = ahead
        self._calls = calls
        self._turn_s_max = shared.settings.turn_s_max
        self._gates = shared.gates
        self._queues = shared.queues
        self._clock = shared.clock
        self._traces = shared.traces
        self._failures = failures

        self._intents = BatchSize(shared.settings.records_max, shared.clock)
        self._outcomes = BatchSize(shared.settings.records_max, shared.clock)
        self._contended: list[tuple[float, EndedCall]] = []
        self._probe_failed = False
        self._stopping = False
        self._over: list[Record] = []

    @property
    def running(self) -> int:
        # Outcomes that can be recorded now: the next step must not wait for a call to end.
        unrecorded = 0 if self._gates.outcome.is_probing else len(self._queues.ended)
        return self._calls.running + unrecorded

    def step(self, now: float) -> list[Record]:
        # Outcomes first: they free room in the pool, and a record that ended must not wait for new
        # ones.
        self._judge()
        self._began_at = self._clock.monotonic()
        rests = now < self.rest_until and len(self._queues.ended) < ENOUGH
        if not (rests or self._advance(now)):
            self._record_ended()
            self._intend(now)

        # Only when no record is still on its way through the stages: it may be the good one.
        if self._probe_failed and not (self.running or self._queues.ready):
            self._probe_failed = False
            self._failures.back_off()

        over, self._over = self._over, []
        return over

    def finish(self, deadline: float) -> None:
        self._stopping = True
        while self._calls.running and self._clock.monotonic() < deadline:
            self._judge(within_s=CALLS_POLL_S)
            self._record_ended()
        self._judge()
        self._record_ended()
        while self._queues.ended and self._may_record() and self._clock.monotonic() < deadline:
            self._record_ended()

    def close(self) -> None:
        self._calls.close()

    def _judge(self, *, within_s: float = 0.0) -> None:
        """Judge the calls that have ended, waiting at most `within_s` for the first."""
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

        self._wake_contended()

    def _advance(self, now: float) -> bool:
        """
        Record outcomes and intents together; False if that can't be, and they are to be recorded
        apart. If it fails, that is from the next step on.
        """
        ended, to_prepare = self._queues.ended, self._queues.to_prepare
        if self._together is None or not (ended and to_prepare) or not self._may_advance(now):
            return False

        calls = self._take_ended()
        batch = self._queues.take_to_prepare(min(self._intents.value, self._calls.room))
        alone = any(record.runs_alone for record in (*(call[0] for call in calls), *batch))
        if alone or not batch:
            self._put_back(calls, batch)
            return False

        try:
            with self._outcomes.waiting():
                if self._ahead is not None:
                    self._ahead.show(batch)
                after_calls, after_intents = self._together.advance(
                    _finished(calls), [record.progress.received for record in batch]
                )
        except STOPPING:
            raise
        except Exception:  # noqa: BLE001 - it is judged where it is raised again, by one of the two
            self._apart_until = now + APART_FOR_S
            self._put_back(calls, batch)
        else:
            self._recorded(calls, after_calls)
            self._intended(batch, after_intents)
        return True

    def _put_back(self, calls: list[EndedCall], batch: list[Record]) -> None:
        self._queues.ended[:0] = calls
        self._queues.to_prepare.extendleft(reversed(batch))

    def _may_advance(self, now: float) -> bool:
        gates = self._gates
        needed = (gates.intent, gates.call, gates.handle, gates.outcome)
        is_well = not (self._failures.suspects or any(gate.is_probing for gate in needed))
        return is_well and not self._stopping and now >= self._apart_until

    def _record_ended(self) -> None:
        """Record the outcomes of calls that have ended, if that may be tried."""
        if self._queues.ended and self._may_record():
            self._record(self._take_ended())

    def _may_record(self) -> bool:
        return self._gates.outcome.may_try(self._clock.monotonic())

    def _take_ended(self) -> list[EndedCall]:
        """Take out ended calls for one transaction; one whose record runs alone comes by itself."""
        ended = self._queues.ended
        alone = [call[0].runs_alone for call in ended[: self._outcomes.value]]
        size = (
            1
            if alone[0]
            else next((at for at, is_alone in enumerate(alone) if is_alone), len(alone))
        )
        batch, self._queues.ended = ended[:size], ended[size:]
        return batch

    def _wake_contended(self) -> None:
        """Outcomes that met a lock alone, and have waited for long enough, are recorded next."""
        now = self._clock.monotonic()
        due = [call for at, call in self._contended if at <= now]
        if due:
            self._contended = [entry for entry in self._contended if entry[0] > now]
            self._queues.ended += due

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

        if self._failures.suspects:
            self._probe_handler()
            return
        batch = self._queues.take_to_prepare(
            1 if probing else min(self._intents.value, self._calls.room)
        )
        if batch:
            self._intend_batch(batch)

    def _probe_handler(self) -> None:
        """As `Waves` does: records of other keys, one by one, until one passes this stage."""
        # What fails in the handler stays ready: one new record a round, so that no good one is kept
        # from ever being prepared.
        most = 1 if self._queues.ready else PROBES_MAX
        began = self._clock.monotonic()
        for _ in range(min(most, len(self._queues.to_prepare), self._calls.room)):
            batch = self._queues.take_to_prepare(1)
            if batch:
                self._intend_batch(batch)
            is_late = self._clock.monotonic() - began > self._turn_s_max
            if is_late or self._gates.intent.is_probing:
                return

    def _intend_batch(self, batch: list[Record]) -> None:
        gate, to_prepare = self._gates.intent, self._queues.to_prepare
        try:
            with self._intents.waiting():
                # First, so that what is queued behind can still keep the effect from being begun.
                if self._ahead is not None:
                    self._ahead.show(batch)
                steps = self._prepare.intent([record.progress.received for record in batch])

        except Contention as error:
            gate.succeeded()
            self._intents.contended(len(batch))
            self._failures.contended(batch, error)
            if len(batch) == 1:
                self._queues.wait(batch[0], self._failures.next_try_s(batch[0]))
            else:
                to_prepare.extendleft(reversed(batch))
        except Transient as error:
            gate.failed(error)
            self._queues.try_later(to_prepare, batch)
        except STOPPING:
            raise
        except Exception as error:  # noqa: BLE001 - only the container catches broadly
            gate.succeeded()
            if len(batch) == 1:
                self._failed(batch[0], error)
                return
            # Halved, so that only the record that fails alone is charged an attempt.
            self._intents.failed(len(batch))
            to_prepare.extendleft(reversed(batch))
        else:
            gate.succeeded()
            self._intended(batch, steps)

    def _rest(self) -> None:
        now = self._clock.monotonic()
        took_s, self._began_at = now - self._began_at, now
        self.rest_until = now + rest_s(REST_S, took_s)

    def _intended(self, batch: list[Record], steps: Sequence[Step]) -> None:
        self._rest()
        self._intents.succeeded()
        for record, step in zip(batch, steps, strict=True):
            self._step(record, step)

    def _record(self, batch: list[EndedCall]) -> None:
        gate, queues = self._gates.outcome, self._queues
        records = [record for record, *_ in batch]
        try:
            with self._outcomes.waiting():
                steps = self._prepare.outcome(_finished(batch))

        except Contention as error:
            gate.succeeded()
            self._outcomes.contended(len(batch))
            self._failures.contended(records, error)
            if len(batch) == 1:
                # The answer is kept: to intend the record again would ask for it once more.
                wait_s = self._clock.spread(self._failures.next_try_s(records[0]))
                self._contended.append((self._clock.monotonic() + wait_s, batch[0]))
            else:
                queues.ended[:0] = batch
        except Transient as error:
            gate.failed(error)
            queues.ended[:0] = batch
        except STOPPING:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            gate.succeeded()
            if len(batch) == 1:
                queues.calling.discard(records[0].key)
                self._failed(records[0], error)
                return
            self._outcomes.failed(len(batch))
            queues.ended[:0] = batch
        else:
            gate.succeeded()
            self._recorded(batch, steps)

    def _recorded(self, batch: list[EndedCall], steps: Sequence[Step]) -> None:
        self._rest()
        self._outcomes.succeeded()
        records = [record for record, *_ in batch]
        self._queues.calling.difference_update(record.key for record in records)
        for record, step in zip(records, steps, strict=True):
            self._step(record, step)

    def _step(self, record: Record, step: Step) -> None:
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
                    with within(self._traces.context(record)):
                        self._calls.submit(record, task)
            case Unknown():
                if self._failures.unknown(record, step):
                    self._over.append(record)

    def _failed(self, record: Record, error: Exception) -> None:
        if not record.is_head:
            return
        if self._failures.alone(record, error, self._queues.to_prepare):
            self._over.append(record)
        self._probe_failed = self._failures.suspects


def _finished(calls: Sequence[EndedCall]) -> list[tuple[Received, Any, Any]]:
    return [(record.progress.received, task, answer) for record, task, answer, _error in calls]
