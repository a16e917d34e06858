"""How long an order may wait for what it waits for, whose turn it is, and what is to be done after that. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from orderflow.services.order.model import Order, WaitingFor, waiting_for

Limits = Mapping[WaitingFor, timedelta]


class Waiting(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`owner`: who has to move. `next_action`: what an operator does when they do not."""

    for_: WaitingFor = msgspec.field(name="for")
    since: datetime
    deadline: datetime
    overdue: bool
    owner: str
    next_action: str


def waiting(order: Order, *, limits: Limits, now: datetime) -> Waiting | None:
    """What the order waits for; None if it has come to its end."""
    awaited = waiting_for(order)
    if awaited is None:
        return None
    deadline = order.waiting_since + limits[awaited]
    owner, next_action = _POLICY[awaited]
    return Waiting(
        for_=awaited,
        since=order.waiting_since,
        deadline=deadline,
        overdue=now >= deadline,
        owner=owner,
        next_action=next_action.format(order_id=order.order_id),
    )


def cutoffs(limits: Limits, *, now: datetime) -> dict[WaitingFor, datetime]:
    """An order that has waited since then, or longer, is past its deadline."""
    return {awaited: now - limit for awaited, limit in limits.items()}


_POLICY: Mapping[WaitingFor, tuple[str, str]] = {
    WaitingFor.PAY: (
        "customer",
        "the sweeper cancels it, once order-service has read its topics; before: POST /orders/{order_id}/pay",
    ),
    WaitingFor.PAYMENT: (
        "payment",
        "ask payment again: orderflow stuck retry {order_id}; give up: orderflow stuck cancel {order_id}",
    ),
    WaitingFor.STOCK: (
        "inventory",
        "have payment tell it again: orderflow stuck retry {order_id}; give up: orderflow stuck cancel {order_id}",
    ),
    WaitingFor.SHIP: (
        "warehouse",
        "POST /orders/{order_id}/ship once it has left; give up: orderflow stuck cancel {order_id}",
    ),
    WaitingFor.DELIVER: ("carrier", "POST /orders/{order_id}/deliver once it has arrived"),
}
