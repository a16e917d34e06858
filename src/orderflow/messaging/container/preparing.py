"""
The stage before the handler: an effect outside any transaction, intended, done and recorded, many at a time.

A finished call makes its record ready by itself; nobody waits for the slowest. What was done for a partition that is
not ours any more is recorded all the same; it is not announced.
"""

from __future__ import annotations

from collections.abc import Callable

from orderflow.messaging.container.failures import Failures
from orderflow.messaging.container.partition import Item
from orderflow.messaging.container.queues import Finished, Queues
from orderflow.messaging.errors import ConfigurationError, Fenced, Refused, Transient
from orderflow.messaging.listener import Ask, Prepare, Settled, Unknown
from orderflow.messaging.work.calls import Calls
from orderflow.messaging.work.clock import Clock
from orderflow.messaging.work.gate import Gate

STOPPING = (Fenced, Refused, ConfigurationError)
"""Errors that end the worker, wherever they come from."""


class Preparing:
    """`hand_on` gets each record that was given up: the next of its key comes up then."""

    def __init__(
        self,
        prepare: Prepare,
        *,
        calls: Calls[Item],
        records_max: int,
        gates: dict[str, Gate],
        queues: Queues,
        clock: Clock,
        failures: Failures,
        hand_on: Callable[[Item], None],
    ) -> None:
        self._clock = clock
        self._prepare = prepare
        self._records_max = records_max
        self._intent, self._call, self._outcome = gates["intent"], gates["call"], gates["outcome"]
        self._queues = queues
        self._failures = failures
        self._hand_on = hand_on
        self._stopping = False
        self.calls = calls

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopping = True

    def step(self, now: float) -> None:
        """Record what has ended, intend what fits into the pool."""
        self.collect()
        self._intend(now)

    def collect(self, *, within_s: float = 0.0) -> None:
        """Judge calls that have ended and record their outcomes; wait at most `within_s` for the first."""
        queues = self._queues
        for ended in self.calls.collect(within_s=within_s):
            item, _task, _answer, error = ended
            if error is None:
                self._call.succeeded()
                queues.ended.append(ended)
            elif isinstance(error, Transient):
                self._call.failed(error)
                if item.is_head:
                    queues.prep.appendleft(item)
            elif isinstance(error, STOPPING):
                raise error
            else:
                self._failed(item, error)
        if queues.ended and self._outcome.may_try(self._clock.monotonic()):
            now, queues.ended = queues.ended[: self._records_max], queues.ended[self._records_max :]
            self._record(now)

    def _intend(self, now: float) -> None:
        if not self._queues.prep or self._stopping or self._outcome.single:
            return
        if not (self._intent.may_try(now) and self._call.may_try(now)):
            return
        probing = self._intent.single or self._call.single
        if probing and self.calls.running:
            return
        limit = 1 if probing else min(self._records_max, self.calls.room)
        batch = self._queues.take_prep(limit)
        if batch:
            self._intend_batch(batch)

    def _intend_batch(self, batch: list[Item]) -> None:
        try:
            steps = self._prepare.intent([item.received for item in batch])
        except Transient as error:
            self._intent.failed(error)
            self._queues.prep.extendleft(reversed(batch))
        except STOPPING:
            raise
        except Exception as error:  # noqa: BLE001 - the container is the one place that catches broadly
            if len(batch) == 1:
                self._failed(batch[0], error)
            for item in batch if len(batch) > 1 else ():
                self._intend_batch([item])
        else:
            self._intent.succeeded()
            for item, step in zip(batch, steps, strict=True):
                self._step(item, step)

    def _record(self, ended: list[Finished]) -> None:
        try:
            steps = self._prepare.outcome(
                [(item.received, task, answer) for item, task, answer, _error in ended]
            )
        except Transient as error:
            self._outcome.failed(error)
            self._queues.ended[:0] = ended
        except STOPPING:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            if len(ended) == 1:
                self._failed(ended[0][0], error)
            for one in ended if len(ended) > 1 else ():
                self._record([one])
        else:
            self._outcome.succeeded()
            for (item, _task, _answer, _error), step in zip(ended, steps, strict=True):
                self._step(item, step)

    def _step(self, item: Item, step: Settled | Ask | Unknown) -> None:
        if not item.is_head:
            return
        match step:
            case Settled(outcome):
                item.outcome, item.settled = outcome, True
                self._queues.ready.append(item)
            case Ask(task):
                if not self._stopping:
                    self.calls.submit(item, task)
            case Unknown(since):
                if self._failures.unknown(item, since):
                    self._hand_on(item)

    def _failed(self, item: Item, error: Exception) -> None:
        if item.is_head and self._failures.alone(item, error, self._queues.prep):
            self._hand_on(item)
