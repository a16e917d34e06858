"""Records, dead letters and lines as evidence, whatever is in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from tests.support.connect_letters import DLT, REPLAY, connect_headers
from tests.unit.cli.trace.evidence_of_orders import CREATED, NOON, ORDER, after, seen

from orderflow.cli.trace.evidence import Seen
from orderflow.cli.trace.evidence import seen as seen_as
from orderflow.cli.trace.lines import parsed, read_lines
from orderflow.cli.trace.topics import gaps, wanted_topics
from orderflow.contracts.roster import ROSTER
from orderflow.messaging.container.records.record_log import RecordLine
from orderflow.messaging.dead_letters.letter import (
    Evidence,
    RawHeaders,
    copy_to_replay,
    letter,
)
from orderflow.messaging.kafka.extract import Extract
from orderflow.messaging.kafka.reader import ConsumerRecord

HEADERS: list[tuple[str, bytes | None]] = [
    ("ce_id", b"e1"),
    ("ce_type", b"orderflow.OrderCreated"),
    ("ce_source", b"/orderflow/order"),
    ("ce_time", b"2026-01-31T12:00:00.000Z"),
    ("ce_causationid", b"e0"),
    ("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"),
]


def record(topic: str, headers: RawHeaders, *, value: bytes | None = b"v") -> ConsumerRecord:
    return ConsumerRecord(
        topic=topic,
        partition=0,
        offset=5,
        timestamp=NOON,
        key=ORDER.encode(),
        value=value,
        headers=[*headers],
    )


def as_evidence(given: ConsumerRecord) -> Seen:
    return seen_as(given, lambda _value: ({"orderId": ORDER}, None))


def test_a_records_headers_say_what_it_is_and_what_caused_it() -> None:
    assert as_evidence(record("orders", HEADERS)) == Seen(
        topic="orders",
        partition=0,
        offset=5,
        at=NOON,
        event_id="e1",
        type="orderflow.OrderCreated",
        source="/orderflow/order",
        caused_by="e0",
        happened_at=NOON,
        trace_id="a" * 32,
        span_id="b" * 16,
        value={"orderId": ORDER},
    )


def test_headers_that_say_nothing_or_nonsense_are_none() -> None:
    nonsense: RawHeaders = [
        ("ce_id", None),
        ("ce_time", b"yesterday"),
        ("traceparent", b"00-zz"),
        ("ce_type", b"caf\xe9\xff"),
        ("orderflow-replay-count", b"many"),
    ]
    known = as_evidence(record("orders", nonsense))
    assert (known.event_id, known.happened_at, known.trace_id, known.replays) == (
        None,
        None,
        None,
        0,
    )
    assert known.type == "caf\\xe9\\xff"


def dead(headers: RawHeaders, *, topic: str = "orders", offset: int = 300) -> Seen:
    """As the kit writes a dead letter."""
    dlt, _key, value, written = letter(
        dlt="orders.payment-service.dlt",
        topic=topic,
        partition=2,
        offset=offset,
        timestamp_ms=0,
        timestamp_type=1,
        key=ORDER.encode(),
        value=b"v",
        headers=headers,
        evidence=Evidence(
            exception=ValueError("the card of ada@example.org"),
            attempts=3,
            first_failure=NOON,
            last_failure=NOON + timedelta(seconds=2),
            group="payment-service",
        ),
    )
    return as_evidence(record(dlt, written, value=value))


def test_a_dead_letter_says_who_gave_up_where_after_how_many_attempts() -> None:
    known = dead(HEADERS).letter
    assert known is not None
    assert (known.group, known.given_up, known.error, known.attempts) == (
        "payment-service",
        ("orders", 2, 300),
        "ValueError",
        3,
    )
    assert (known.first_failure, known.last_failure) == (NOON, NOON + timedelta(seconds=2))


def test_the_text_of_the_error_is_left_where_it_is() -> None:
    assert b"example.org" not in msgspec.json.encode(dead(HEADERS))


def test_a_dead_letter_of_a_replay_was_given_up_on_the_replay_topic() -> None:
    first = [*HEADERS]
    dlt = letter(
        dlt="orders.payment-service.dlt",
        topic="orders",
        partition=2,
        offset=300,
        timestamp_ms=0,
        timestamp_type=1,
        key=None,
        value=None,
        headers=first,
        evidence=Evidence(
            exception=ValueError(),
            attempts=0,
            first_failure=NOON,
            last_failure=NOON,
            group="payment-service",
        ),
    )
    again = dead(dlt[3], topic="orders.payment-service.replay", offset=9).letter
    assert again is not None
    assert again.given_up == ("orders.payment-service.replay", 2, 9)


def test_a_dead_letter_with_broken_evidence_is_still_one() -> None:
    known = as_evidence(record("orders.payment-service.dlt", [("retry_topic-attempts", b"x" * 9)]))
    assert known.letter is not None
    assert (known.letter.attempts, known.letter.given_up) == (None, None)


LINE = RecordLine(
    timestamp="2026-01-31T12:00:00.123456Z",
    service="payment",
    logger="record",
    message="record: handled",
    topic="orders",
    partition=0,
    offset=0,
    key=ORDER,
    event="OrderCreated",
    group="payment-service",
    outcome="handled",
)


def test_a_line_as_listeners_write_it_is_read() -> None:
    handled = parsed(msgspec.json.encode(LINE))
    assert handled is not None
    assert (handled.position, handled.group, handled.outcome) == (
        ("orders", 0, 0),
        "payment-service",
        "handled",
    )
    assert handled.at == datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)


def test_lines_are_read_with_attempts_and_waits_where_they_have_them() -> None:
    fields = {**msgspec.to_builtins(LINE), "attempts": 2, "waited_ms": 1_500, "span_id": "c" * 16}
    handled = parsed(msgspec.json.encode(fields))
    assert handled is not None
    assert (handled.attempts, handled.waited_ms, handled.span_id) == (2, 1_500, "c" * 16)


def test_lines_are_found_in_files_that_were_set_aside_and_by_place_where_the_key_is_another(
    tmp_path: Path,
) -> None:
    change = seen(
        "change",
        "CustomerRevenueChange",
        "revenue-service-by-customer-repartition",
        7,
        0,
        source="revenue",
    )
    elsewhere = msgspec.structs.replace(LINE, topic=change.topic, offset=7, key="customer-123")
    stranger = msgspec.structs.replace(LINE, topic=change.topic, offset=70, key="customer-123")
    older = msgspec.structs.replace(
        LINE, group="inventory-service", timestamp="2026-01-31T11:59:00.000000Z"
    )
    encode = msgspec.json.encode
    (tmp_path / "payment.log").write_bytes(b"not a line\n" + encode(LINE) + b"\n")
    (tmp_path / "payment.log.1").write_bytes(encode(older))
    (tmp_path / "revenue.log").write_bytes(encode(stranger) + b"\n" + encode(elsewhere) + b"\n")
    (tmp_path / "empty.log").touch()
    (tmp_path / "order-api.log").write_text(f"text about {ORDER}, cut of\n{{")
    read = read_lines(tmp_path, ORDER, [CREATED, change])
    assert [(handled.position, handled.group) for handled in read] == [
        (("orders", 0, 0), "inventory-service"),
        (("orders", 0, 0), "payment-service"),
        ((change.topic, 0, 7), "payment-service"),
    ]


def test_every_topic_of_every_group_is_looked_at_and_by_key_where_the_key_is_known() -> None:
    wanted = wanted_topics(ORDER, "customer-123")
    assert {
        f"{topic.name}.{member.group}.{kind}"
        for member in ROSTER
        for topic in member.listens_to
        for kind in ("dlt", "replay")
    } <= set(wanted)
    keys = {
        wanted["orders"],
        wanted["orders.payment-service.dlt"],
        wanted["inventory.order-processor.replay"],
    }
    assert keys == {ORDER.encode()}
    assert wanted["notifications"] == b"customer-123"
    assert wanted["revenue-by-hour"] is None
    assert wanted_topics(ORDER, None)["notifications"] is None


def test_what_was_not_read_to_its_end_is_said_with_how_far_it_was_read() -> None:
    extracted = Extract(records=(), absent=("payments",), unread={("orders", 3): after(90_000)})
    assert [(gap.source, gap.why, gap.unasked) for gap in gaps(extracted)] == [
        ("payments", "the cluster has no such topic", True),
        ("orders-3", "read up to 2026-01-31 12:01:30 only: --records-max reads more", True),
    ]


def test_a_letter_of_connects_says_where_the_connector_gave_the_record_up() -> None:
    first = connect_headers(HEADERS)
    found = as_evidence(record(DLT, first)).letter
    assert found is not None
    assert (found.group, found.given_up) == ("payments-warehouse", ("payments", 2, 41))
    assert (found.error, found.attempts) == ("DataException", None)

    *_, copied = copy_to_replay(
        to=REPLAY, letter_id=f"{DLT}/0/5", key=b"", value=b"", headers=first
    )
    again = as_evidence(record(DLT, connect_headers(copied, topic=REPLAY, partition=0, offset=9)))
    assert again.letter is not None
    assert (again.replays, again.letter.given_up) == (1, (REPLAY, 0, 9))
