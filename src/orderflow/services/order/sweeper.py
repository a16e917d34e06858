"""
The sweeper cancels orders that were not paid in time, and never before a fact that is still unread.

A round reads which orders are past their deadline, each with its revision; then the end of every
partition that order-service consumes; then it waits until the group has finished everything before
those ends. Only then it locks the orders, and cancels those that are still at that revision: a fact
that was in the log at the deadline has been applied. If the group does not finish in time (its
listener is away, a transaction stays open), the round logs it and leaves the orders for the next.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from orderflow.contracts.events import CancelReason
from orderflow.contracts.ids import OrderId
from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import ConfigurationError, Transient
from orderflow.messaging.event import read_clock
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.kafka.progress import GroupProgress
from orderflow.messaging.postgres import Cursor, DatabaseError, Session
from orderflow.messaging.process.prerequisites import Prerequisites
from orderflow.messaging.telemetry import counter, gauge, logger
from orderflow.messaging.work.clock import CLOCK, Clock
from orderflow.messaging.work.turning import Turning
from orderflow.services.order import queries, repository
from orderflow.services.order.changes import Encode, Origin, write_changes
from orderflow.services.order.config import SweeperSettings
from orderflow.services.order.deadlines import Limits, cutoffs
from orderflow.services.order.model import Order, WaitingFor
from orderflow.services.order.rules import cancel
from orderflow.services.order.traces import begin_trace, record_change

POLL_PROGRESS_S = 0.2

CANCELLED = counter(
    "orders_cancelled_by_deadline", "Orders that the sweeper cancelled: not paid in time"
)
HELD = gauge(
    "sweeper_orders_held",
    "Orders past their deadline that wait for facts to be read, at most a batch",
)
log = logger("sweeper")


class Sweeper:
    """
    One worker: `run` works until it is stopped; `reasons` say why nothing is swept.

    `session` and `progress` belong to the sweeper: `run` closes them when it ends.
    """

    def __init__(
        self,
        *,
        settings: SweeperSettings,
        limits: Limits,
        prerequisites: Prerequisites,
        session: Session,
        progress: GroupProgress,
        clock: Clock = CLOCK,
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._prerequisites = prerequisites
        self._session = session
        self._progress = progress
        self._turning = Turning("sweeper", clock=clock)
        self._missing = "starting"
        self._held = False

    def run(self, stop: threading.Event) -> None:
        """Run round after round until `stop` is set; a failed round is repeated later."""
        try:
            while not stop.is_set():
                has_more = self._round(stop)
                self._turning.rest()
                stop.wait(0 if has_more else self._settings.every_s)
        finally:
            self._prerequisites.close()
            self._session.close()
            self._progress.close()

    def reasons(self) -> list[str]:
        """Why nothing is swept, for /readyz; empty when the sweeper works."""
        missing = [f"sweeper: {self._missing}"] if self._missing else []
        return [*missing, *self._turning.reasons()]

    def _round(self, stop: threading.Event) -> bool:
        """Sweep once. True: another batch may be due already."""
        self._turning.mark("prerequisites")
        missing, has_more = "", False
        try:
            # In every round: a restored database has no relay position of its own yet.
            missing = "; ".join(self._prerequisites.missing())
            if not missing:
                has_more = self._sweep(stop)
        except (Transient, DatabaseError, ConfigurationError) as error:
            missing = error_text(error)

        if missing and missing != self._missing:
            log.warning("nothing is swept for now", reason=missing)
        self._missing = missing
        return has_more

    def _sweep(self, stop: threading.Event) -> bool:
        self._turning.mark("read what is due")
        past = cutoffs(self._limits, now=read_clock())
        with self._session.transaction() as cursor:
            due = queries.unpaid(cursor, since=past[WaitingFor.PAY], limit=self._settings.batch_max)
        HELD.set(len(due))
        if not due:
            return False

        # After the orders were read, never before: a fact that arrives in between must count.
        unread = self._read_past(stop)
        self._log_held(len(due), unread)
        if unread:
            return False

        self._turning.mark("cancel")
        failpoint("sweeper.before_cas")
        began_ns = time.time_ns()
        with self._session.transaction() as cursor:
            cancelled = cancel_unpaid(cursor, due, encode=self._prerequisites.encode)
        record_change(cancelled, "deadline: payment", kind="internal", began_ns=began_ns)
        HELD.set(0)
        CANCELLED.inc(len(cancelled))
        log.info("not paid in time", cancelled=len(cancelled), moved_on=len(due) - len(cancelled))
        return bool(cancelled) and len(due) == self._settings.batch_max

    def _read_past(self, stop: threading.Event) -> Mapping[tuple[str, int], int]:
        """
        Wait until the group has finished every record that its topics contain now.

        Returns the offsets that are still unread after `patience_s`; empty if there are none.
        """
        horizon = self._progress.horizon()
        give_up_at = time.monotonic() + self._settings.patience_s
        while (unread := self._progress.unfinished(horizon)) and time.monotonic() < give_up_at:
            self._turning.mark("wait for unread facts")
            if stop.wait(POLL_PROGRESS_S):
                break
        return unread

    def _log_held(self, orders: int, unread: Mapping[tuple[str, int], int]) -> None:
        """Log that orders are held, once, when it begins."""
        if unread and not self._held:
            offsets = {
                f"{topic}-{partition}": offset for (topic, partition), offset in unread.items()
            }
            log.warning(
                "orders past their deadline are held: facts are unread",
                orders=orders,
                unread=offsets,
            )
        self._held = bool(unread)


def cancel_unpaid(cursor: Cursor, due: Mapping[OrderId, int], *, encode: Encode) -> list[Order]:
    """
    Cancel those of the due orders that are still at the given revision; returns them, cancelled.

    An order that somebody holds is changing: it is left for the next round, and delays no other.
    """
    now = read_clock()
    locked = repository.lock_free(cursor, [*due])

    # Compare and set: an order that a fact or command changed since it was read is not cancelled.
    unpaid = [order for order in locked.values() if order.revision == due[order.order_id]]
    changes = [cancel(order, reason=CancelReason.PAYMENT_DEADLINE, now=now) for order in unpaid]

    origin = Origin(
        type="deadline", id=CancelReason.PAYMENT_DEADLINE, traceparent=str(begin_trace(None))
    )
    write_changes(cursor, changes, origin=origin, encode=encode)
    return [change.after for change in changes]
