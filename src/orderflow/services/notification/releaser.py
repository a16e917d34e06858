"""
The releaser lets a held notification be told when what it waits for can't come any more.

What happened before a fact caused it, so it was on a topic before the fact was. A round reads which
notifications have been held for a while; then the end of every partition that notification
consumes; then it waits until the group has finished everything before those ends. What is still
held then waits for a record that became a dead letter, or that was never published: it is told
without it, in its place among what is there. A group that does not come so far (a record waits in
place) holds no customer for longer than a limit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Contention, Transient
from orderflow.messaging.event import read_clock
from orderflow.messaging.kafka.progress import GroupProgress
from orderflow.messaging.postgres import DatabaseError, Session
from orderflow.messaging.telemetry import counter, gauge, logger
from orderflow.services.notification import repository
from orderflow.services.notification.config import HoldSettings
from orderflow.services.notification.repository import HeldNotification

EVERY_S = 1.0
POLL_PROGRESS_S = 0.2
PATIENCE_S = 5.0
BATCH_MAX = 500

HELD = gauge(
    "notification_held", "Notifications that wait for what happened before them to be known"
)
RELEASED = counter(
    "notifications_released", "Held notifications that were told without what they waited for"
)

log = logger("notification.releaser")


class Releaser:
    """
    One worker: `run` works until it is stopped; `reasons` say why nothing is released.

    `session` and `progress` belong to the releaser: `run` closes them when it ends. Several at once
    do no harm: what one has released is not held any more.
    """

    def __init__(
        self, *, settings: HoldSettings, session: Session, progress: GroupProgress
    ) -> None:
        self._settings = settings
        self._session = session
        self._progress = progress
        self._missing = ""

    def reasons(self) -> list[str]:
        """Why nothing is released, for /readyz; empty when the releaser works."""
        return [f"releaser: {self._missing}"] if self._missing else []

    def run(self, stop: threading.Event) -> None:
        """Run round after round until `stop` is set; a failed round is repeated later."""
        try:
            while not stop.is_set():
                self._round(stop)
                stop.wait(EVERY_S)
        finally:
            self._session.close()
            self._progress.close()

    def _round(self, stop: threading.Event) -> None:
        missing = ""
        try:
            self._release(stop)
        except (Transient, DatabaseError) as error:
            missing = error_text(error)

        if missing and missing != self._missing:
            log.warning("nothing is released for now", reason=missing)
        self._missing = missing

    def _release(self, stop: threading.Event) -> None:
        now = read_clock()
        with self._session.transaction() as cursor:
            HELD.set(repository.count_held(cursor))
            due = repository.held(
                cursor, before=now - timedelta(seconds=self._settings.least_s), limit=BATCH_MAX
            )
        if not due:
            return

        # After the rows were read, never before: whatever caused them is below these ends.
        released = due if self._is_read_past(stop) else self._expired(due, now)
        if not released or stop.is_set():
            return
        self._tell(released)

    def _tell(self, released: Sequence[HeldNotification]) -> None:
        """Release these; one whose customer's row somebody holds is left to the next round."""
        try:
            with self._session.transaction() as cursor:
                count = repository.release_held(cursor, released)
        except Contention:
            if len(released) > 1:
                middle = len(released) // 2
                self._tell(released[:middle])
                self._tell(released[middle:])
            return
        RELEASED.inc(count)
        log.warning("told without what happened before", notifications=count)

    def _is_read_past(self, stop: threading.Event) -> bool:
        """Whether the group finishes, within some seconds, what its topics contain now."""
        horizon = self._progress.horizon()
        give_up_at = time.monotonic() + PATIENCE_S
        while self._progress.unfinished(horizon):
            if time.monotonic() >= give_up_at or stop.wait(POLL_PROGRESS_S):
                return False
        return True

    def _expired(self, due: Sequence[HeldNotification], now: datetime) -> list[HeldNotification]:
        limit = now - timedelta(seconds=self._settings.most_s)
        return [notification for notification in due if notification.since <= limit]
