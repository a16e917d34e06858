"""
The sweeper: cancels what was not paid for in time, and never beats a fact that is still in the log unread.

A round reads which orders are past their deadline, each with its revision; then where every partition of what
order-service hears ends; then waits until the group has got past there. Only then it locks the orders, and cancels
those that are still at that revision: whatever was on its way at the deadline has had its say. What can't be waited
for, with a listener that is away or a transaction that stays open, is left for the next round, and told of.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from orderflow.contracts.events import CancelReason
from orderflow.contracts.ids import OrderId
from orderflow.messaging.errors import ConfigurationError, Transient
from orderflow.messaging.event import read_clock
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.kafka.progress import GroupProgress
from orderflow.messaging.postgres import Cursor, DatabaseError, Session, outbox
from orderflow.messaging.telemetry import counter, gauge, logger
from orderflow.services.order import queries, repository
from orderflow.services.order.config import SweeperSettings
from orderflow.services.order.deadlines import Limits, cutoffs
from orderflow.services.order.handlers import Cause, Encode, act
from orderflow.services.order.http.requests import traceparent_of
from orderflow.services.order.model import WaitingFor
from orderflow.services.order.rules import cancel

SERVICE = "order"
ASK_EVERY_S = 0.2

CANCELLED = counter(
    "orders_cancelled_by_deadline", "Orders that the sweeper cancelled: not paid in time"
)
HELD = gauge(
    "sweeper_orders_held",
    "Orders past their deadline that wait for facts to be read, at most a batch",
)

log = logger("sweeper")


class Sweeper:
    """`load` gets what encodes events, and may raise Transient or ConfigurationError: then it is asked again."""

    def __init__(
        self,
        *,
        settings: SweeperSettings,
        limits: Limits,
        session: Session,
        progress: GroupProgress,
        load: Callable[[], Encode],
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._session = session
        self._progress = progress
        self._load = load
        self._encode: Encode | None = None
        self._missing = "starting"
        self._held = False

    def run(self, stop: threading.Event) -> None:
        """Round after round until `stop` is set; what time heals is left for the next."""
        try:
            while not stop.is_set():
                full = self._round(stop)
                stop.wait(0 if full else self._settings.every_s)
        finally:
            self._session.close()
            self._progress.close()

    def reasons(self) -> list[str]:
        return [f"sweeper: {self._missing}"] if self._missing else []

    def _round(self, stop: threading.Event) -> bool:
        """Whether there may be more to do at once."""
        try:
            self._encode = self._encode or self._load()
            full = self._sweep(self._encode, stop)
        except (Transient, DatabaseError, ConfigurationError) as error:
            if self._missing != (reason := str(error)):
                log.warning("nothing is swept for now", reason=reason)
            self._missing = reason
            return False
        self._missing = ""
        return full

    def _sweep(self, encode: Encode, stop: threading.Event) -> bool:
        cutoff = cutoffs(self._limits, now=read_clock())[WaitingFor.PAY]
        with self._session.transaction() as cursor:
            if not outbox.first_position_committed(cursor, SERVICE):
                raise ConfigurationError(
                    "the relay's first position is not committed yet; is order-relay running?"
                )
            due = queries.unpaid(cursor, since=cutoff, limit=self._settings.batch_max)
        HELD.set(len(due))
        if not due:
            return False
        unread = self._read_past(stop)
        self._tell(len(due), unread)
        if unread:
            return False
        failpoint("sweeper.before_cas")
        with self._session.transaction() as cursor:
            cancelled = cancel_unpaid(cursor, due, encode=encode)
        HELD.set(0)
        CANCELLED.inc(len(cancelled))
        log.info("not paid in time", cancelled=len(cancelled), moved_on=len(due) - len(cancelled))
        return len(due) == self._settings.batch_max

    def _read_past(self, stop: threading.Event) -> Mapping[tuple[str, int], int]:
        """Wait until the group has finished all that is in its topics now; what it has not, after a bounded time."""
        horizon = self._progress.horizon()
        give_up = time.monotonic() + self._settings.patience_s
        while (unread := self._progress.unfinished(horizon)) and time.monotonic() < give_up:
            if stop.wait(ASK_EVERY_S):
                break
        return unread

    def _tell(self, orders: int, unread: Mapping[tuple[str, int], int]) -> None:
        """Once, when it begins."""
        if unread and not self._held:
            where = {
                f"{topic}-{partition}": offsets for (topic, partition), offsets in unread.items()
            }
            log.warning(
                "orders past their deadline are held: facts are unread", orders=orders, unread=where
            )
        self._held = bool(unread)


def cancel_unpaid(cursor: Cursor, due: Mapping[OrderId, int], *, encode: Encode) -> list[OrderId]:
    """Cancel those of the orders that are still at that revision; whatever moved since then has saved the others."""
    now = read_clock()
    locked = repository.lock(cursor, [*due])
    still = [order for order in locked.values() if order.revision == due[order.order_id]]
    changes = [cancel(order, reason=CancelReason.PAYMENT_DEADLINE, now=now) for order in still]
    cause = Cause(
        type="deadline", id=CancelReason.PAYMENT_DEADLINE, traceparent=traceparent_of(None)
    )
    act(cursor, changes, cause=cause, encode=encode)
    return [order.order_id for order in still]
