"""How long an order may wait for what it waits for, and who has to act. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from orderflow.services.order.model import Order, WaitingFor, is_beyond_payment, waiting_for

Limits = Mapping[WaitingFor, timedelta]


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """What an order waits for. `owner`: who has to act."""

    awaited: WaitingFor
    since: datetime
    deadline: datetime
    overdue: bool
    owner: str


def current_wait(order: Order, *, limits: Limits, now: datetime) -> Wait | None:
    """What the order waits for; None if it has come to its end."""
    awaited = waiting_for(order)
    if awaited is None:
        return None

    deadline = order.waiting_since + limits[awaited]
    return Wait(
        awaited=awaited,
        since=order.waiting_since,
        deadline=deadline,
        overdue=now >= deadline,
        owner=_OPERATOR if is_beyond_payment(order) else _OWNER[awaited],
    )


def cutoffs(limits: Limits, *, now: datetime) -> dict[WaitingFor, datetime]:
    """For each wait, the moment since which an order must have waited to be past its deadline."""
    return {awaited: now - limit for awaited, limit in limits.items()}


_OWNER: Mapping[WaitingFor, str] = {
    WaitingFor.PAY: "customer",
    WaitingFor.PAYMENT: "payment",
    WaitingFor.STOCK: "inventory",
    WaitingFor.SHIP: "warehouse",
    WaitingFor.DELIVER: "carrier",
    WaitingFor.REFUND: "payment",
    WaitingFor.RELEASE: "inventory",
}
_OPERATOR = "operator"
