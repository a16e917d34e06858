"""The rules of stock, over every history that Hypothesis can think of."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import AT, CUSTOMER, an_order, paid, refunded, shipped

from orderflow.contracts.events import (
    Shortage,
    StockLine,
    StockRejected,
    StockReleased,
    StockReserved,
)
from orderflow.contracts.ids import OrderId, Sku, payment_id
from orderflow.services.inventory.model import (
    ConsumedEvent,
    Decision,
    NoQuantity,
    NothingReserved,
    PublishedEvent,
    Reservation,
    ReservationStatus,
    ShippedLine,
    Stock,
    by_sku,
    decide,
    skus_to_lock,
)

SKUS = [Sku(name) for name in ("CABLE", "DOCK", "LAMP")]
ORDERS = [OrderId(f"order-{number}") for number in range(6)]
A, B, C = ORDERS[:3]


class Shelf:
    """What a database would hold between batches, held to what its constraints say."""

    def __init__(self, **on_hand: int) -> None:
        self.stock = {
            Sku(sku): Stock(
                sku=Sku(sku),
                on_hand=count,
                reserved=0,
                shipped=0,
                received=count,
                corrected=0,
                movements=1,
            )
            for sku, count in on_hand.items()
        }
        self.shipments: list[ShippedLine] = []
        self.reservations: dict[OrderId, Reservation] = {}
        self.events: list[PublishedEvent] = []

    def handle(self, *batch: ConsumedEvent) -> Decision:
        orders = {event.order_id for event in batch}
        reservations = {
            order: self.reservations[order] for order in orders if order in self.reservations
        }
        stock = [self.stock[sku] for sku in skus_to_lock(batch, reservations) if sku in self.stock]
        decision = decide(batch, stock=stock, reservations=reservations, now=AT)
        for change in decision.changes:
            old = self.stock[change.sku]
            self.stock[change.sku] = msgspec.structs.replace(
                old,
                on_hand=old.on_hand + change.on_hand,
                reserved=old.reserved + change.reserved,
                shipped=old.shipped + change.shipped,
                movements=old.movements + change.movements,
            )
            assert 0 <= self.stock[change.sku].reserved <= self.stock[change.sku].on_hand, (
                "the constraint"
            )
        assert not {opened.order_id for opened in decision.opened} & self.reservations.keys()
        assert {closed.order_id for closed in decision.closed} <= self.reservations.keys()
        self.reservations |= {
            reservation.order_id: reservation
            for reservation in (*decision.opened, *decision.closed)
        }
        self.events += [event for _, event in decision.events]
        self.shipments += decision.shipments
        return decision

    def counts(self, sku: str) -> tuple[int, int, int]:
        stock = self.stock[Sku(sku)]
        return stock.on_hand, stock.reserved, stock.shipped

    def status(self, order_id: OrderId) -> str | None:
        reservation = self.reservations.get(order_id)
        return None if reservation is None else reservation.status.value


def test_a_payment_reserves_every_line_of_its_order() -> None:
    shelf = Shelf(CABLE=10, LAMP=3)
    shelf.handle(paid(an_order(A, ("CABLE", 4), ("LAMP", 3))))
    assert shelf.counts("CABLE") == (10, 4, 0)
    assert shelf.counts("LAMP") == (3, 3, 0)
    assert shelf.events == [
        StockReserved(
            order_id=A,
            customer_id=CUSTOMER,
            payment_id=payment_id(A, 1),
            lines=(StockLine(sku=Sku("CABLE"), quantity=4), StockLine(sku=Sku("LAMP"), quantity=3)),
            occurred_at=AT,
        )
    ]


def test_one_line_short_reserves_nothing_and_names_what_is_short() -> None:
    shelf = Shelf(CABLE=10, LAMP=3)
    shelf.handle(paid(an_order(A, ("CABLE", 4), ("LAMP", 4))))
    assert shelf.counts("CABLE") == (10, 0, 0)
    assert shelf.status(A) == "REJECTED"
    [rejected] = shelf.events
    assert isinstance(rejected, StockRejected)
    assert rejected.reason == "OUT_OF_STOCK"
    assert rejected.shortages == (Shortage(sku=Sku("LAMP"), requested=4, available=3),)


def test_an_unknown_product_is_told_apart_from_one_that_is_sold_out() -> None:
    shelf = Shelf(CABLE=0)
    shelf.handle(paid(an_order(A, ("CABLE", 1), ("DRAGON", 1))), paid(an_order(B, ("CABLE", 1))))
    unknown, sold_out = shelf.events
    assert isinstance(unknown, StockRejected)
    assert isinstance(sold_out, StockRejected)
    assert (unknown.reason, sold_out.reason) == ("UNKNOWN_SKU", "OUT_OF_STOCK")
    assert unknown.shortages == tuple(
        Shortage(sku=Sku(sku), requested=1, available=0) for sku in ("CABLE", "DRAGON")
    )


def test_within_one_batch_the_earlier_record_is_served_first() -> None:
    shelf = Shelf(CABLE=5)
    decision = shelf.handle(
        paid(an_order(A, ("CABLE", 3))),
        paid(an_order(B, ("CABLE", 3))),
        paid(an_order(C, ("CABLE", 2))),
    )
    assert [(position, type(event)) for position, event in decision.events] == [
        (0, StockReserved),
        (1, StockRejected),
        (2, StockReserved),
    ]
    assert shelf.counts("CABLE") == (5, 5, 0)


def test_what_a_batch_releases_a_later_record_of_it_can_have() -> None:
    shelf = Shelf(CABLE=5)
    shelf.handle(paid(an_order(A, ("CABLE", 5))))
    decision = shelf.handle(
        paid(an_order(B, ("CABLE", 1))), refunded(an_order(A)), paid(an_order(C, ("CABLE", 5)))
    )
    assert [type(event) for _, event in decision.events] == [
        StockRejected,
        StockReleased,
        StockReserved,
    ]
    assert shelf.counts("CABLE") == (5, 5, 0)
    assert decision.changes == (), "5 back and 5 kept: no number changes"


def test_an_order_without_lines_is_reserved() -> None:
    shelf = Shelf()
    decision = shelf.handle(paid(an_order(A, minor=0)))
    assert shelf.status(A) == "RESERVED"
    assert [type(event) for event in shelf.events] == [StockReserved]
    assert decision.changes == ()
    shelf.handle(shipped(an_order(A)))
    assert shelf.status(A) == "SHIPPED"


def test_a_refund_gives_back_what_was_kept() -> None:
    shelf = Shelf(CABLE=5)
    shelf.handle(paid(an_order(A, ("CABLE", 3))))
    shelf.handle(refunded(an_order(A)))
    assert shelf.counts("CABLE") == (5, 0, 0)
    released = shelf.events[-1]
    assert isinstance(released, StockReleased)
    assert (released.lines, released.reason) == (
        (StockLine(sku=Sku("CABLE"), quantity=3),),
        "CUSTOMER",
    )


def test_a_payment_after_its_refund_reserves_nothing() -> None:
    shelf = Shelf(CABLE=5)
    assert shelf.handle(refunded(an_order(A))).events == ()
    assert shelf.status(A) == "RELEASED"
    assert shelf.handle(paid(an_order(A, ("CABLE", 3)))).events == ()
    assert shelf.counts("CABLE") == (5, 0, 0)


def test_shipping_takes_the_pieces_off_the_shelf_and_tells_nobody() -> None:
    shelf = Shelf(CABLE=5)
    shelf.handle(paid(an_order(A, ("CABLE", 3))))
    assert shelf.handle(shipped(an_order(A))).events == ()
    assert shelf.counts("CABLE") == (2, 0, 3)
    assert shelf.shipments == [ShippedLine(order_id=A, sku=Sku("CABLE"), quantity=3)]


@pytest.mark.parametrize(
    "before",
    [(), (refunded(an_order(A)),), (paid(an_order(A, ("CABLE", 9))),)],
    ids=["none", "released", "rejected"],
)
def test_goods_that_left_without_being_kept_are_a_failure_for_people_to_see(
    before: tuple[ConsumedEvent, ...],
) -> None:
    shelf = Shelf(CABLE=5)
    shelf.handle(*before)
    with pytest.raises(NothingReserved, match="correct its stock by hand"):
        shelf.handle(shipped(an_order(A)))


@pytest.mark.parametrize("quantity", [0, -1])
def test_a_line_of_less_than_one_piece_is_refused(quantity: int) -> None:
    with pytest.raises(NoQuantity):
        Shelf(CABLE=5).handle(paid(an_order(A, ("CABLE", quantity))))


def test_two_lines_of_one_product_are_one_with_both_quantities() -> None:
    assert by_sku(paid(an_order(A, ("CABLE", 2), ("LAMP", 1), ("CABLE", 3))).lines) == (
        StockLine(sku=Sku("CABLE"), quantity=5),
        StockLine(sku=Sku("LAMP"), quantity=1),
    )
    shelf = Shelf(CABLE=4)
    shelf.handle(paid(an_order(A, ("CABLE", 2), ("CABLE", 3))))
    assert shelf.status(A) == "REJECTED"


def test_only_stock_that_may_change_is_asked_for() -> None:
    shelf = Shelf(CABLE=5, LAMP=5, DOCK=5)
    shelf.handle(paid(an_order(A, ("CABLE", 1))), paid(an_order(B, ("LAMP", 1))))
    shelf.handle(shipped(an_order(B)))
    batch = (
        paid(an_order(A, ("DOCK", 1))),
        refunded(an_order(A)),
        shipped(an_order(B)),
        refunded(an_order(C)),
        paid(an_order(ORDERS[3], ("DOCK", 1))),
    )
    assert skus_to_lock(batch, shelf.reservations) == {"CABLE", "DOCK"}


_LINES = {
    order: tuple(
        (SKUS[(number + step) % 3], 1 + (number * 2 + step) % 4) for step in range(number % 4)
    )
    for number, order in enumerate(ORDERS)
}
_FACTS: list[ConsumedEvent] = [
    *(paid(an_order(order, *lines)) for order, lines in _LINES.items()),
    *(refunded(an_order(order)) for order in ORDERS),
]
facts = st.lists(st.sampled_from(_FACTS), max_size=30)
shelves = st.fixed_dictionaries({str(sku): st.integers(0, 5) for sku in SKUS})


@given(
    on_hand=shelves,
    history=facts,
    cuts=st.sets(st.integers(1, 29)),
    ship=st.sets(st.sampled_from(ORDERS)),
)
def test_whatever_comes_and_however_it_is_batched_the_books_are_right(
    on_hand: dict[str, int], history: list[ConsumedEvent], cuts: set[int], ship: set[OrderId]
) -> None:
    alone, batched = Shelf(**on_hand), Shelf(**on_hand)
    for event in history:
        alone.handle(event)
    edges = [0, *sorted(cut for cut in cuts if cut < len(history)), len(history)]
    for start, end in pairwise(edges):
        batched.handle(*history[start:end])
    goods = [
        shipped(an_order(order)) for order in sorted(ship) if alone.status(order) == "RESERVED"
    ]
    for event in goods:
        alone.handle(event)
    batched.handle(*goods)

    assert (batched.stock, batched.reservations, batched.events) == (
        alone.stock,
        alone.reservations,
        alone.events,
    )
    balanced(alone, on_hand)


@given(on_hand=shelves, history=facts)
def test_hearing_everything_again_changes_and_tells_nothing(
    on_hand: dict[str, int], history: list[ConsumedEvent]
) -> None:
    shelf = Shelf(**on_hand)
    shelf.handle(*history)
    again = shelf.handle(*history)
    assert again == Decision(changes=(), opened=(), closed=(), events=())


def balanced(shelf: Shelf, on_hand: dict[str, int]) -> None:
    """
    Every piece is accounted for by reservations, each of which is whole; each order was answered
    once.
    """
    kept: Counter[Sku] = Counter()
    left: Counter[Sku] = Counter()
    for reservation in shelf.reservations.values():
        if reservation.status in (ReservationStatus.RESERVED, ReservationStatus.SHIPPED):
            assert [(line.sku, line.quantity) for line in reservation.lines] == list(
                _LINES[reservation.order_id]
            ), "partial"
            pile = kept if reservation.status is ReservationStatus.RESERVED else left
            for line in reservation.lines:
                pile[line.sku] += line.quantity
    for sku, stock in shelf.stock.items():
        assert (stock.reserved, stock.shipped) == (kept[sku], left[sku])
        assert stock.on_hand + stock.shipped == on_hand[sku] == stock.received
        moved = [line.quantity for line in shelf.shipments if line.sku == sku]
        assert (sum(moved), 1 + len(moved)) == (stock.shipped, stock.movements)
    answers = Counter(
        event.order_id for event in shelf.events if not isinstance(event, StockReleased)
    )
    released = Counter(event.order_id for event in shelf.events if isinstance(event, StockReleased))
    assert set(answers.values()) <= {1}
    assert set(released.values()) <= {1}
    assert {
        order
        for order, reservation in shelf.reservations.items()
        if reservation.lines or order in answers
    } == answers.keys()
