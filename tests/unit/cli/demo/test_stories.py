"""What the demo says when something does not come: whose order lacks what, and where to look."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from orderflow.cli.demo.command import Placed, _missing
from orderflow.cli.demo.stories import STORIES, WATCHED, WRITERS
from orderflow.contracts.roster import TYPES_BY_TOPIC


def test_a_record_that_does_not_come_is_named_with_its_order_and_the_logs_to_read() -> None:
    orders = {}
    for story in STORIES:
        one = Placed(
            story=story,
            order={"orderId": story.customer},
            at=datetime.now(UTC),
            seen=Counter(story.records),
        )
        orders[story.customer] = one
    orders["linus"].seen["orderflow.PaymentRefunded"] -= 1
    said = _missing(orders)
    assert "linus's order lacks PaymentRefunded:" in said
    assert "ada" not in said
    assert all(f"`orderflow logs {process}`" in said for process in WRITERS.values())


def test_every_record_of_a_story_belongs_on_a_topic_that_is_watched() -> None:
    watched = {name for topic in WATCHED for name in TYPES_BY_TOPIC[topic]}
    assert {name for story in STORIES for name in story.records} <= watched
