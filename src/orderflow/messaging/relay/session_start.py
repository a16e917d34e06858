"""The first steps of a relay session: identity, slot, position, and the decision to stream."""

from __future__ import annotations

import time
from collections.abc import Callable

from orderflow.messaging.errors import Fenced, ResyncNeeded, Stopped, Unavailable
from orderflow.messaging.kafka.clients import Consumer
from orderflow.messaging.kafka.transactions import topic_exists
from orderflow.messaging.postgres import Connection
from orderflow.messaging.postgres.outbox import TABLE
from orderflow.messaging.relay import pg_catalog, relay_state
from orderflow.messaging.relay.position import (
    POSITIONS_TOPIC,
    Database,
    Position,
    read_position,
)
from orderflow.messaging.relay.replication import ReplicationConnection
from orderflow.messaging.relay.settings import RelaySettings
from orderflow.messaging.relay.start_decision import (
    Refusal,
    ReplicationSlot,
    StartConditions,
    StartStep,
    decide,
)

STANDBY_EVERY_S = 0.1
BEHIND_FOR_S = 3.0
"""How long a position behind the slot is asked for again, before the refusal."""


class SessionStart:
    """
    The steps of `RelaySession.open`, which calls them in their order and gives the reasons.

    `keep_alive` runs between slices of waiting for the broker; it may raise to give up.
    """

    def __init__(
        self,
        settings: RelaySettings,
        *,
        admin: Connection,
        stream: ReplicationConnection,
        consumer: Consumer,
        stopping: Callable[[], bool],
        keep_alive: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._admin = admin
        self._stream = stream
        self._consumer = consumer
        self._stopping = stopping
        self._keep_alive = keep_alive

    def identify(self) -> Database:
        """The identity of the database whose log this session reads."""
        self._server = self._stream.identify()
        self._database = Database(
            system_identifier=self._server.system_identifier,
            timeline=self._server.timeline,
            oid=pg_catalog.database_oid(self._admin),
            slot=self._settings.slot,
        )
        return self._database

    def take_slot(
        self, on_standby: Callable[[], None], *, fenced_pid: int | None
    ) -> ReplicationSlot:
        """
        Return the slot when this process is its only reader; make it if it is missing and may be.

        Raises ResyncNeeded when it may not be made, Fenced when a fenced process finds another
        reader, Stopped.
        """
        name = self._settings.slot
        made: ReplicationSlot | None = None

        while True:
            slot = made or pg_catalog.find_slot(self._admin, name)
            if slot is None:
                made = self._make_slot()
            elif slot.lost or self._stream.start(name, name):
                # Read again: a predecessor may have moved the slot until the moment it let go.
                return made or pg_catalog.find_slot(self._admin, name) or slot
            else:
                made = None
                self._refuse_if_replaced(fenced_pid)
                on_standby()
                if self._stopping():
                    raise Stopped("stopped while standing by")
                time.sleep(STANDBY_EVERY_S)

    def expect_positions(self) -> None:
        """Raise Unavailable when the topic of positions is missing."""
        if not topic_exists(self._consumer, POSITIONS_TOPIC):
            why = f"topic {POSITIONS_TOPIC} does not exist: {self._settings.commands.apply_topics}"
            raise Unavailable(why, resource="broker", reason=why)

    def committed_position(self) -> Position | None:
        """
        The position on Kafka, None if there is none yet.

        Raises Unavailable when the topic is missing, Refused when the offset is not a relay's.
        """
        self.expect_positions()
        return read_position(self._consumer, between=self._keep_alive)

    def fitting_position(self, slot: ReplicationSlot) -> Position | None:
        """
        As `committed_position`, asked for again for 3 s while it is behind a slot with a past.

        Only what was read from Kafka is confirmed to the slot, so such an answer is an old one, or
        none at all, from a coordinator that has just started; or somebody else moved the slot.
        """
        give_up_at = time.monotonic() + BEHIND_FOR_S
        while True:
            position = self.committed_position()
            if not self._is_behind(position, slot) or time.monotonic() >= give_up_at:
                return position
            self._keep_alive()
            time.sleep(STANDBY_EVERY_S)

    def _is_behind(self, position: Position | None, slot: ReplicationSlot) -> bool:
        if slot.made_now or slot.lost:
            return False
        if position is None:
            return True
        here = position.database == self._database and not position.resyncing
        return here and position.lsn < slot.confirmed_flush and not position.follows

    def admit(self, position: Position | None, slot: ReplicationSlot) -> int:
        """
        Return the database's count if the session may stream from `position`.

        Raises ResyncNeeded if it may not, Unavailable when the slot has to be made anew first. A
        slot that this start made and may not use is dropped again.
        """
        try:
            step = self._decide(position, slot)
        except ResyncNeeded:
            # Left in place, it would look to the next start like a slot with a past.
            if slot.made_now:
                self._drop_slot()
            raise

        if step is StartStep.REMAKE_SLOT:
            self._drop_slot()
            raise Unavailable(
                "a slot that nothing needs was dropped, and is made again now", resource="database"
            )
        return self._tick

    def _make_slot(self) -> ReplicationSlot | None:
        """None when another process made it first."""
        # Judged before anything is made: a new slot beside an old position would hide lost rows.
        # Not the last word: the position is read and judged again after the fence.
        step = self._decide(self.committed_position(), None)
        assert step is StartStep.MAKE_SLOT

        # The publication first: decoding by a slot older than its publication fails.
        pg_catalog.make_publication(self._admin, self._settings.slot)
        new = self._stream.make_slot(self._settings.slot, table=TABLE)
        return new and ReplicationSlot(
            confirmed_flush=new.start, made_now=True, misses_rows=new.misses_rows
        )

    def _decide(self, position: Position | None, slot: ReplicationSlot | None) -> StartStep:
        self._tick = relay_state.read_tick(self._admin, self._settings.service)

        step = decide(
            StartConditions(
                database=self._database,
                wal_end=max(self._server.wal_end, pg_catalog.wal_end(self._admin)),
                tick=self._tick,
                position=position,
                slot=slot,
                publication_fits=pg_catalog.publication_fits(self._admin, self._settings.slot),
                outbox_empty=pg_catalog.outbox_empty(self._admin),
            )
        )
        if isinstance(step, Refusal):
            raise ResyncNeeded(
                f"the relay of {self._settings.service} refuses to start: {step.reason}"
            )
        return step

    def _refuse_if_replaced(self, fenced_pid: int | None) -> None:
        """Raise Fenced if this process was fenced and a backend not its own reads the slot."""
        reader = pg_catalog.slot_reader(self._admin, self._settings.slot)
        if fenced_pid is not None and reader not in (None, fenced_pid):
            raise Fenced(
                f"the relay of {self._settings.service} runs elsewhere (backend {reader} reads "
                f"slot {self._settings.slot}, Kafka answered _FENCED): "
                "nothing of this one's last batch is visible; it ends"
            )

    def _drop_slot(self) -> None:
        """Leave the stream, which frees the slot, and drop it, unless another process took it."""
        self._stream.close()
        pg_catalog.drop_slot(self._admin, self._settings.slot)
