"""The spans of a listener: one for each record that is finished, and none of what was undone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.memory_listener import ASKED, DLT, GROUP, TOLD, MemoryListener
from tests.support.probe_language import asked
from tests.support.spans import Spans, missing_parents, recorded

from orderflow.messaging.event import CE_ID, REPLAY_COUNT, TRACEPARENT, Metadata, from_headers
from orderflow.messaging.kafka.group_topics import replay_topic
from orderflow.messaging.listener import RetryPolicy
from orderflow.messaging.telemetry.trace_context import (
    TraceContext,
    process_span_id,
    sampled,
    send_span_id,
)
from orderflow.messaging.telemetry.traces import Span
from orderflow.messaging.testing.memory_broker import Fault, Message
from orderflow.messaging.testing.memory_database import MemoryDatabase

ROOT = "b7ad6b7169203331"
SAMPLED = f"00-0af7651916cd43dd8448eb211c80319c-{ROOT}-01"
NOT_SAMPLED = SAMPLED[:-2] + "00"
PROCESS = f"process {ASKED.name}"


@pytest.fixture
def spans() -> Iterator[Spans]:
    with recorded() as kept:
        yield kept


def ask(probe: MemoryListener, key: str, *, behaviour: str = "", trace: str = SAMPLED) -> Metadata:
    return probe.bus.publish(ASKED.name, asked(key, 1, behaviour), traceparent=trace)


def traceparent(message: Message) -> str:
    return (dict(message.headers())[TRACEPARENT] or b"").decode()


def order_spans(spans: Spans) -> list[Span]:
    return spans.of(SAMPLED[3:35])


def test_a_record_its_processing_and_what_it_caused_are_one_trace(spans: Spans) -> None:
    probe = MemoryListener()
    cause = ask(probe, "a")
    probe.run()

    (answer,) = probe.bus.records(TOLD.name)
    event_id = (dict(answer.headers())[CE_ID] or b"").decode()
    process, send = sorted(order_spans(spans), key=lambda span: span.kind)
    assert (process.name, process.parent_id) == (PROCESS, ROOT)
    assert process.context.span_id == process_span_id(GROUP, str(cause.id))
    assert (send.name, send.parent_id) == (f"send {TOLD.name}", process.context.span_id)
    # What is on the wire names the sending: the next service goes on from there.
    assert traceparent(answer) == str(send.context)
    assert send.context.span_id == send_span_id(event_id)
    assert process.attributes["messaging.kafka.offset"] == 0
    assert process.attributes["messaging.consumer.group.name"] == GROUP


def test_every_processing_is_linked_to_its_batch(spans: Spans) -> None:
    probe = MemoryListener()
    for key in "abc":
        ask(probe, key)
    probe.run()
    batches = {span.context: span for span in spans.named(f"batch of {GROUP}")}
    processed = spans.named(PROCESS)
    assert len(processed) == 3
    for span in processed:
        assert [link for link in span.links if link in batches]
    counts = [batch.attributes["messaging.batch.message_count"] for batch in batches.values()]
    assert sum(int(count) for count in counts) == 3


@pytest.mark.parametrize("trace", [NOT_SAMPLED, "nonsense", ""])
def test_a_trace_that_is_not_sampled_goes_on_as_it_is_and_has_no_span(
    spans: Spans, trace: str
) -> None:
    probe = MemoryListener()
    ask(probe, "a", trace=trace)
    probe.run()
    assert spans.all == []
    assert traceparent(probe.bus.records(TOLD.name)[0]) == trace


def test_a_process_that_records_nothing_names_no_span_of_its_own() -> None:
    probe = MemoryListener()
    ask(probe, "a")
    probe.run()
    assert traceparent(probe.bus.records(TOLD.name)[0]) == SAMPLED


def test_an_aborted_transaction_leaves_no_span(spans: Spans) -> None:
    probe = MemoryListener()
    ask(probe, "a")
    probe.plan(Fault.ABORTED, Fault.ABORTED)
    probe.run()
    assert len(spans.named(PROCESS)) == 1
    assert len(spans.named(f"send {TOLD.name}")) == 1
    assert missing_parents(order_spans(spans), root=ROOT) == set()


def test_a_record_that_is_read_again_after_an_unknown_commit_has_the_same_span(
    spans: Spans,
) -> None:
    probe = MemoryListener()
    ask(probe, "a")
    probe.plan(Fault.ABORTED_UNANSWERED)
    probe.run()
    assert len({span.context for span in spans.named(PROCESS)}) == 1


def test_failed_attempts_and_their_waits_stand_in_the_span(spans: Spans) -> None:
    probe = MemoryListener(retry=RetryPolicy(back_off_s=(2.0, 30.0)))
    ask(probe, "a", behaviour="fail")
    probe.run()
    (process,) = spans.named(PROCESS)
    assert [moment.name for moment in process.moments] == ["attempt failed"] * 3
    assert process.moments[0].attributes == {"exception.type": "ValueError", "attempt": 1}
    assert process.moments[1].at_ns - process.moments[0].at_ns >= 1_500_000_000
    assert process.attributes["orderflow.outcome"] == "dead letter"
    assert process.error


def test_a_dead_letter_is_sent_within_the_trace_and_keeps_its_traceparent(spans: Spans) -> None:
    probe = MemoryListener()
    ask(probe, "a", behaviour="dead")
    probe.run()
    (letter,) = probe.dead
    (send,) = spans.named(f"send {DLT}")
    assert traceparent(letter) == SAMPLED
    assert missing_parents(order_spans(spans), root=ROOT) == set()
    assert send.context.trace_id == SAMPLED[3:35]


def test_a_record_without_a_readable_id_has_a_span_too(spans: Spans) -> None:
    probe = MemoryListener()
    probe.bus.append([(ASKED.name, b"a", b"junk", [(TRACEPARENT, SAMPLED.encode())])])
    probe.run()
    assert len(probe.dead) == 1
    (process,) = spans.named(PROCESS)
    assert process.attributes["orderflow.outcome"] == "dead letter"
    assert missing_parents(order_spans(spans), root=ROOT) == set()


def test_a_replay_is_linked_to_the_dead_letter_that_it_was(spans: Spans) -> None:
    probe = MemoryListener()
    ask(probe, "a", behaviour="dead")
    probe.run()
    (letter,) = probe.dead
    (sent,) = spans.named(f"send {DLT}")

    # As an operator sends it back, once the cause is mended.
    good = probe.bus.publish(ASKED.name, asked("b", 1))
    value = probe.bus.records(ASKED.name)[-1].value()
    id_of = from_headers(letter.headers()).id
    assert good.id != id_of
    headers = [
        *(pair for pair in letter.headers() if pair[0] != REPLAY_COUNT),
        (REPLAY_COUNT, b"1"),
    ]
    replay = replay_topic(ASKED, GROUP).name
    probe.bus.append([(replay, b"a", value, headers)])
    probe.run()

    replayed = spans.named(f"process {replay}")
    assert [span.attributes["orderflow.outcome"] for span in replayed] == ["handled"]
    assert sent.context in replayed[0].links
    assert missing_parents(order_spans(spans), root=ROOT) == set()


def test_an_outbox_row_names_the_processing_and_a_repeat_is_a_span_of_its_own(
    spans: Spans,
) -> None:
    database = MemoryDatabase()
    probe = MemoryListener(database=database)
    cause = ask(probe, "a")
    probe.run()
    record = probe.message("a", 1)
    probe.bus.append([(ASKED.name, record.key(), record.value(), record.headers())])
    probe.run()

    first, repeat = spans.named(PROCESS)
    assert first.attributes["orderflow.outcome"] == "handled"
    assert repeat.attributes["orderflow.outcome"] == "repeat"
    assert first.context != repeat.context
    answer = probe.bus.records(TOLD.name)[0]
    context = sampled(traceparent(answer))
    assert context == TraceContext(SAMPLED[3:35], process_span_id(GROUP, str(cause.id)), "01"), (
        "the relay puts the sending in its place"
    )
