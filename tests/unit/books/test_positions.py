"""For whom an account waits: relays and groups, and of these only what is the account's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from msgspec.structs import replace
from tests.unit.books.lives import Life

from orderflow.books.accounts import OrderAccount, TopicEvent
from orderflow.books.order_accounts import relays_of
from orderflow.books.positions import Mark, Progress, waits_of
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.partitioner import partition_of
from orderflow.messaging.kafka.place import Place

ORDER = "019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10"
MINE = partition_of(ORDER.encode(), 3)
OTHER = (MINE + 1) % 3
REPLAY = "orders.payment-service.replay"
MARK = Mark(
    logs={"order": 900, "inventory": 500},
    ends={**{("orders", partition): 100 for partition in range(3)}, (REPLAY, 0): 4},
)
DONE: Mapping[Place, Window] = {place: Window(end) for place, end in MARK.ends.items()}


def waits(
    changed: Mapping[Place, Window],
    *,
    relays: Sequence[str] = (),
    key: str | None = ORDER,
    events: Sequence[int] = (),
) -> str:
    progress = Progress(
        relays={"order": 800, "inventory": 500}, groups={"payment-service": {**DONE, **changed}}
    )
    own = [
        TopicEvent(topic="orders", partition=MINE, offset=offset, event_id="", type="", written_s=0)
        for offset in events
    ]
    return waits_of(MARK, progress, relays=relays, key=key, events=own)


def test_nobody_is_waited_for_once_all_have_passed() -> None:
    assert waits({}) == ""


def test_a_relay_counts_for_an_account_that_lacks_its_events() -> None:
    assert waits({}, relays=["order"]) == "the relay of order, 100 bytes behind"
    assert waits({}, relays=["inventory"]) == ""


@pytest.mark.parametrize(
    ("partition", "key", "who"),
    [
        (MINE, ORDER, "payment-service, 10 to go"),
        (OTHER, ORDER, ""),
        (OTHER, None, "payment-service, 10 to go"),
    ],
)
def test_a_group_counts_on_the_partitions_of_the_key(
    partition: int, key: str | None, who: str
) -> None:
    assert waits({("orders", partition): Window(90)}, key=key) == who


def test_what_waits_in_place_counts_if_it_is_the_accounts_own() -> None:
    waiting = {("orders", MINE): Window(100, (40, 60))}
    assert waits(waiting, events=[7]) == ""
    assert waits(waiting, events=[7, 60]) == "payment-service, 1 to go"
    assert waits(waiting, key=None) == "payment-service, 2 to go"


def test_what_waits_above_the_mark_does_not_count() -> None:
    assert waits({("orders", MINE): Window(130, (110,))}, events=[110]) == ""


def test_a_replay_that_waits_always_counts() -> None:
    assert waits({(REPLAY, 0): Window(4, (2,))}) == "payment-service, 1 to go"


def test_who_has_never_committed_has_nothing_behind_it() -> None:
    progress = Progress(relays={}, groups={"payment-service": {}})
    assert waits_of(MARK, progress, relays=["order"], key=ORDER).startswith("the relay of order")
    assert waits_of(MARK, progress, relays=[], key=ORDER) == "payment-service, 104 to go"


def without(account: OrderAccount, *kinds: str) -> OrderAccount:
    events = tuple(event for event in account.events if event.type not in kinds)
    return replace(account, events=events)


@pytest.mark.parametrize(
    ("lacking", "relays"),
    [
        ((), set()),
        (("OrderCreated",), {"order"}),
        (("OrderEvent",), {"order"}),
        (("PaymentRequested",), {"order"}),
        (("PaymentSucceeded",), set()),
        (("StockReserved",), {"inventory"}),
        (("NotificationSent",), {"notification"}),
        (("OrderEvent", "StockReserved"), {"order", "inventory"}),
    ],
)
def test_an_account_waits_for_the_relays_whose_events_it_lacks(
    lacking: tuple[str, ...], relays: set[str]
) -> None:
    life = Life(mode="ON_REQUEST")
    life.pay()
    life.succeeds()
    assert relays_of(without(life.account(), *lacking)) == relays


def test_a_row_that_is_gone_is_not_waited_for() -> None:
    life = Life()
    life.succeeds()
    gone = replace(life.account(), reservation=None, notifications=(), order=None)
    assert relays_of(gone) == set()
