"""Orders are taken while nobody works on them; then they are drained, to the last one."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from orderflow.bench.flow.load import Flow, Load, loading, moment_of, through_at_ns
from orderflow.bench.flow.poster import Posted, PostTask
from orderflow.bench.flow.subject import Subject
from orderflow.bench.flow.watcher import Seen
from orderflow.messaging.errors import OrderflowError

NOTHING_CAME_S = 60.0
SLOW_PER_S = 400
"""
While a backlog of so many orders a second could be drained, nobody gives up: the mails of many
orders' receipt are sent before the first of a payment.
"""


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """
    `per_s`: from the first reservation or mail to the last order that was through; `seconds` from
    the moment when the services were started, their own start included.
    """

    orders: int
    per_s: float
    seconds: float
    missing: int
    repeated: int


def drain(subject: Subject, task: PostTask, start: Callable[[], None]) -> Drain:
    """
    Post, then `start` the services, and wait until all is through or nothing has come for a minute,
    at first for as long as a slow drain of them all takes.

    Raises OrderflowError if an order is refused, or if too few came one after another for a rate.
    """
    with (
        tempfile.TemporaryDirectory(prefix="orderflow-private-") as directory,
        loading(task, subject.flow, subject.bootstrap_servers, Path(directory)) as load,
    ):
        while not load.is_posted:
            subject.turn()
        orders = load.posted().orders
        started_ns = time.monotonic_ns()
        start()
        _wait_until_through(load, subject, len(orders))
        seen = load.seen()
    return the_drain(orders, seen, subject.flow, started_ns=started_ns)


def _wait_until_through(load: Load, subject: Subject, wanted: int) -> None:
    patience_s = max(NOTHING_CAME_S, wanted / SLOW_PER_S)
    reached, deadline = load.through(), time.monotonic() + patience_s
    while reached < wanted and time.monotonic() < deadline:
        subject.turn()
        if load.through() > reached:
            reached, deadline = load.through(), time.monotonic() + NOTHING_CAME_S


def the_drain(orders: list[Posted], seen: Seen, flow: Flow, *, started_ns: int) -> Drain:
    refused = sum(not order.order_id for order in orders)
    if refused:
        raise OrderflowError(f"{refused} of {len(orders)} orders were refused: no backlog")
    moments = sorted(through_at_ns(orders, seen, flow).values())
    if not moments or moments[0] == moments[-1]:
        raise OrderflowError(f"{len(moments)} orders came through, at once: too few for a rate")

    ends = (moment_of(seen, end, order.order_id) for order in orders for end in flow.ends)
    first = min(moment for moment in ends if moment is not None and moment >= started_ns)
    # What came in the first batch was there before the clock began.
    after_first = sum(moment > first for moment in moments)
    return Drain(
        orders=len(orders),
        per_s=after_first / ((moments[-1] - first) / 1e9),
        seconds=(moments[-1] - started_ns) / 1e9,
        missing=len(orders) - len(moments),
        repeated=sum(seen.repeated.values()),
    )
