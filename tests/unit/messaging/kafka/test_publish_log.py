"""What was published is told after the commit, and what was not is named."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from tests.support.log_lines import LogLines, log_lines
from tests.support.memory_listener import TOLD, MemoryListener

from orderflow.messaging.event import CE_CORRELATION_ID, CE_ID, CE_TYPE, TRACEPARENT, derived_id
from orderflow.messaging.kafka.publish_log import NAMED_MAX, PublishLog, unpublished
from orderflow.messaging.kafka.reports import Reports
from orderflow.messaging.kafka.transactions import Placed, Produced
from orderflow.messaging.telemetry.trace_context import send_span_id
from orderflow.messaging.testing.memory_broker import Fault

__all__ = ["log_lines"]

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Report:
    def __init__(self, topic: str, partition: int, offset: int | None) -> None:
        self._place = topic, partition, offset

    def topic(self) -> str:
        return self._place[0]

    def partition(self) -> int:
        return self._place[1]

    def offset(self) -> int | None:
        return self._place[2]


def record(topic: str = "parcels", key: str = "k", kind: str = "Sent") -> Produced:
    headers = [
        ("ce_specversion", b"1.0"),
        (CE_ID, str(uuid4()).encode()),
        (CE_TYPE, f"post.{kind}".encode()),
        (CE_CORRELATION_ID, key.encode()),
        (TRACEPARENT, f"00-{TRACE}-b7ad6b7169203331-00".encode()),
    ]
    return topic, key.encode(), b"secret value", headers


def event_id(produced: Produced) -> str:
    found: bytes = dict(produced[3])[CE_ID]
    return found.decode()


def test_a_committed_transaction_is_one_line_with_counts_keys_and_offsets(
    log_lines: LogLines,
) -> None:
    log_lines.level("info")
    reports = Reports()
    for offset in (7, 8, 9):
        reports.note(None, Report("parcels", 1, offset))
    reports.note(None, Report("letters", 0, None))
    batch = [record(key="a"), record(key="b"), record("letters", "a", "Opened")]
    PublishLog("relay.post").committed(batch, reports)

    (line,) = log_lines.all
    assert (line["message"], line["level"], line["publisher"], line["records"]) == (
        "published",
        "info",
        "relay.post",
        3,
    )
    assert line["topics"] == {"parcels": 2, "letters": 1}
    assert line["types"] == {"Sent": 2, "Opened": 1}
    assert (line["keys"], line["keys_count"]) == (["a", "b"], 2)
    assert line["offsets"] == {"parcels-1": [7, 9]}
    assert "secret" not in log_lines.text


def test_at_debug_each_record_says_where_it_went_and_which_span_sent_it(
    log_lines: LogLines,
) -> None:
    reports = Reports()
    reports.of(0)(None, Report("parcels", 2, 41))
    sent = record(key="a")
    PublishLog("relay.post").committed([sent, record(key="b")], reports)

    first, second = log_lines.of("record: published")
    assert (first["topic"], first["partition"], first["offset"]) == ("parcels", 2, 41)
    assert (first["key"], first["event"], first["order_id"]) == ("a", "Sent", "a")
    assert (first["event_id"], first["trace_id"], first["span_id"]) == (
        event_id(sent),
        TRACE,
        send_span_id(event_id(sent)),
    )
    assert "offset" not in second
    assert len(log_lines.of("published")) == 1


def test_nothing_published_is_no_line_and_changelogs_count(log_lines: LogLines) -> None:
    PublishLog("relay.post").committed([], Reports())
    assert not log_lines.text
    changed = Placed("table", 0, b"k", b"v", [])
    PublishLog("relay.post").committed([], Reports(), [changed])
    (line,) = log_lines.of("published")
    assert (line["records"], line["topics"]) == (1, {"table": 1})


def test_a_bounded_number_of_unpublished_events_is_named() -> None:
    batch = [record() for _ in range(NAMED_MAX + 3)]
    named = unpublished(batch)["event_ids"]
    assert named == [*(event_id(produced) for produced in batch[:NAMED_MAX]), "and 3 more"]
    assert unpublished(batch[:2]) == {"event_ids": [event_id(produced) for produced in batch[:2]]}
    assert unpublished([]) == {}
    assert unpublished([("parcels", None, None, None)]) == {"event_ids": ["without id"]}


def test_no_report_raises_whatever_it_says() -> None:
    reports: Any = Reports()
    for callback in (reports.note, reports.of(3)):
        callback("an error", None)
        callback(None, Report("parcels", 0, None))
    assert (reports.ranges, reports.places) == ({}, {})


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault.ABORTED, "aborted; its records are put back"),
        (
            Fault.ABORTED_UNANSWERED,
            "whether these are published is unknown: the group's offsets tell",
        ),
    ],
)
def test_a_listener_names_what_it_did_not_publish_and_tells_only_what_it_did(
    log_lines: LogLines, fault: Fault, said: str
) -> None:
    listener = MemoryListener()
    listener.turn(2)
    (asked,) = listener.ask("k", 1)
    listener.plan(fault)
    listener.turn()
    told = derived_id(listener.listener.namespace, cause=asked.id, event_type="probe.Told", index=0)
    (line,) = log_lines.of(said)
    assert line["event_ids"] == [str(told)]
    assert not log_lines.of("published")

    listener.run()
    (line,) = log_lines.of("published")
    assert (line["publisher"], line["topics"]) == ("probe", {TOLD.name: 1})
    before = len(log_lines.all)
    listener.turn(20)
    assert len(log_lines.all) == before, "an idle listener writes nothing"
