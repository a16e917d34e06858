"""One step of constant rate: what was posted, what came through, and how long each hop took."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
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


CREATED, PAID = End(ORDERS.name), End(PAYMENTS.name)
RESERVED, MAILED = End(INVENTORY.name), End(NOTIFICATIONS.name, 2)
ENDS = (RESERVED, MAILED)
HOPS = (
    Hop("201 → orders", None, CREATED),
    Hop("orders → payments", CREATED, PAID),
    Hop("payments → inventory", PAID, RESERVED),
    Hop("payments → notifications", PAID, MAILED),
)
TOPICS = (ORDERS.name, PAYMENTS.name, INVENTORY.name, NOTIFICATIONS.name)
POST = "POST → 201"


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """
    `whole`: from the moment an order was due until its stock is reserved and its customer has the
    mail about the payment, as a read_committed consumer learns it.

    `late`: orders that were not through within 2 s after the last answer. `missing`: those that
    were not through at all. `through_per_s`: orders that came through while others were posted.
    """

    posted: int
    refused: int
    whole: Percentiles
    hops: dict[str, Percentiles]
    generator_lag: Percentiles
    through_per_s: float
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
def loading(task: PostTask, bootstrap_servers: str, directory: Path) -> Iterator[Load]:
    """Begin to watch, then to post."""
    progress = directory / "progress"
    progress.unlink(missing_ok=True)
    watch = WatchTask(
        bootstrap_servers=bootstrap_servers,
        topics=list(TOPICS),
        wanted={end.topic: end.nth for end in ENDS},
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


def the_way(posted: list[Posted], seen: Seen, *, seconds: float) -> Way:
    """Raises OrderflowError when nothing was posted."""
    accepted = [order for order in posted if order.order_id]
    if not accepted:
        raise OrderflowError("no order was accepted: look at the logs of order-api")

    whole, lag = Latencies(), Latencies()
    hops = {name: Latencies() for name in (POST, *(hop.name for hop in HOPS))}
    through, missing = list[int](), 0
    for order in posted:
        lag.record_ns(order.sent_ns - order.due_ns)
    for order in accepted:
        hops[POST].record_ns(order.answered_ns - order.due_ns)
        moments = {end: moment_of(seen, end, order.order_id) for end in (CREATED, PAID, *ENDS)}
        ends = [moments[end] for end in ENDS]
        if None in ends:
            missing += 1
            continue

        over = max(moment for moment in ends if moment is not None)
        through.append(over)
        whole.record_ns(over - order.due_ns)
        _record_hops(hops, order, moments)

    first_due = min(order.due_ns for order in accepted)
    last_answer = max(order.answered_ns for order in accepted)
    posting_s = max((last_answer - first_due) / 1e9, seconds)
    too_late = last_answer + int(THROUGH_WITHIN_S * 1e9)
    return Way(
        posted=len(posted),
        refused=len(posted) - len(accepted),
        whole=whole.percentiles(),
        hops={name: latencies.percentiles() for name, latencies in hops.items()},
        generator_lag=lag.percentiles(),
        missing=missing,
        repeated=sum(seen.repeated.values()),
        through_per_s=sum(moment <= last_answer for moment in through) / posting_s,
        late=sum(moment > too_late for moment in through),
        last_after_s=max(0.0, (max(through, default=last_answer) - last_answer) / 1e9),
    )


def _record_hops(
    hops: Mapping[str, Latencies], order: Posted, moments: Mapping[End, int | None]
) -> None:
    for hop in HOPS:
        begin = order.answered_ns if hop.begin is None else moments[hop.begin]
        end = moments[hop.end]
        if begin is not None and end is not None:
            hops[hop.name].record_ns(end - begin)


def moment_of(seen: Seen, end: End, order_id: str) -> int | None:
    moments = seen.at_ns[end.topic].get(order_id, [])
    return moments[end.nth - 1] if len(moments) >= end.nth else None


def _prefer(pid: int) -> None:
    if os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, pid, -10)
