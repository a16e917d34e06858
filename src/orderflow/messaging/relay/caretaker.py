"""
The caretaker: all that a relay does but publish, where another reader of its slot publishes.

Debezium reads the relay's own slot, by the relay's publication. PostgreSQL gives a slot to one
reader, so an outbox has one publisher at a time, whoever is configured to be it. The caretaker
takes the slot first, as a relay would: it makes what is missing, fences, refuses what does not fit,
commits the first position. Then it lets the slot go, and keeps up what others rely on: the position
on Kafka (the books), the note of what is published (who counts what waits), the counter that tells
an older copy, the partitions. A relay that is started instead goes on where the slot is confirmed.
"""

from __future__ import annotations

import threading
import time
from contextlib import closing

from orderflow.messaging.errors import Refused, Stopped, Transient, plain
from orderflow.messaging.postgres import Connection
from orderflow.messaging.relay.following import Following
from orderflow.messaging.relay.health import STREAMING, Health, RelayState, set_gauges
from orderflow.messaging.relay.outbox_partitions import PartitionKeeper
from orderflow.messaging.relay.position import lsn_text
from orderflow.messaging.relay.session import RelaySession
from orderflow.messaging.relay.settings import RelaySettings
from orderflow.messaging.telemetry import logger
from orderflow.messaging.work.clock import CLOCK, Clock
from orderflow.messaging.work.reasons import Degraded
from orderflow.messaging.work.turning import Turning

LOOK_EVERY_S = 1.0
BACK_OFF_S = 1.0
KEEP_PARTITIONS_EVERY_S = 60.0
AWAY_AFTER_S = 5.0
"""A reader that starts again is away for a moment."""

log = logger("caretaker")


class Caretaker:
    """One outbox. `run` needs a thread of its own; any thread may ask for `reasons`."""

    def __init__(self, settings: RelaySettings, *, clock: Clock = CLOCK) -> None:
        self._settings = settings
        self._name = settings.service
        self._stop = threading.Event()
        self._keeper = PartitionKeeper()
        self._turning = Turning("caretaker", clock=clock)
        self._seen_read_at = time.monotonic()
        self._ticked_at = self._kept_at = float("-inf")
        self.health = Health()

    def reasons(self) -> list[str]:
        """
        Why nothing is published, one sentence each. While nobody reads the slot the process is only
        degraded: rows wait, and nothing else does.
        """
        health = self.health
        reasons = [] if health.ready else [f"relay {health.state}: {health.reason}".rstrip(": ")]
        if health.state is RelayState.WAITING:
            reasons = [Degraded(reason) for reason in reasons]
        return [*reasons, *self._turning.reasons()]

    def run(self, stop: threading.Event) -> None:
        """
        Take care until `stop` is set. Waits without bound for what time heals; raises Refused when
        going on could lose rows, or would publish some out of their order.
        """
        self._stop = stop
        set_gauges(self.health, relay=self._name)
        try:
            while not stop.is_set():
                self._run_session()
            self._report(RelayState.STOPPED)
        except Refused as error:
            self._report(RelayState.REFUSED, str(error))
            raise
        finally:
            self._turning.rest()
            STREAMING.labels(self._name).set(0)

    def _run_session(self) -> None:
        """One session to its first failure; what it fails of is waited for."""
        try:
            self._turning.mark("open a session")
            following = Following(self._settings, stopping=self._stop.is_set)
            with closing(following):
                if not following.take():
                    self._report(RelayState.STANDBY, "another caretaker is at work")
                    self._stop.wait(LOOK_EVERY_S)
                elif following.follows():
                    self._look_after(following)
                else:
                    self._hand_over()
        except Stopped:
            pass
        except Transient as error:
            self._report(RelayState.WAITING, plain(error))
            log.warning("the caretaker starts over", reason=str(error))
            self._turning.rest()
            self._stop.wait(BACK_OFF_S)

    def _hand_over(self) -> None:
        """Take the slot as a relay, bring everything in order, and let the other reader have it."""
        self._turning.mark("take the slot")
        session = RelaySession(self._settings, stopping=self._stop.is_set, turning=self._turning)
        with closing(session):
            session.open(on_standby=self._stand_by, before_first=self._keep_partitions)
            session.hand_over()
        log.info(
            "the slot is free for another reader",
            slot=self._settings.slot,
            position=lsn_text(session.position),
        )

    def _look_after(self, following: Following) -> None:
        """Look, and let the position follow, until a failure or a stop."""
        log.info("the position follows the slot", slot=self._settings.slot)
        self._seen_read_at = time.monotonic()
        while not self._stop.is_set():
            self._turning.mark("look at the slot")
            seen = following.look()

            has_ticked = self._is_due(self._ticked_at, self._settings.tick_every_s)
            if has_ticked:
                following.increment_tick()
                self._ticked_at = time.monotonic()
            following.follow(seen, has_ticked=has_ticked)
            self._show(following.position, seen.wal_end, is_read=seen.is_read)

            if self._is_due(self._kept_at, KEEP_PARTITIONS_EVERY_S):
                self._turning.mark("look after outbox partitions")
                self._kept_at = time.monotonic()
                self._keep_partitions(following.admin)
            self._turning.rest()
            self._stop.wait(LOOK_EVERY_S)

    def _show(self, position: int, wal_end: int, *, is_read: bool) -> None:
        now = time.monotonic()
        if is_read:
            self._seen_read_at = now
        if is_read or now - self._seen_read_at < AWAY_AFTER_S:
            self._report(RelayState.STREAMING, position=position, wal_end=wal_end)
            return
        self._report(
            RelayState.WAITING,
            f"nobody reads slot {self._settings.slot}: the rows of {self._name} wait for Debezium",
            position=position,
            wal_end=wal_end,
        )

    def _stand_by(self) -> None:
        self._turning.mark("stand by")
        self._report(RelayState.STANDBY, "a relay reads the slot")

    def _keep_partitions(self, connection: Connection) -> None:
        self._keeper.try_to_keep(connection, position=self.health.position)

    def _report(
        self, state: RelayState, reason: str = "", *, position: int | None = None, wal_end: int = 0
    ) -> None:
        if state is not self.health.state and reason:
            log.info("the caretaker is another way", state=state.value, reason=reason)
        self.health = self.health.changed(state, reason, position=position, wal_end=wal_end)
        set_gauges(self.health, relay=self._name)

    def _is_due(self, last: float, every_s: float) -> bool:
        return time.monotonic() - last >= every_s
