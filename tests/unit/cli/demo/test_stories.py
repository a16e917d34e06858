"""What the demo says of what does not come, and of what should not; its goods fit."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from orderflow.cli.demo.command import Placed, _missing, note
from orderflow.cli.demo.goods import with_goods
from orderflow.cli.demo.stories import SOLD_OUT, STORIES, WATCHED, WRITERS, Story
from orderflow.cli.records import ReadableRecord
from orderflow.contracts.roster import TYPES_BY_TOPIC
from orderflow.messaging.errors import OrderflowError


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


def readable(name: str, value: dict[str, Any], *, event_id: str = "a") -> ReadableRecord:
    return ReadableRecord(
        topic="inventory",
        partition=2,
        offset=7,
        timestamp=datetime.now(UTC),
        key="0f1e",
        headers={"ce_id": event_id, "ce_type": name},
        value=value,
    )


def placed(customer: str) -> Placed:
    story = next(story for story in STORIES if story.customer == customer)
    return Placed(story=story, order={"orderId": "0f1e"}, at=datetime.now(UTC))


REJECTED = {
    "reason": "OUT_OF_STOCK",
    "shortages": [{"sku": "MOUSE-01", "requested": 1, "available": 0}],
}


def test_the_first_record_that_contradicts_a_story_ends_the_demo_in_its_own_words() -> None:
    with pytest.raises(OrderflowError) as ended:
        note(placed("barbara"), readable("orderflow.StockRejected", REJECTED))
    assert str(ended.value) == (
        "barbara's order was to be 'changed her mind', and inventory-2@7 says otherwise: "
        "StockRejected, OUT_OF_STOCK: 1 × MOUSE-01 wanted, 0 there; nothing was reserved; "
        "see `orderflow trace 0f1e`"
    )


def test_a_record_that_a_story_has_once_contradicts_it_the_second_time_but_a_repeat_does_not() -> (
    None
):
    linus = placed("linus")
    for _ in range(2):
        note(linus, readable("orderflow.StockRejected", REJECTED, event_id="a"))
    with pytest.raises(OrderflowError, match="says otherwise: StockRejected"):
        note(linus, readable("orderflow.StockRejected", REJECTED, event_id="b"))


class Shop:
    """Catalogue and shelves, as somebody left them; `Services` as far as goods are concerned."""

    def __init__(self, offered: dict[str, int]) -> None:
        self.shelves = dict(offered)
        self.offered = set(offered)

    def is_offered(self, sku: str, _currency: str) -> bool:
        return sku in self.offered

    def available(self, sku: str) -> int:
        return self.shelves.get(sku, 0)

    def offer(self, sku: str, _name: str, _prices: dict[str, int]) -> None:
        self.offered.add(sku)

    def receive(self, sku: str, quantity: int) -> None:
        self.shelves[sku] = self.available(sku) + quantity


MARGARET = next(story for story in STORIES if story.customer == "margaret")
LINUS = next(story for story in STORIES if story.sku == SOLD_OUT)


@pytest.mark.parametrize(
    ("story", "shop", "sku", "quantity"),
    [
        (MARGARET, {"HEADSET-01": 3}, "HEADSET-01", 3),
        (MARGARET, {"HEADSET-01": 2}, "DEMO-HEADSET-01", 3),
        (MARGARET, {}, "DEMO-HEADSET-01", 3),
        (LINUS, {SOLD_OUT: 0}, SOLD_OUT, 1),
        (LINUS, {SOLD_OUT: 9_999}, SOLD_OUT, 10_000),
        (LINUS, {SOLD_OUT: 10_000}, f"DEMO-{SOLD_OUT}", 1),
        (LINUS, {}, f"DEMO-{SOLD_OUT}", 1),
    ],
)
def test_a_story_has_goods_that_fit_whatever_somebody_did_to_the_demo_products(
    story: Story, shop: dict[str, int], sku: str, quantity: int
) -> None:
    services: Any = Shop(shop)
    told = with_goods(services, story)
    assert (told.sku, told.quantity) == (sku, quantity)
    assert services.is_offered(sku, "EUR")
    is_enough = services.available(sku) >= quantity
    assert is_enough == (story is not LINUS)


def test_goods_that_nothing_can_make_fit_are_said() -> None:
    services: Any = Shop({f"DEMO-{SOLD_OUT}": 10_000})
    with pytest.raises(OrderflowError, match=f"10,000 pieces of DEMO-{SOLD_OUT} are there"):
        with_goods(services, LINUS)
