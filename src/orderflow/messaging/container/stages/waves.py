"""
Ready records meet their handler: in waves of different keys, halved when one fails, one by one when
it probes.
"""

from __future__ import annotations

from collections.abc import Iterator

from orderflow.messaging.container.deliveries.delivery import Delivery
from orderflow.messaging.container.failures import HANDLER, PROBES_MAX, Failures
from orderflow.messaging.container.metrics import BATCH_RECORDS, PROCESS_S
from orderflow.messaging.container.records.record import Record
from orderflow.messaging.container.refusals import Refusals
from orderflow.messaging.container.shared import Shared
from orderflow.messaging.container.stages.prepare_stage import STOPPING
from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Contention, Transient
from orderflow.messaging.postgres import BatchSize
from orderflow.messaging.telemetry import logger

log = logger("listener")


class Waves:
    """Takes waves of ready records, and decides what a failed one means."""

    def __init__(
        self, shared: Shared, *, delivery: Delivery, failures: Failures, refusals: Refusals
    ) -> None:
        self._settings = shared.settings
        self._name = shared.settings.listener.name
        self._handle_gate = shared.gates.handle
        self._queues = shared.queues
        self._clock = shared.clock
        self._delivery = delivery
        self._failures = failures
        self._refusals = refusals
        self._seconds = PROCESS_S.labels(shared.settings.listener.group)
        self._records = BATCH_RECORDS.labels(self._name)
        self._size = BatchSize(shared.settings.records_max, shared.clock)

    def may_run(self, now: float) -> bool:
        """Whether everything that handling needs is there, or may be tried again."""
        return all(gate.may_try(now) for gate in self._delivery.needs)

    def are_well(self) -> bool:
        """Whether nothing that handling needs is in doubt: neither away, nor being probed."""
        return not any(gate.is_probing for gate in self._delivery.needs)

    def run(self) -> Iterator[list[Record]]:
        """
        Handle waves until nothing is ready, or the turn's records or seconds are used up.

        After each wave the records that are over are yielded: release the next of their keys before
        going on, so that they can be in the next wave.
        """
        if self._failures.suspects:
            yield from self._probe_handler()
            return

        began, handled, settings = self._clock.monotonic(), 0, self._settings
        while (
            self._queues.ready
            and (room := self._refusals.room(handled))
            and self.may_run(self._clock.monotonic())
        ):
            # A probe is one record: a resource that comes back must not be met by 500, of which all
            # may fail.
            probing = any(gate.is_probing for gate in self._delivery.needs)
            wave = self._queues.take_wave(1 if probing else min(room, self._size.value))
            if not wave:
                return
            refused = wave[0].progress.refused
            if refused and handled:
                self._queues.put_back(wave)
                return

            yield self._handle(wave)
            handled += len(wave)
            if probing or refused or self._clock.monotonic() - began > settings.turn_s_max:
                return

    def _probe_handler(self) -> Iterator[list[Record]]:
        """
        Give a suspected handler records of other keys, one by one, until it handles one of them:
        good records must not wait for those that it fails for.
        """
        began = self._clock.monotonic()
        for _ in range(min(PROBES_MAX, len(self._queues.ready))):
            if not self.may_run(self._clock.monotonic()):
                return
            wave = self._queues.take_wave(1)
            if wave:
                yield self._handle(wave)
            if not self._failures.suspects:
                return
            if self._clock.monotonic() - began > self._settings.turn_s_max:
                break
        self._failures.back_off()

    def _handle(self, wave: list[Record]) -> list[Record]:
        """The records of the wave that are over."""
        gate = self._handle_gate
        try:
            over = self._give(wave)
        except Contention as error:
            # The resource answered, and has others to serve: no gate closes.
            if gate.resource != HANDLER:
                gate.succeeded()
            self._contended(wave, error)
            return []
        except Transient as error:
            # A resource is away: no record's fault, so no attempt. The closed gate ends the turn's
            # waves.
            gate.failed(error)
            # It may be away for one record alone, which must not take whole waves with it for ever.
            if len(wave) == 1:
                wave[0].progress.found_away = True
            else:
                self._size.failed(len(wave))
            self._queues.try_later(self._queues.ready, wave)
            return []
        except STOPPING:
            raise
        except Exception as error:  # noqa: BLE001 - only the container catches broadly
            # The resource answered. Only a success opens a gate that the handler itself has closed.
            if gate.resource != HANDLER:
                gate.succeeded()
            return self._failed(wave, error)

        probed = gate.is_probing
        gate.succeeded()
        self._failures.success()
        # A probe of one says nothing about a full wave.
        if not probed:
            self._size.succeeded()
        return over

    def _give(self, wave: list[Record]) -> list[Record]:
        """Hand the wave to the delivery, and measure it, whatever becomes of it."""
        began = self._clock.monotonic()
        try:
            with self._size.waiting():
                return self._delivery.handle(wave)
        finally:
            self._seconds.observe(self._clock.monotonic() - began)
            self._records.observe(len(wave))

    def _contended(self, wave: list[Record], error: Contention) -> None:
        """
        Halve a wave that met a lock or took too long, so that only the record that meets it alone
        has to wait.
        """
        self._size.contended(len(wave))
        self._failures.contended(wave, error)
        if len(wave) == 1:
            self._queues.wait(wave[0], self._failures.next_try_s(wave[0]))
            # One wait for a lock is enough for now: what met one before lets the others pass.
            for record in self._queues.take_contended():
                self._queues.wait(record, self._failures.next_try_s(record))
        else:
            self._queues.put_back(wave)

    def _failed(self, wave: list[Record], error: Exception) -> list[Record]:
        """
        Halve a wave that failed, so that only the record that fails alone is charged an attempt.
        """
        if len(wave) == 1:
            return wave if self._failures.alone(wave[0], error, self._queues.ready) else []
        self._queues.put_back(wave)
        self._size.failed(len(wave))
        log.info(
            "a wave failed, and is halved",
            listener=self._name,
            records=len(wave),
            why=error_text(error),
        )
        return []
