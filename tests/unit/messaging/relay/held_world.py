"""A log, a topic and a table of held rows, in memory, under the real session of a real relay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

import pytest

from orderflow.messaging.event import CE_ID
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.reports import Reports
from orderflow.messaging.kafka.transactions import Refusal, RefusedRecord, TransactionAborted
from orderflow.messaging.relay import session as module
from orderflow.messaging.relay.held_store import Hold, event_id_of
from orderflow.messaging.relay.hold_decision import DISCARD, Lane, Waiting, lane_of
from orderflow.messaging.relay.position import Database, from_committed
from orderflow.messaging.relay.records import ProducerRecord
from orderflow.messaging.relay.relay import Relay
from orderflow.messaging.relay.session import Batch, RelaySession
from orderflow.messaging.relay.settings import RelaySettings
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings
from orderflow.messaging.testing.memory_clock import MemoryClock
from orderflow.messaging.work.turning import Turning

SETTINGS = RelaySettings(
    service="probe",
    database=DatabaseSettings.model_validate({"dsn": "postgresql://db/shop"}),
    kafka=KafkaSettings(),
)
HERE = Database(system_identifier="7", timeline=1, oid=5, slot="relay_probe")
TOPIC = "parcels"


class Killed(BaseException):
    """The process is gone."""


class World:
    """
    What outlives a relay. `log`: transactions, each with the rows and its end. `topic`: what is
    committed. `too_large`: the ids that the topic refuses. `kill_at`: the pass of a failpoint at
    which the process dies, counted over all of them.
    """

    def __init__(self, patch: pytest.MonkeyPatch, *, settings: RelaySettings = SETTINGS) -> None:
        self.settings = settings
        self.log: list[tuple[list[ProducerRecord], int]] = []
        self.topic: list[ProducerRecord] = []
        self.position, self.resent = 0, 0
        self.table: dict[str, dict[str, Any]] = {}
        self.outcomes: list[tuple[str, str]] = []
        self.too_large: set[str] = set()
        self.kill_at: int | None = None
        self.clock = MemoryClock()
        self._number = 0

        anything: Any = lambda *_, **__: type("Anything", (), {})()  # noqa: E731
        stream = type("Stream", (), {"backend_pid": 1, "reply_requested": False, "wal_end": 0})
        patch.setattr(stream, "confirm", lambda *_: None, raising=False)
        for name in ("transactional_producer", "consumer"):
            patch.setattr(clients, name, anything)
        patch.setattr(module, "connect", anything)
        patch.setattr(module, "ReplicationConnection", lambda *_, **__: stream())
        patch.setattr(module, "failpoint", self._failpoint)
        patch.setattr("time.monotonic", self.clock.monotonic)
        patch.setattr("time.sleep", self.clock.advance)

    def _failpoint(self, _name: str, **_: object) -> None:
        if self.kill_at is not None:
            self.kill_at -= 1
            if self.kill_at < 0:
                raise Killed

    def write(self, keys: Iterable[str], *, too_large: Iterable[int] = ()) -> list[str]:
        """Commit a transaction with a row for each key; the places of those that are refused."""
        rows: list[ProducerRecord] = []
        for key in keys:
            self._number += 1
            event_id = str(UUID(int=self._number))
            rows.append(ProducerRecord(TOPIC, key.encode(), b"v", [(CE_ID, event_id.encode())]))
        ids = [event_id_of(row) for row in rows]
        self.too_large |= {ids[place] for place in too_large if place < len(ids)}
        end = self.log[-1][1] + 10 if self.log else 10
        self.log.append((rows, end))
        return ids

    def want(self, event_id: str, wanted: str) -> None:
        """As an operator's command does."""
        held = self.table.get(event_id)
        if held and held["why"] is not None and held["sending"] is None:
            held["wanted"] = wanted

    def session(self) -> RelaySession:
        """Opened: as after the steps of `open`."""
        turning = Turning("relay", clock=self.clock)
        session = RelaySession(self.settings, stopping=lambda: False, turning=turning)
        store = MemoryStore(self)
        replace: Any = session
        replace._transactions = MemoryTransactions(self)
        replace._store = store
        replace._database = HERE
        replace._group_metadata = None
        replace._ticked_at = float("inf")
        replace.position = replace._read_position = self.position
        replace._resent = replace._read_resent = self.resent
        store.settle(self.resent)
        store.unmark(self.resent)
        store.load(position=self.position, resent=self.resent)
        return session

    def run(self, *, together: int = 2, relay: Relay | None = None) -> bool:
        """A relay publishes the log, and what may go of what is held; false if it was killed."""
        relay = relay or Relay(self.settings, clock=self.clock)
        try:
            session = self.session()
            left = [each for each in self.log if each[1] > self.position]
            while left:
                batch, left = left[:together], left[together:]
                rows = [row for rows, _ in batch for row in rows]
                ends, count = [], 0
                for part, end in batch:
                    count += len(part)
                    ends.append((count, end))
                relay._publish(session, Batch(rows, ends), batch[-1][1])
                self.look_at_held(relay, session)
            self.look_at_held(relay, session)
            self.look_at_held(relay, session)
        except Killed:
            self.kill_at = None
            return False
        store: Any = session._store
        store.settle(self.resent)
        return True

    def look_at_held(self, relay: Relay, session: RelaySession) -> None:
        self.clock.advance(10)
        relay._send_held_again(session)

    def held_ids(self) -> list[str]:
        """Of the rows that are neither sent nor discarded for good."""
        return [
            event_id
            for event_id, held in self.table.items()
            if held["sending"] is None or held["sending"] > self.resent
        ]

    def by_key(self) -> dict[str, list[str]]:
        """What is on the topic."""
        ids: dict[str, list[str]] = {}
        for row in self.topic:
            ids.setdefault(row.key.decode(), []).append(event_id_of(row))
        return ids

    def written(self) -> dict[str, list[str]]:
        """What was committed in the database."""
        ids: dict[str, list[str]] = {}
        for rows, _ in self.log:
            for row in rows:
                ids.setdefault(row.key.decode(), []).append(event_id_of(row))
        return ids


class MemoryTransactions:
    """Refuses what is too large; the transaction after a refusal is aborted, too."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rows: list[ProducerRecord] = []
        self._offset: Any = None
        self._is_innocent = False
        self.reports = Reports()
        self.flush: Callable[[], None] = lambda: None

    def begin(self) -> None:
        self._rows = []

    def produce(self, rows: Sequence[ProducerRecord]) -> None:
        self._rows = list(rows)

    def send_offsets(self, offsets: list[Any], _metadata: object) -> None:
        (self._offset,) = offsets

    def commit(self) -> None:
        if self._is_innocent:
            self._is_innocent = False
            raise TransactionAborted("OUT_OF_ORDER", resource="broker")
        if any(event_id_of(row) in self._world.too_large for row in self._rows):
            self._is_innocent = True
            raise TransactionAborted("TOO_LARGE", resource="broker", refused=Refusal.RECORD)
        position = from_committed(self._offset.offset, self._offset.metadata)
        self._world.topic += self._rows
        self._world.position, self._world.resent = position.lsn, position.resent

    def find_all_refused(self, rows: Sequence[ProducerRecord]) -> list[RefusedRecord]:
        return [
            RefusedRecord(place, Refusal.RECORD, "TOO_LARGE")
            for place, row in enumerate(rows)
            if event_id_of(row) in self._world.too_large
        ]


class MemoryStore:
    """The statements of `HeldStore`, on a table in memory."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._table = world.table
        self.lanes: Counter[Lane] = Counter()
        self.ahead: dict[str, tuple[Lane, int]] = {}
        self.held = 0

    def settle(self, resent: int) -> None:
        for event_id, held in list(self._table.items()):
            if held["sending"] is not None and held["sending"] <= resent:
                del self._table[event_id]
                outcome = "discarded" if held["wanted"] == DISCARD else "sent"
                self._world.outcomes.append((event_id, outcome))

    def unmark(self, resent: int) -> None:
        for held in self._table.values():
            if held["sending"] is not None and held["sending"] > resent:
                held["sending"] = None

    def load(self, *, position: int, resent: int) -> list[Waiting]:
        waiting: list[Waiting] = []
        self.ahead = {}
        left = [
            held
            for held in self._table.values()
            if held["sending"] is None or held["sending"] > resent
        ]
        for held in left:
            row: ProducerRecord = held["row"]
            event_id = event_id_of(row)
            if held["lsn"] <= position:
                refused = held["why"] is not None
                waiting.append(
                    Waiting(UUID(event_id), lane_of(row), refused, held["wanted"], len(row.value))
                )
            else:
                self.ahead[event_id] = lane_of(row), held["lsn"]
        self.lanes = Counter(row.lane for row in waiting)
        self.held = len(left)
        return waiting

    def passed(self, position: int) -> None:
        for event_id in [each for each, (_, lsn) in self.ahead.items() if lsn <= position]:
            self.lanes[self.ahead.pop(event_id)[0]] += 1

    def hold(self, rows: Sequence[Hold]) -> None:
        for row, lsn, why in rows:
            event_id = event_id_of(row)
            if event_id not in self._table:
                self._table[event_id] = {
                    "row": row, "lsn": lsn, "why": why, "sending": None, "wanted": None,
                }  # fmt: skip
                self.ahead[event_id] = lane_of(row), lsn
        self.held = self.lanes.total() + len(self.ahead)

    def mark(self, chosen: Sequence[Waiting], number: int) -> list[ProducerRecord]:
        ids = {str(row.event_id) for row in chosen}
        for event_id, held in self._table.items():
            if event_id in ids:
                held["sending"] = number
            elif held["sending"] is not None and held["sending"] >= number:
                held["sending"] = None
        marked = [held for held in self._table.values() if held["sending"] == number]
        return [held["row"] for held in marked if held["wanted"] != DISCARD]

    def refused_again(self, why: Sequence[tuple[UUID, str]]) -> None:
        for event_id, words in why:
            self._table[str(event_id)] |= {"why": words, "sending": None, "wanted": None}
            self._world.outcomes.append((str(event_id), "refused again"))
