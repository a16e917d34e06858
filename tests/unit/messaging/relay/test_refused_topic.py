"""A topic that the broker refuses: the reason names it, and it is tried ever more rarely."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.support.log_lines import LogLines, log_lines

from orderflow.messaging.kafka.reports import Reports
from orderflow.messaging.kafka.transactions import Refusal, RefusedRecord, TransactionAborted
from orderflow.messaging.relay import relay as module
from orderflow.messaging.relay.health import RelayState
from orderflow.messaging.relay.records import ProducerRecord
from orderflow.messaging.relay.relay import BACK_OFF_S, Relay
from orderflow.messaging.relay.settings import RelaySettings
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings
from orderflow.messaging.testing.memory_clock import MemoryClock
from orderflow.messaging.work.reasons import Degraded

__all__ = ["log_lines"]

SETTINGS = RelaySettings(
    service="probe",
    database=DatabaseSettings.model_validate({"dsn": "postgresql://db/shop"}),
    kafka=KafkaSettings(),
)
EVENT = "0198a0b2-0000-7000-8000-000000000001"
ROW = ProducerRecord("parcels", b"k", b"v", [("ce_id", EVENT.encode())])
REFUSAL = (
    "the broker refuses topic parcels: it is missing, or may not be written; "
    "nothing of the outbox of probe is published until it takes rows"
)


class OneBatch:
    sequence = 1
    ends = ((1, 2),)

    def __init__(self, *_arguments: Any, **_options: Any) -> None: ...
    def next_batch(self) -> tuple[list[ProducerRecord], int]:
        return [ROW], 2


def test_a_refused_topic_is_named_until_it_takes_rows_and_tried_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch, log_lines: LogLines
) -> None:
    stop = threading.Event()
    relay = Relay(SETTINGS, clock=MemoryClock())
    seen: list[list[str]] = []
    pauses: list[float] = []
    aborts = [
        TransactionAborted(words, resource="broker", refused=refused)
        for words, refused in [
            ("TOPIC_AUTHORIZATION_FAILED", Refusal.TOPIC),
            ("OUT_OF_ORDER_SEQUENCE_NUMBER", None),
        ]
        * 5
    ]

    class RefusingSession:
        position = 1
        reports = Reports()
        stream: Any = type("Stream", (), {"wal_end": 1, "backend_pid": 1})()

        held = 0

        def __init__(self, *_arguments: Any, **_options: Any) -> None: ...
        def open(self, **_options: Any) -> None: ...
        def close(self) -> None: ...
        def increment_tick(self, *_: int) -> None: ...

        read_back = note_published = increment_tick

        def keep_alive(self) -> None:
            stop.set()

        def publish(self, _rows: list[ProducerRecord], _end_lsn: int) -> None:
            if aborts:
                raise aborts.pop(0)

        def hold(self, _batch: object) -> str:
            return ""

        def find_refused(self, _rows: object) -> tuple[list[RefusedRecord], bool]:
            return [RefusedRecord(0, Refusal.TOPIC, "TOPIC_AUTHORIZATION_FAILED")], False

        def pause(self, seconds: float) -> None:
            # As another thread asks, while this one waits.
            seen.append(relay.reasons())
            pauses.append(seconds)

    monkeypatch.setattr(module, "RelaySession", RefusingSession)
    monkeypatch.setattr(module, "BatchReader", OneBatch)
    states: list[RelayState] = []
    monkeypatch.setattr(module, "set_gauges", lambda health, **_relay: states.append(health.state))
    relay.run(stop)
    assert seen == [[f"relay waiting: {REFUSAL}"]] * 10
    assert not any(isinstance(reason, Degraded) for [reason] in seen), "the brokers are there"
    assert pauses[:3] == [BACK_OFF_S[0], BACK_OFF_S[0] * 2, BACK_OFF_S[0] * 4]
    assert pauses[-1] == BACK_OFF_S[1]
    assert states[-2:] == [RelayState.STREAMING, RelayState.STOPPED]

    undone = log_lines.of("rows are not published, and are tried again")
    assert [line["event_ids"] for line in undone] == [[EVENT]] * 10
    # Told once, when it was committed, and by whom.
    (line,) = log_lines.of("published")
    assert (line["publisher"], line["topics"]) == ("relay.probe", {"parcels": 1})
