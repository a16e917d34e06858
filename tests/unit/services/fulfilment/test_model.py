"""The rules of shipments, over every life of an order, its events in every order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product

import msgspec
import pytest
from tests.support.builders import (
    CANCELLED,
    CREATED,
    DELIVERED,
    LIVES,
    PAID,
    SHIPPED,
    an_order,
    life,
    new_order_id,
    released,
    reserved,
)

from orderflow.contracts.events import (
    OrderEvent,
    OrderStatus,
    StockLine,
    StockReleased,
    StockReserved,
)
from orderflow.services.fulfilment.model import (
    NEXT,
    ConsumedEvent,
    Contradiction,
    Decision,
    Shipment,
    ShipmentStatus,
    after,
    after_stock,
    decide,
)

ENDS = {
    "waits for money": None,
    "is given up": None,
    "is to be packed": ShipmentStatus.PREPARED,
    "is refunded": ShipmentStatus.CALLED_OFF,
    "is on its way": ShipmentStatus.TRACKED,
    "is delivered": ShipmentStatus.CLOSED,
}
OF = {
    ShipmentStatus.WAITING: (CREATED, PAID),
    ShipmentStatus.PREPARED: (CREATED, PAID),
    ShipmentStatus.TRACKED: (CREATED, PAID, SHIPPED),
    ShipmentStatus.CLOSED: (CREATED, PAID, SHIPPED, DELIVERED),
    ShipmentStatus.CALLED_OFF: (CREATED, PAID, CANCELLED),
}


def after_all(*events: ConsumedEvent, shipment: Shipment | None = None) -> Shipment | None:
    for event in events:
        moved = (
            after(event, shipment)
            if isinstance(event, OrderEvent)
            else after_stock(event, shipment)
        )
        shipment = moved or shipment
    return shipment


def with_stock(statuses: Sequence[OrderStatus]) -> list[ConsumedEvent]:
    """An order's life, and what inventory decided about it: its stock is kept while it is paid."""
    events = life(statuses)
    order = an_order(events[0].order_id)
    kept = [reserved(order)] if PAID in statuses else []
    freed = [released(order)] if PAID in statuses and CANCELLED in statuses else []
    return [*events, *kept, *freed]


def _reserved(events: Sequence[OrderEvent]) -> list[ConsumedEvent]:
    paid = any(event.status is PAID for event in events)
    return [reserved(an_order(events[0].order_id))] if paid else []


def _released_first(events: Sequence[ConsumedEvent]) -> bool:
    stock = [event for event in events if not isinstance(event, OrderEvent)]
    return [type(event) for event in stock] == [StockReleased, StockReserved]


def shipment_in(status: ShipmentStatus) -> Shipment:
    events = life(OF[status]) if status is ShipmentStatus.WAITING else with_stock(OF[status])
    shipment = after_all(*events)
    assert shipment is not None
    assert shipment.status is status
    return shipment


@pytest.mark.parametrize("kind", LIVES)
def test_each_life_leads_to_its_end_with_the_times_of_its_events(kind: str) -> None:
    events = life(LIVES[kind])
    shipment = after_all(*with_stock(LIVES[kind])[: len(events)], *_reserved(events))
    assert (shipment and shipment.status) == ENDS[kind]
    if shipment is not None:
        assert shipment.version == len(events)
        assert shipment.lines == tuple(
            StockLine(sku=line.sku, quantity=line.quantity) for line in an_order().lines
        )
        times = {event.status: event.timestamp for event in events}
        assert (
            shipment.prepared_at,
            shipment.tracked_at,
            shipment.closed_at,
            shipment.called_off_at,
        ) == (
            None if kind != "is to be packed" else times[PAID],
            *(times.get(status) for status in (SHIPPED, DELIVERED, CANCELLED)),
        )
        assert shipment.reason == ("CUSTOMER" if kind == "is refunded" else None)


@pytest.mark.parametrize("kind", LIVES)
def test_the_end_is_the_same_in_every_order_of_events_and_with_every_one_repeated(
    kind: str,
) -> None:
    """However far the two topics are apart. Of inventory, what was decided comes in its order."""
    versions = len(life(LIVES[kind]))
    for order in permutations(with_stock(LIVES[kind])):
        if _released_first(order):
            continue
        shipment = after_all(*order, *order)
        assert (shipment and shipment.status) == ENDS[kind], [type(event) for event in order]
        assert (shipment.version if shipment else None) == (versions if ENDS[kind] else None)


@pytest.mark.parametrize("kind", LIVES)
def test_whatever_event_is_missing_the_last_one_says_where_the_shipment_is(kind: str) -> None:
    events = life(LIVES[kind])
    for missing in range(len(events) - 1):
        kept = [event for event in events if event.version != missing + 1]
        shipment = after_all(*_reserved(events), *kept)
        assert (shipment and shipment.status) == ENDS[kind]


@pytest.mark.parametrize(("held", "status"), [*product([None, *ShipmentStatus], OrderStatus)])
def test_each_status_meets_each_shipment_as_the_table_says(
    held: ShipmentStatus | None, status: OrderStatus
) -> None:
    """
    The table in full: what is not in it is a contradiction, but for a start that leaves nothing.
    """
    known = shipment_in(held) if held else None
    event = msgspec.structs.replace(
        life((CREATED, PAID))[1],
        status=status,
        version=9,
        previous_status=PAID,
        order_id=new_order_id(),
    )
    if (held, status) in NEXT:
        moved = after(event, known)
        assert moved is not None
        expected = NEXT[held, status]
        if expected is ShipmentStatus.PREPARED:
            expected = ShipmentStatus.WAITING if known is None or known.lines is None else expected
        assert (moved.status, moved.version) == (expected, 9)
    elif status is CREATED:
        assert after(event, known) is None
    else:
        with pytest.raises(Contradiction, match=f"version 9 is {status}, but recorded is {held}"):
            after(event, known)


@pytest.mark.parametrize(("held", "status"), [*product(ShipmentStatus, OrderStatus)])
def test_what_is_not_newer_moves_nothing_whatever_it_says(
    held: ShipmentStatus, status: OrderStatus
) -> None:
    known = shipment_in(held)
    for version in range(1, known.version + 1):
        event = msgspec.structs.replace(life((CREATED,))[0], status=status, version=version)
        assert after(event, known) is None


def test_a_shipment_called_off_before_its_paid_event_came_is_not_prepared() -> None:
    created, paid, cancelled = life((CREATED, PAID, CANCELLED))
    shipment = after_all(created, cancelled)
    assert shipment is not None
    assert (shipment.status, shipment.prepared_at) == (ShipmentStatus.CALLED_OFF, None)
    assert after_all(paid, shipment=shipment) == shipment


def test_nothing_is_packed_before_its_stock_is_reserved_nor_before_it_is_paid() -> None:
    created, paid = life((CREATED, PAID))
    order = an_order(created.order_id)
    for first, second in ((paid, reserved(order)), (reserved(order), paid)):
        waiting = after_all(created, first)
        assert waiting is not None
        assert (waiting.status, waiting.prepared_at) == (ShipmentStatus.WAITING, None)
        prepared = after_all(second, shipment=waiting)
        assert prepared is not None
        assert (prepared.status, prepared.prepared_at) == (
            ShipmentStatus.PREPARED,
            paid.timestamp,
        )


def test_stock_that_is_released_calls_off_what_was_never_paid_in_the_orders_eyes() -> None:
    """The order was cancelled while it was being charged: nothing says PAID."""
    created, cancelled = life((CREATED, CANCELLED))
    order = an_order(created.order_id)
    shipment = after_all(created, cancelled, reserved(order), released(order))
    assert shipment is not None
    assert shipment.status is ShipmentStatus.CALLED_OFF


def test_a_batch_is_decided_in_its_order() -> None:
    """Each event against what the events before it left."""
    known = shipment_in(ShipmentStatus.PREPARED)
    new, waiting = life((CREATED, PAID, SHIPPED)), life((CREATED,))
    old = msgspec.structs.replace(life((CREATED, PAID, SHIPPED))[2], order_id=known.order_id)
    decision = decide([*new, *waiting, old], {known.order_id: known})
    assert (*decision.opened, *decision.moved) == (after_all(*new), after_all(old, shipment=known))
    assert decide([*new[:2], *new[:2]], {new[0].order_id: known}) == Decision(opened=(), moved=())
