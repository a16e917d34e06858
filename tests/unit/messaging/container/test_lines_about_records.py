"""Every line about a record, also about its failure, names its event, its order and its trace."""

from __future__ import annotations

import pytest
from tests.support.log_lines import LogLines, log_lines
from tests.support.memory_listener import GROUP, TOLD, MemoryListener

from orderflow.messaging.listener import RetryPolicy
from orderflow.messaging.telemetry.trace_context import TraceContext, process_span_id
from orderflow.messaging.testing.memory_database import MemoryDatabase

__all__ = ["log_lines"]

LOCKED = "records meet a lock or take too long: half of them next, and one alone waits in place"
FAST = RetryPolicy(back_off_s=(0.1, 0.1))


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("fail", {"a record failed, and waits in place", "dead letter"}),
        ("dead", {"dead letter"}),
        ("locked", {LOCKED}),
        ("refused", {"a record failed, and waits in place", "dead letter"}),
    ],
)
def test_a_line_about_a_records_failure_has_the_ids_of_its_record(
    log_lines: LogLines, behaviour: str, said: set[str]
) -> None:
    database = MemoryDatabase() if behaviour == "locked" else None
    listener = MemoryListener(retry=FAST, database=database)
    if behaviour == "refused":
        listener.broker.refused_keys.add((TOLD.name, b"order-1"))
    (event,) = listener.ask("order-1", 1, behaviour=behaviour)
    listener.turn(30)

    about = [line for line in log_lines.all if "record" in line]
    assert {line["message"] for line in about} == said
    trace = TraceContext.parse(event.traceparent)
    for line in about:
        assert (line["key"], line["order_id"], line["event_id"]) == (
            "order-1",
            "order-1",
            str(event.id),
        )
        assert trace is None or (line["trace_id"], line["span_id"]) == (
            trace.trace_id,
            process_span_id(GROUP, str(event.id)),
        )
