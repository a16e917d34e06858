"""What an outbox has published must be on its topic."""

from __future__ import annotations

import pytest

from orderflow.books.outboxes import judge_outbox
from orderflow.books.report import Check, Subject
from orderflow.books.sides.services import OutboxRow


@pytest.mark.parametrize(
    ("topic", "subject"), [("orders", Subject.ORDER), ("notifications", Subject.CUSTOMER)]
)
def test_a_row_without_its_event_is_named_with_both_figures(topic: str, subject: Subject) -> None:
    there, lost = (
        OutboxRow(
            sequence=number, event_id=f"event {number}", topic=topic, key="key", type="orderflow.T"
        )
        for number in (1, 2)
    )
    assert judge_outbox("order", [there, lost], {"event 1", "event 2"}) == []
    [difference] = judge_outbox("order", [there, lost], {"event 1"})
    assert (difference.check, difference.subject, difference.id) == (Check.OUTBOX, subject, "key")
    assert difference.expected == "order: published T event 2, number 2"
    assert difference.actual == f"{topic}: no such event"
