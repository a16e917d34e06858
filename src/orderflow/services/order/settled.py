"""How long it takes until an order has its answer: counted when what settles it is committed."""

from __future__ import annotations

from collections.abc import Iterable

from orderflow.messaging.postgres import after_commit
from orderflow.messaging.telemetry import histogram
from orderflow.services.order.rules import Change, settles

BUCKETS_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)

SETTLED = histogram(
    "order_settled_seconds",
    "From making an order until it is paid with its stock settled, or failed, or cancelled:"
    " first attempts of AUTOMATIC.",
    buckets=BUCKETS_S,
)


def observe(changes: Iterable[Change]) -> None:
    """
    Count those of `changes` that settle their order, once their transaction is committed.

    An order settles in one revision, and a revision is written once: a repeat changes nothing, and
    a transaction that is undone is not counted.
    """
    orders = [change.after for change in changes if settles(change)]
    if not orders:
        return

    def count() -> None:
        for order in orders:
            SETTLED.observe((order.updated_at - order.created_at).total_seconds())

    after_commit(count)
