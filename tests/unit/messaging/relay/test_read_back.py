"""
PostgreSQL may discard its log up to the position that was read from Kafka, and no further: an
acknowledged commit can be undone while the broker stops or starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.clients import KafkaError, KafkaException, TopicPartition
from orderflow.messaging.postgres import DatabaseError
from orderflow.messaging.relay import session as module
from orderflow.messaging.relay.position import Database, Position, to_metadata
from orderflow.messaging.relay.session import CONFIRM_EVERY_S, NOTE_EVERY_S, RelaySession
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
RETRIABLE = (False, True, False)
NO_MARKER = KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT, "no marker yet", *RETRIABLE)


class Group:
    """Answers for the group as scripted, the last answer again and again: an LSN, or an error."""

    def __init__(self) -> None:
        self.answers: list[int | KafkaError] = [0]
        self.questions = 0

    def committed(self, _partitions: Any, **_: Any) -> list[TopicPartition]:
        self.questions += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, KafkaError):
            raise KafkaException(answer)
        metadata = to_metadata(Position(lsn=answer, database=HERE))
        return [TopicPartition("relay-positions", 0, answer, metadata)]


class Stream:
    reply_requested = False
    backend_pid = 1

    def __init__(self) -> None:
        self.confirmed: list[int] = []

    def confirm(self, lsn: int) -> None:
        self.confirmed.append(lsn)


class Admin:
    """A database that takes notes of how far its outbox is published, unless it is away."""

    def __init__(self) -> None:
        self.notes: list[int] = []
        self.away = False

    def execute(self, _statement: str, parameters: tuple[int, str]) -> None:
        if self.away:
            raise DatabaseError
        self.notes.append(parameters[0])

    def close(self) -> None: ...


class Opened:
    """A session that streams from position 100, on a clock that only moves when it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.group, self.stream = MemoryClock(), Group(), Stream()
        anything: Any = lambda *_, **__: type("Anything", (), {})()  # noqa: E731
        monkeypatch.setattr(clients, "transactional_producer", anything)
        monkeypatch.setattr(clients, "consumer", lambda *_, **__: self.group)
        self.admin = Admin()
        monkeypatch.setattr(module, "connect", lambda *_, **__: self.admin)
        monkeypatch.setattr(module, "ReplicationConnection", lambda *_, **__: self.stream)
        monkeypatch.setattr("time.monotonic", self.clock.monotonic)
        monkeypatch.setattr("time.sleep", self.clock.advance)
        self.session = RelaySession(
            SETTINGS,
            stopping=lambda: False,
            turning=Turning("relay", clock=self.clock),
        )
        self.acknowledge(100)
        self.group.answers = [100]
        assert self.confirms() == 100

    def acknowledge(self, lsn: int) -> None:
        self.session.position = lsn

    def confirms(self) -> int:
        """What PostgreSQL is told after the position was read the next time."""
        self.clock.advance(CONFIRM_EVERY_S)
        self.session.read_back()
        self.clock.advance(CONFIRM_EVERY_S)
        self.session.keep_alive()
        return self.stream.confirmed[-1]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    with monkeypatch.context() as patched:
        yield Opened(patched)


def test_what_was_acknowledged_is_confirmed_when_it_was_read(opened: Opened) -> None:
    opened.acknowledge(200)
    opened.clock.advance(CONFIRM_EVERY_S)
    opened.session.keep_alive()
    assert opened.stream.confirmed[-1] == 100, "acknowledged, and not read yet"
    opened.group.answers = [200]
    assert opened.confirms() == 200


def test_a_marker_that_comes_late_is_waited_for_within_bounds(opened: Opened) -> None:
    opened.acknowledge(200)
    opened.group.answers = [NO_MARKER, NO_MARKER, 200]
    assert opened.confirms() == 200

    opened.acknowledge(300)
    opened.group.answers = [NO_MARKER]
    began = opened.clock.monotonic()
    assert opened.confirms() == 200
    waited_s = opened.clock.monotonic() - began - 2 * CONFIRM_EVERY_S
    assert waited_s < module.READ_BACK_WITHIN_S + 0.1
    opened.group.answers = [300]
    assert opened.confirms() == 300


def test_a_commit_that_was_undone_ends_the_session_and_its_rows_stay_in_the_log(
    opened: Opened,
) -> None:
    opened.acknowledge(200)
    with pytest.raises(Unavailable, match=r"acknowledged position 0/C8, and has 0/64"):
        opened.confirms()
    opened.session.keep_alive()
    assert set(opened.stream.confirmed) <= {0, 100}


def test_the_group_is_asked_at_intervals_and_only_after_a_commit(opened: Opened) -> None:
    opened.group.questions = 0
    for lsn in range(101, 111):
        opened.acknowledge(lsn)
        opened.group.answers = [lsn]
        opened.session.read_back()
    assert opened.group.questions == 1
    opened.confirms()
    opened.confirms()
    assert opened.group.questions == 2


def test_how_far_the_outbox_is_published_is_noted_once_a_second(opened: Opened) -> None:
    for sequence in (10, 11, 12):
        opened.session.note_published(sequence)
    assert opened.admin.notes == [10]

    opened.clock.advance(NOTE_EVERY_S)
    opened.session.note_published(12)
    opened.clock.advance(NOTE_EVERY_S)
    opened.session.note_published(12)
    assert opened.admin.notes == [10, 12], "and only when there is something new"


def test_what_is_confirmed_is_noted_before(opened: Opened) -> None:
    """Of what is confirmed the next session sees no rows: it could not correct the note."""
    opened.session.note_published(10)
    opened.session.note_published(11)
    opened.acknowledge(200)
    opened.group.answers = [200]
    opened.session.read_back()
    assert (opened.admin.notes, opened.stream.confirmed[-1]) == ([10, 11], 100)


def test_a_database_that_takes_no_note_delays_no_record_and_gets_it_later(opened: Opened) -> None:
    opened.admin.away = True
    opened.session.note_published(10)
    opened.acknowledge(200)
    opened.group.answers = [200]
    assert opened.confirms() == 200

    opened.admin.away = False
    opened.clock.advance(NOTE_EVERY_S)
    opened.session.note_published(10)
    assert opened.admin.notes == [10]
