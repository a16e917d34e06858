"""Ready records meet their handler: in waves of different keys, halved when one fails, probed when all do."""

from __future__ import annotations

from collections.abc import Callable

from orderflow.messaging.container import delivery as deliveries
from orderflow.messaging.container.database import EffectDatabase
from orderflow.messaging.container.failures import HANDLER, Failures
from orderflow.messaging.container.metrics import RECORDS
from orderflow.messaging.container.partition import Item
from orderflow.messaging.container.preparing import STOPPING
from orderflow.messaging.container.publishing import Publisher
from orderflow.messaging.container.queues import Queues
from orderflow.messaging.container.record_log import RecordLog
from orderflow.messaging.container.settings import ContainerSettings
from orderflow.messaging.errors import Transient
from orderflow.messaging.listener import ExactlyOnce
from orderflow.messaging.telemetry import logger
from orderflow.messaging.work.clock import Clock
from orderflow.messaging.work.gate import Gate

log = logger("listener")


class Waves:
    """`hand_on` gets each record that is over; with a prepared one that is only after its commit."""

    def __init__(  # noqa: PLR0913 - every stage of the loop meets here
        self,
        settings: ContainerSettings,
        *,
        publisher: Publisher,
        database: EffectDatabase | None,
        gates: dict[str, Gate],
        queues: Queues,
        clock: Clock,
        failures: Failures,
        record_log: RecordLog,
        hand_on: Callable[[Item], None],
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._listener = settings.listener
        self._name = settings.listener.name
        self._exactly_once = settings.listener.is_exactly_once
        self._prepares = settings.listener.prepares
        self._publisher = publisher
        self._database = database
        self._gates = gates
        self._queues = queues
        self._failures = failures
        self._record_log = record_log
        self._hand_on = hand_on
        self._wave_max = settings.records_max

    def may_run(self, now: float) -> bool:
        commit = self._gates["commit"]
        return self._gates["handle"].may_try(now) and (
            not self._exactly_once or commit.may_try(now)
        )

    def run(self) -> None:
        began = self._clock.monotonic()
        handled = 0
        while (
            self._queues.ready
            and handled < self._settings.records_max
            and self.may_run(self._clock.monotonic())
        ):
            probing = self._gates["handle"].single or (
                self._exactly_once and self._gates["commit"].single
            )
            wave = self._queues.take_wave(1 if probing else self._wave_max)
            if not wave or not self._run_wave(wave):
                return
            handled += len(wave)
            if probing or self._clock.monotonic() - began > self._settings.turn_s_max:
                return

    def _run_wave(self, wave: list[Item]) -> bool:
        """False when nothing more should run in this turn."""
        handle = self._gates["handle"]
        try:
            self._handle(wave)
        except Transient as error:
            handle.failed(error)
            self._queues.ready.extendleft(reversed(wave))
            return False
        except STOPPING:
            raise
        except Exception as error:  # noqa: BLE001 - the container is the one place that catches broadly
            if handle.resource != HANDLER:
                handle.succeeded()
            self._failed(wave, error)
            return not handle.single
        handle.succeeded()
        self._failures.success()
        self._wave_max = min(self._settings.records_max, 2 * self._wave_max)
        return True

    def _handle(self, wave: list[Item]) -> None:
        delivery = self._listener.delivery
        if isinstance(delivery, ExactlyOnce):
            self._queues.outputs += deliveries.exactly_once(delivery, self._publisher, wave)
            self._queues.done += wave
            for item in wave:
                item.done = True
                if not self._prepares:
                    self._hand_on(item)
            return
        assert self._database is not None
        fresh, repeats = deliveries.inbox_outbox(
            delivery, self._publisher, wave, listener=self._name, database=self._database
        )
        RECORDS.labels(self._name, "handled").inc(len(wave))
        self._record_log.over(fresh, "handled")
        self._record_log.over(repeats, "repeat")
        for item in wave:
            item.done = True
            item.partition.finish(item)
            self._hand_on(item)

    def _failed(self, wave: list[Item], error: Exception) -> None:
        if len(wave) > 1:
            self._queues.ready.extendleft(reversed(wave))
            self._wave_max = max(1, len(wave) // 2)
            log.info(
                "a wave failed, and is halved",
                listener=self._name,
                records=len(wave),
                why=repr(error),
            )
        elif self._failures.alone(wave[0], error, self._queues.ready):
            self._hand_on(wave[0])
