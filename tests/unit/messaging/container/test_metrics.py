"""What a listener counts: what it fetched, handled and sent, and what waits."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from tests.support.memory_listener import ASKED, DLT, GROUP, NAME, TOLD, MemoryListener

from orderflow.messaging.telemetry import render_metrics
from orderflow.messaging.testing.bus import Fault
from orderflow.messaging.testing.memory_database import MemoryDatabase

CONSUMED = "messaging_client_consumed_messages_total"
SENT = "messaging_client_sent_messages_total"


def value(name: str, **labels: str) -> float:
    """A sample's value; 0 as long as nobody has exported it."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(render_metrics()[0].decode())
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def sent(topic: str, event_type: str) -> float:
    return value(SENT, messaging_destination_name=topic, orderflow_event_type=event_type)


def test_messages_count_as_sent_once_their_transaction_is_committed() -> None:
    listener = MemoryListener()
    listener.ask("a", 0, 1)
    listener.ask("b", 0, behaviour="dead")
    answers, letters = sent(TOLD.name, "Told"), sent(DLT, "dead letter")
    listener.plan(Fault.ABORTED)
    listener.turn()
    assert (sent(TOLD.name, "Told"), sent(DLT, "dead letter")) == (answers, letters)
    listener.run()
    assert (sent(TOLD.name, "Told"), sent(DLT, "dead letter")) == (answers + 2, letters + 1)


def test_what_goes_to_an_outbox_is_counted_by_its_relay_not_here() -> None:
    listener = MemoryListener(database=MemoryDatabase())
    listener.ask("a", 0)
    before = sent(TOLD.name, "Told")
    listener.turn(3)
    assert sent(TOLD.name, "Told") == before


def test_fetched_messages_and_waves_are_counted() -> None:
    names = (
        CONSUMED,
        "messaging_process_duration_seconds_count",
        "orderflow_listener_batch_records_sum",
    )
    group = {"messaging_consumer_group_name": GROUP}
    labels = ({**group, "messaging_destination_name": ASKED.name}, group, {"listener": NAME})
    before = [value(name, **which) for name, which in zip(names, labels, strict=True)]
    listener = MemoryListener()
    for key in "abc":
        listener.ask(key, 0)
    listener.run()
    after = [value(name, **which) for name, which in zip(names, labels, strict=True)]
    assert [new - old for old, new in zip(before, after, strict=True)] == [3, 1, 3]


def test_a_waiting_record_has_an_age_that_grows_until_it_is_finished() -> None:
    listener = MemoryListener()
    listener.ask("a", 0, behaviour="fail")
    listener.turn(2)

    def waiting() -> tuple[float, float]:
        return tuple(
            value(f"orderflow_listener_waiting_{what}", listener=NAME)
            for what in ("records", "oldest_seconds")
        )  # type: ignore[return-value]

    count, age = waiting()
    assert count == 1
    listener.clock.advance(10)
    assert waiting() == (1, age + 10), "without a turn: it grows while the container hangs"
    listener.run()
    assert waiting() == (0, 0)
