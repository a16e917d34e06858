"""
Ready records meet their handler: in waves of different keys, halved when one fails, one by one when
it probes.
"""

from __future__ import annotations

from collections.abc import Iterator

from orderflow.messaging.container.deliveries.delivery import Delivery
from orderflow.messaging.container.failures import HANDLER, Failures
from orderflow.messaging.container.records.record import Record
from orderflow.messaging.container.shared import Shared
from orderflow.messaging.container.stages.prepare_stage import STOPPING
from orderflow.messaging.errors import Transient
from orderflow.messaging.telemetry import logger

log = logger("listener")


class Waves:
    """Takes waves of ready records, and decides what a failed one means."""

    def __init__(self, shared: Shared, *, delivery: Delivery, failures: Failures) -> None:
        self._settings = shared.settings
        self._name = shared.settings.listener.name
        self._handle_gate = shared.gates.handle
        self._queues = shared.queues
        self._clock = shared.clock
        self._delivery = delivery
        self._failures = failures
        self._wave_max = shared.settings.records_max

    def may_run(self, now: float) -> bool:
        """Whether everything that handling needs is there, or may be tried again."""
        return all(gate.may_try(now) for gate in self._delivery.needs)

    def run(self) -> Iterator[list[Record]]:
        """
        Handle waves until nothing is ready, or the turn's records or seconds are used up.

        After each wave the records that are over are yielded: release the next of their keys before
        going on, so that they can be in the next wave.
        """
        began, handled, settings = self._clock.monotonic(), 0, self._settings
        while (
            self._queues.ready
            and handled < settings.records_max
            and self.may_run(self._clock.monotonic())
        ):
            # A probe is one record: a resource that comes back must not be met by 500, of which all
            # may fail.
            probing = any(gate.is_probing for gate in self._delivery.needs)
            wave = self._queues.take_wave(1 if probing else self._wave_max)
            if not wave:
                return

            yield self._handle(wave)
            handled += len(wave)
            if probing or self._clock.monotonic() - began > settings.turn_s_max:
                return

    def _handle(self, wave: list[Record]) -> list[Record]:
        """The records of the wave that are over."""
        gate = self._handle_gate
        try:
            over = self._delivery.handle(wave)
        except Transient as error:
            # A resource is away: no record's fault, so no attempt. The closed gate ends the turn's
            # waves.
            gate.failed(error)
            self._queues.put_back(wave)
            return []
        except STOPPING:
            raise
        except Exception as error:  # noqa: BLE001 - only the container catches broadly
            # The resource answered. Only a success opens a gate that the handler itself has closed.
            if gate.resource != HANDLER:
                gate.succeeded()
            return self._failed(wave, error)

        gate.succeeded()
        self._failures.success()
        self._wave_max = min(self._settings.records_max, 2 * self._wave_max)
        return over

    def _failed(self, wave: list[Record], error: Exception) -> list[Record]:
        """
        Halve a wave that failed, so that only the record that fails alone is charged an attempt.
        """
        if len(wave) == 1:
            return wave if self._failures.alone(wave[0], error, self._queues.ready) else []
        self._queues.put_back(wave)
        self._wave_max = max(1, len(wave) // 2)
        log.info(
            "a wave failed, and is halved", listener=self._name, records=len(wave), why=repr(error)
        )
        return []
