"""
The sender: leases customers, sends what waits for them outside of any transaction, records what came of it.

Its thread only leases and records, each a short transaction; a bounded pool of threads talks to the mail server. A
customer is leased by one worker at a time, and that customer's letters are sent one after the other; customers do not
wait for each other. Should a lease end while its worker is stopped, another goes on: what is sent twice has the same
Message-ID, what is settled twice is settled once, by compare-and-set under the customer's row lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from orderflow.contracts.events import NotificationFailed
from orderflow.contracts.ids import CustomerId
from orderflow.messaging.errors import Transient
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.postgres import Session, outbox
from orderflow.messaging.process.prerequisites import Prerequisites
from orderflow.messaging.telemetry import counter, gauge, histogram, logger
from orderflow.messaging.work.calls import Calls, Ended
from orderflow.messaging.work.gate import Gate
from orderflow.services.notification import repository
from orderflow.services.notification.config import SenderSettings
from orderflow.services.notification.handlers import settle
from orderflow.services.notification.mailer import Mailer, Partly, Task
from orderflow.services.notification.model import Numbered, Round

POLL_S = 0.05
"""How soon an idle sender sees what was noted. The question is answered from an index of what is due."""
COUNT_EVERY_S = 5.0
STOP_WITHIN_S = 3.0
LETTERS_MAX = outbox.ROWS_MAX // 2
"""In one record; a customer's are never parted."""
CUSTOMERS_PER_CONNECTION = 4
"""Leased at a time: the connections find work while outcomes are recorded."""
HELD_IN_A_ROW_MAX = 20
"""So many different customers were told to wait, and nothing was taken meanwhile: it is the server, not they."""

NUMBERED = counter("notifications", "Messages to customers, by how they ended.", ("state",))
DELAY = histogram("notification_delay_seconds", "From noting a message to its acceptance.")
WAITING = gauge(
    "notification_customers_waiting",
    "Customers who rest: the mail server did not take something yet.",
)

log = logger("notification.sender")


class Sender:
    """
    One worker, called `name`. `run` until told to stop; `reasons`: what it can't do, and why.

    `session`, `mailer` and `calls`, which call it, are its own: they are closed when `run` ends.
    """

    def __init__(
        self,
        name: str,
        *,
        settings: SenderSettings,
        prerequisites: Prerequisites,
        session: Session,
        mailer: Mailer,
        calls: Calls[CustomerId],
        mail_gate: Gate,
        database_gate: Gate,
    ) -> None:
        self._worker = name
        self._asked = settings
        self._prerequisites = prerequisites
        self._session = session
        self._mailer = mailer
        self._calls = calls
        self._mail = mail_gate
        self._database = database_gate

        self._stop = threading.Event()
        self._unrecorded: list[Round] = []
        self._held_in_a_row: set[CustomerId] = set()
        self._has_taken_over = False
        self._look_at = self._count_at = 0.0

    def reasons(self) -> list[str]:
        if missing := self._prerequisites.reasons():
            return missing
        held = ""
        if len(self._held_in_a_row) >= HELD_IN_A_ROW_MAX:
            held = f"mail: {HELD_IN_A_ROW_MAX} customers in a row have to wait: see their notifications"
        return [reason for reason in (self._database.reason, self._mail.reason, held) if reason]

    def run(self, stop: threading.Event) -> None:
        """Send until `stop` is set, once schema ids, database and the relay's first position are there."""
        self._stop = stop
        try:
            if not self._prerequisites.wait(stop):
                return
            while not stop.is_set():
                self._turn()
            self._finish()
        finally:
            self._calls.close()
            self._mailer.close()
            self._session.close()

    @property
    def is_stopping(self) -> bool:
        """Whether nothing more is to be begun."""
        return self._stop.is_set()

    def _turn(self) -> None:
        self._judge(self._ended())
        if not self._database.may_try(time.monotonic()):
            self._look_at = time.monotonic() + POLL_S
            return
        with self._recording():
            self._take_over()
            while self._unrecorded:
                self._record()
            self._lease()
            self._count()

    def _take_over(self) -> None:
        """Once, before the first lease: go on with the customers of the worker before this one."""
        if self._has_taken_over:
            return
        with self._session.transaction() as cursor:
            repository.take_over(cursor, self._worker)
        self._has_taken_over = True

    def _ended(self) -> list[Ended[CustomerId]]:
        """What has ended; if nothing, wait until it is time to look again."""
        wait_s = min(POLL_S, max(0.001, self._look_at - time.monotonic()))
        if self._calls.running:
            return self._calls.collect(within_s=wait_s if self._room() else POLL_S)
        self._stop.wait(wait_s)
        return []

    def _judge(self, ended: list[Ended[CustomerId]]) -> None:
        for _, _, answer, error in ended:
            if error is not None:
                raise error
            came_of = answer.round if isinstance(answer, Partly) else answer
            if isinstance(answer, Partly):
                self._mail.failed(answer.error)
            elif came_of.settled or came_of.held:
                self._mail.succeeded()
            if came_of.settled:
                self._held_in_a_row.clear()
            elif came_of.held:
                if len(self._held_in_a_row) < HELD_IN_A_ROW_MAX:
                    self._held_in_a_row.add(came_of.customer_id)
                log.info(
                    "a customer has to wait",
                    customer=came_of.customer_id,
                    reason=came_of.held.reason,
                )
            self._unrecorded.append(came_of)

    def _record(self) -> None:
        rounds, letters = [self._unrecorded[0]], len(self._unrecorded[0].settled)
        for one in self._unrecorded[1:]:
            letters += len(one.settled)
            if letters > LETTERS_MAX:
                break
            rounds.append(one)
        failpoint("notification.before_outcome")
        with self._session.transaction() as cursor:
            numbered = settle(
                cursor,
                rounds,
                worker=self._worker,
                back_off_s_max=self._asked.back_off_s_max,
                encode=self._prerequisites.encode,
            )
        del self._unrecorded[: len(rounds)]
        self._look_at = 0.0
        _tell(numbered)

    def _lease(self) -> None:
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + POLL_S
        room = self._room()
        if room <= 0 or self._stop.is_set():
            return
        with self._session.transaction() as cursor:
            claimed = repository.claim(
                cursor,
                self._worker,
                customers_max=room,
                letters_max=1 if self._mail.single else self._asked.letters_max,
                lease_s=self._asked.lease_s,
            )
        # Half of the lease for what is begun: the other half is more than the time-outs of one letter.
        until = now + self._asked.lease_s / 2
        for customer_id, letters in claimed:
            self._calls.submit(
                customer_id, Task(customer_id=customer_id, letters=letters, until=until)
            )
        if len(claimed) == room:
            self._look_at = 0.0

    def _room(self) -> int:
        """How many more customers may be leased; while the mail server is away one, and that only at times."""
        if self._mail.single:
            return int(not self._calls.running and self._mail.may_try(time.monotonic()))
        return CUSTOMERS_PER_CONNECTION * self._asked.connections_max - self._calls.running

    def _count(self) -> None:
        if time.monotonic() >= self._count_at:
            with self._session.transaction() as cursor:
                WAITING.set(repository.waiting(cursor))
            self._count_at = time.monotonic() + COUNT_EVERY_S

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """A database that is away keeps nothing from being recorded later: settled letters stay in memory."""
        try:
            yield
        except Transient as error:
            self._database.failed(error)
        else:
            self._database.succeeded()

    def _finish(self) -> None:
        """Begin nothing more, record what ended, and leave no customer leased."""
        deadline = time.monotonic() + STOP_WITHIN_S
        while self._calls.running and time.monotonic() < deadline:
            self._judge(self._calls.collect(within_s=0.1))
        with self._recording():
            while self._unrecorded:
                self._record()
            with self._session.transaction() as cursor:
                repository.take_over(cursor, self._worker)


def _tell(numbered: list[Numbered]) -> None:
    for one in numbered:
        event = one.event
        NUMBERED.labels("failed" if isinstance(event, NotificationFailed) else "sent").inc()
        DELAY.observe((event.occurred_at - one.letter.noted_at).total_seconds())
