"""One step of constant rate: what was posted, what came through, and how long each hop took."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from orderflow.bench.flow.poster import Posted, Posting, PostTask
from orderflow.bench.flow.watcher import Seen, WatchTask
from orderflow.contracts.topics import INVENTORY, NOTIFICATIONS, ORDERS, PAYMENTS
from orderflow.messaging.errors import OrderflowError
from orderflow.trials.harness import wait_for
from orderflow.trials.latency import Latencies, Percentiles
from orderflow.trials.processes import Generator, with_task

WATCHED_FROM_S = 60.0
THROUGH_WITHIN_S = 2.0
"""Sustained: after so long nothing of what was posted is still on its way."""


class End(msgspec.Struct, frozen=True):
    """
    An end of the way: the `nth` event of an order on a topic.

    The first notification says that the order was received; the second one is about its payment.
    """

    topic: str
    nth: int = 1


class Hop(msgspec.Struct, frozen=True):
    name: str
    begin: End | None
    end: End


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """
    The topics that orders pass, by what is told there.

    `payment_mail`: which of an order's notifications, counted from 1, is about its payment.
    `notifications` may be empty: a flow that sends no mail.
    """

    orders: str = ORDERS.name
    payments: str = PAYMENTS.name
    inventory: str = INVENTORY.name
    notifications: str = NOTIFICATIONS.name
    payment_mail: int = 2

    @property
    def topics(self) -> tuple[str, ...]:
        names = (self.orders, self.payments, self.inventory, self.notifications)
        return tuple(name for name in names if name)

    @property
    def ends(self) -> tuple[End, ...]:
        """Where an order has to have arrived to be through."""
        reserved, mailed = End(self.inventory), End(self.notifications, self.payment_mail)
        return (reserved, mailed) if self.notifications else (reserved,)

    @property
    def hops(self) -> tuple[Hop, ...]:
        """The first begins with the answer to the request."""
        created, paid = End(self.orders), End(self.payments)
        names = ("payments → inventory", "payments → notifications")
        return (
            Hop("201 → orders", None, created),
            Hop("orders → payments", created, paid),
            *(Hop(name, paid, end) for name, end in zip(names, self.ends, strict=False)),
        )


OURS = Flow()
POST = "POST → 201"


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """
    `whole`: from the moment an order was due until its stock is reserved and its customer has the
    mail about the payment, as a read_committed consumer learns it.

    `late`: orders that were not through within 2 s after the last answer. `missing`: those that
    were not through at all. `through_per_s`: orders that came through while others were posted.
    `overall_per_s`: all that came through, from the first one's moment to the last one's end.
    """

    posted: int
    refused: int
    whole: Percentiles
    hops: dict[str, Percentiles]
    generator_lag: Percentiles
    through_per_s: float
    overall_per_s: float
    late: int
    missing: int
    repeated: int
    last_after_s: float

    @property
    def is_sustained(self) -> bool:
        return not (self.refused or self.late or self.missing or self.repeated)


class Load:
    """What the generator did and what the watcher saw, as long as the block of `loading` lasts."""

    def __init__(
        self, posting: Generator[Posting], watching: Generator[Seen], progress: Path
    ) -> None:
        self._posting = posting
        self._watching = watching
        self._progress = progress

    @property
    def is_posted(self) -> bool:
        return self._posting.is_over()

    def posted(self) -> Posting:
        return self._posting.result()

    def through(self) -> int:
        """How many orders have come through, as of half a second ago."""
        return int(self._progress.read_text())

    def seen(self) -> Seen:
        """What came until now. The watcher ends with this call."""
        self._watching.process.terminate()
        return self._watching.result()


@contextmanager
def loading(task: PostTask, flow: Flow, bootstrap_servers: str, directory: Path) -> Iterator[Load]:
    """Begin to watch, then to post."""
    progress = directory / "progress"
    progress.unlink(missing_ok=True)
    watch = WatchTask(
        bootstrap_servers=bootstrap_servers,
        topics=list(flow.topics),
        wanted={end.topic: end.nth for end in flow.ends},
        progress=str(progress),
    )

    watching = Generator(
        with_task("orderflow.bench.flow.watcher", watch), directory / "seen.json", Seen
    )
    try:
        wait_for(progress.exists, within_s=WATCHED_FROM_S, what="the watcher reads")
        posting = Generator(
            with_task("orderflow.bench.flow.poster", task), directory / "posted.json", Posting
        )
        # Before the services where they compete: a late generator measures nothing but itself.
        _prefer(posting.process.pid)
        try:
            yield Load(posting, watching, progress)
        finally:
            posting.process.kill()
            posting.process.wait()
    finally:
        watching.process.kill()
        watching.process.wait()


def the_way(posted: list[Posted], seen: Seen, *, flow: Flow, seconds: float) -> Way:
    """Of orders that were due within `seconds`. Raises OrderflowError when none was accepted."""
    accepted = [order for order in posted if order.order_id]
    if not accepted:
        raise OrderflowError("no order was accepted: look at the logs of the API")

    whole, lag = Latencies(), Latencies()
    for order in posted:
        lag.record_ns(order.sent_ns - order.due_ns)
    through = through_at_ns(accepted, seen, flow)
    for order in accepted:
        if order.order_id in through:
            whole.record_ns(through[order.order_id] - order.due_ns)

    moments = through.values()
    first_due = min(order.due_ns for order in accepted)
    last_answer = max(order.answered_ns for order in accepted)
    last = max(moments, default=last_answer)
    posting_s = max((last_answer - first_due) / 1e9, seconds)
    too_late = last_answer + int(THROUGH_WITHIN_S * 1e9)
    return Way(
        posted=len(posted),
        refused=len(posted) - len(accepted),
        whole=whole.percentiles(),
        hops=_hops(accepted, seen, flow),
        generator_lag=lag.percentiles(),
        missing=len(accepted) - len(through),
        repeated=sum(seen.repeated.values()),
        through_per_s=sum(moment <= last_answer for moment in moments) / posting_s,
        late=sum(moment > too_late for moment in moments),
        last_after_s=max(0.0, (last - last_answer) / 1e9),
        overall_per_s=len(through) / max((last - first_due) / 1e9, seconds),
    )


def through_at_ns(accepted: Iterable[Posted], seen: Seen, flow: Flow) -> dict[str, int]:
    """When each order was through; those that are not are left out."""
    through = {}
    for order in accepted:
        ends = [moment_of(seen, end, order.order_id) for end in flow.ends]
        known = [moment for moment in ends if moment is not None]
        if len(known) == len(ends):
            through[order.order_id] = max(known)
    return through


def _hops(accepted: list[Posted], seen: Seen, flow: Flow) -> dict[str, Percentiles]:
    """How long each hop took those orders that have both of its ends."""
    hops = {name: Latencies() for name in (POST, *(hop.name for hop in flow.hops))}
    for order in accepted:
        hops[POST].record_ns(order.answered_ns - order.due_ns)
        for hop in flow.hops:
            begin = (
                order.answered_ns
                if hop.begin is None
                else moment_of(seen, hop.begin, order.order_id)
            )
            end = moment_of(seen, hop.end, order.order_id)

            if begin is not None and end is not None:
                hops[hop.name].record_ns(end - begin)
    return {name: latencies.percentiles() for name, latencies in hops.items()}


def moment_of(seen: Seen, end: End, order_id: str) -> int | None:
    moments = seen.at_ns[end.topic].get(order_id, [])
    return moments[end.nth - 1] if len(moments) >= end.nth else None


def _prefer(pid: int) -> None:
    if os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, pid, -10)
