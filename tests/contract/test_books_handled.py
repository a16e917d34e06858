"""What the books take for handled is what the services' listeners handle, and want."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.support.builders import an_order

from orderflow.books.handled import HANDLED, is_handled
from orderflow.contracts.events import OrderEvent, OrderStatus
from orderflow.contracts.ids import OrderId
from orderflow.messaging.listener import InboxOutbox, Listener
from orderflow.services.asyncapi import listeners

ORDER = an_order(OrderId("019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10"))
LISTENERS = [listener for listener in listeners() if isinstance(listener.delivery, InboxOutbox)]


def test_every_group_with_an_inbox_handles_what_the_books_expect() -> None:
    assert {
        listener.group: {event.__name__ for event in listener.handles} for listener in LISTENERS
    } == HANDLED


@pytest.mark.parametrize("listener", LISTENERS, ids=lambda listener: listener.group)
@pytest.mark.parametrize("status", OrderStatus)
def test_the_books_expect_order_events_of_the_statuses_that_a_group_wants(
    listener: Listener, status: OrderStatus
) -> None:
    event = OrderEvent(
        order_id=ORDER.order_id,
        customer_id=ORDER.customer_id,
        status=status,
        description="",
        timestamp=datetime(2026, 1, 31, tzinfo=UTC),
        version=2,
    )
    handles = OrderEvent in listener.handles
    wants = handles and (listener.wanted is None or listener.wanted(event))
    assert is_handled(listener.group, type_name="OrderEvent", status=status) == wants
