"""What a client sees: allow-lists, so that no column of a row is published by accident."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from starlette.responses import Response

from orderflow.contracts.events import OrderLine, OrderStatus, PaymentMode
from orderflow.messaging.http.preconditions import etag
from orderflow.services.order.deadlines import Limits, current_wait
from orderflow.services.order.model import (
    Action,
    HistoryEntry,
    Order,
    Payment,
    StockState,
    WaitingFor,
    allowed_actions,
    is_beyond_payment,
    waiting_for,
)

SHORT_MESSAGE = "Order has been created"


class Waiting(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    `since`: when the wait began. `owner`: who has to act. `next_action`: what an operator does when
    they do not.
    """

    for_: WaitingFor = msgspec.field(name="for")
    since: datetime
    deadline: datetime
    overdue: bool
    owner: str
    next_action: str


class OrderView(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    order_id: str
    message: str | None = None
    customer_id: str
    status: OrderStatus
    version: int
    revision: int
    payment: Payment
    stock: StockState
    payment_mode: PaymentMode
    payment_method: str | None
    lines: tuple[OrderLine, ...]
    amount_minor: int
    currency: str
    created_at: datetime
    updated_at: datetime
    allowed_actions: tuple[Action, ...]
    waiting: Waiting | None = None


class OrderPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[OrderView, ...]
    next_cursor: str | None


class Cause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`actor` and `reason`: who gave the command, and why, if that was said."""

    type: str
    id: str
    actor: str | None = None
    reason: str | None = None


class HistoryView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    revision: int
    version: int
    status: str
    description: str
    occurred_at: datetime
    event_id: str | None
    cause: Cause


class HistoryPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[HistoryView, ...]
    next_cursor: str | None = None


def order_view(
    order: Order, *, message: str | None = None, waiting: Waiting | None = None
) -> OrderView:
    return OrderView(
        order_id=order.order_id,
        message=message,
        customer_id=order.customer_id,
        status=order.status,
        version=order.version,
        revision=order.revision,
        payment=order.payment,
        stock=order.stock,
        payment_mode=order.payment_mode,
        payment_method=order.payment_method,
        lines=order.lines,
        amount_minor=order.amount_minor,
        currency=order.currency,
        created_at=order.created_at,
        updated_at=order.updated_at,
        allowed_actions=allowed_actions(order),
        waiting=waiting,
    )


def waiting_view(order: Order, *, limits: Limits, now: datetime) -> Waiting | None:
    """What the order waits for; None if it has come to its end."""
    wait = current_wait(order, limits=limits, now=now)
    if wait is None:
        return None

    return Waiting(
        for_=wait.awaited,
        since=wait.since,
        deadline=wait.deadline,
        overdue=wait.overdue,
        owner=wait.owner,
        next_action=_next_action(order, wait.awaited),
    )


class OrderViews:
    """
    What every answer shows of an order: with what it waits for. `limits`: how long it may.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def of(
        self, order: Order, *, message: str | None = None, now: datetime | None = None
    ) -> OrderView:
        """The order at the moment `now`; by default, at this one."""
        now = now or datetime.now(UTC)
        waiting = waiting_view(order, limits=self._limits, now=now)
        return order_view(order, message=message, waiting=waiting)

    def answer(self, order: Order, *, status: int = 200) -> Response:
        """
        The order as it is now, with its ETag; a 202 names in Location where to read how the command
        ended.
        """
        return order_answer(
            msgspec.json.encode(self.of(order)), order.order_id, order.revision, status=status
        )


def order_answer(body: bytes, order_id: str, revision: int, *, status: int = 200) -> Response:
    """The encoded view of an order, with its ETag."""
    headers = {"etag": etag(revision)}
    if status == 202:
        headers["location"] = f"/orders/{order_id}"
    return Response(body, status, headers=headers, media_type="application/json")


def next_action(order: Order) -> str | None:
    """What an operator does if the order gets stuck; None if it has come to its end."""
    awaited = waiting_for(order)
    return None if awaited is None else _next_action(order, awaited)


def _next_action(order: Order, awaited: WaitingFor) -> str:
    words = _NO_ATTEMPT_LEFT if is_beyond_payment(order) else _NEXT_ACTION[awaited]
    return words.format(order_id=order.order_id)


def history_page(entries: list[HistoryEntry]) -> HistoryPage:
    return HistoryPage(
        items=tuple(
            HistoryView(
                revision=entry.revision,
                version=entry.version,
                status=entry.status,
                description=entry.description,
                occurred_at=entry.occurred_at,
                event_id=None if entry.event_id is None else str(entry.event_id),
                cause=Cause(
                    type=entry.cause_type,
                    id=entry.cause_id,
                    actor=entry.actor,
                    reason=entry.reason,
                ),
            )
            for entry in entries
        )
    )


_NEXT_ACTION: Mapping[WaitingFor, str] = {
    WaitingFor.PAY: (
        "the sweeper cancels it, once order-service has read its topics; "
        "before: POST /orders/{order_id}/pay"
    ),
    WaitingFor.PAYMENT: (
        "ask payment again: `orderflow stuck retry {order_id}`; "
        "give up: `orderflow stuck cancel {order_id}`"
    ),
    WaitingFor.STOCK: (
        "have payment and inventory announce it again: `orderflow stuck retry {order_id}`; "
        "give up: `orderflow stuck cancel {order_id}`"
    ),
    WaitingFor.SHIP: (
        "POST /orders/{order_id}/ship once it has left; "
        "give up: `orderflow stuck cancel {order_id}`"
    ),
    WaitingFor.DELIVER: "POST /orders/{order_id}/deliver once it has arrived",
    WaitingFor.REFUND: (
        "ask for the refund again: `orderflow stuck retry {order_id}`; "
        "payment's ledger says what is owed"
    ),
    WaitingFor.RELEASE: (
        "have payment and inventory announce it again: `orderflow stuck retry {order_id}`"
    ),
}
_NO_ATTEMPT_LEFT = (
    "every payment attempt failed: `orderflow stuck cancel {order_id}`, "
    "or the sweeper cancels it at its deadline"
)
