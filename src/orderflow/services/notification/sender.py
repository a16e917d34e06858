"""
The sender: leases customers, sends their letters outside of any transaction, records the outcomes.

The sender's own thread only leases and records, in short transactions; a bounded pool of threads
talks to the mail server, each with as many customers as it has letters in flight. A customer is
leased by one worker at a time, and that customer's letters are sent one after the other; customers
do not wait for each other. If a lease runs out while its worker is stopped, another worker goes on:
a mail that is then sent twice has the same Message-ID, and an outcome that is recorded twice counts
once, by compare-and-set under the customer's row lock.

A transaction is followed by a rest twice as long as it took: what is noted and sent meanwhile
shares the next one. So a busy machine has fewer and larger transactions, and a letter on an idle
one goes at once.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from orderflow.contracts.events import NotificationFailed
from orderflow.contracts.ids import CustomerId
from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Contention, Transient
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.postgres import (
    RESOURCE,
    BatchSize,
    Cursor,
    DatabaseError,
    Session,
    outbox,
)
from orderflow.messaging.process.prerequisites import Prerequisites
from orderflow.messaging.telemetry import counter, gauge, histogram, logger
from orderflow.messaging.work.calls import Calls, Ended
from orderflow.messaging.work.clock import CLOCK
from orderflow.messaging.work.gate import Gate
from orderflow.messaging.work.pace import rest_s
from orderflow.messaging.work.turning import Turning
from orderflow.services.notification import repository
from orderflow.services.notification.config import SenderSettings
from orderflow.services.notification.doorbell import NOTED
from orderflow.services.notification.handlers import settle
from orderflow.services.notification.mailer import Mailer, SendTask, Sent
from orderflow.services.notification.model import Letter, NumberedLetter, SendResult

POLL_S = (0.05, 0.25)
"""
How soon an idle sender sees a new notification; the second, if its own process's listener rings for
those that it notes. The query reads an index of due customers.
"""
REST_S = (0.01, 0.05)
"""The least and the most that a transaction is followed by, unless there is a backlog."""
COUNT_EVERY_S = 5.0
STOP_WITHIN_S = 3.0
LETTERS_MAX = outbox.ROWS_MAX // 2
"""In one recording transaction; a customer's letters are never split."""
CONTENDED_S = 1.0
"""How long a result rests whose customer's row somebody else holds."""
CUSTOMERS_MAX = 1_024
"""Leased at a time: two flights for each connection, so that they have work during a recording."""
DEFERRED_IN_A_ROW_MAX = 20
"""When so many customers were deferred and no mail accepted meanwhile, the server is at fault."""

NUMBERED = counter("notifications", "Messages to customers, by how they ended.", ("state",))
DELAY = histogram("notification_delay_seconds", "From noting a message to its acceptance.")
WAITING = gauge(
    "notification_customers_waiting",
    "Customers who rest: the mail server did not take something yet.",
)

log = logger("notification.sender")


class Sender:
    """
    One worker, called `name`. `run` works until it is stopped; `reasons` say why it is not ready.

    `session`, `mailer` and `calls` belong to the sender: `run` closes them when it ends.
    """

    def __init__(
        self,
        name: str,
        *,
        settings: SenderSettings,
        prerequisites: Prerequisites,
        session: Session,
        mailer: Mailer,
        calls: Calls[int],
        mail_gate: Gate,
        database_gate: Gate,
    ) -> None:
        self._worker = name
        self._settings = settings
        self._prerequisites = prerequisites
        self._session = session
        self._mailer = mailer
        self._calls = calls
        self._mail_gate = mail_gate
        self._database_gate = database_gate
        self._doorbell = NOTED

        self._turning = Turning("sender")
        self._stop = threading.Event()
        self._unrecorded: list[SendResult] = []
        self._contended: list[tuple[float, SendResult]] = []
        self._size = BatchSize(LETTERS_MAX, CLOCK)
        self._deferred_in_a_row: set[CustomerId] = set()
        self._has_taken_over = False
        self._sending = 0
        self._rest_until = self._next_lease_at = self._next_count_at = 0.0

    def reasons(self) -> list[str]:
        """Why nothing is sent, for /readyz; empty when the sender works."""
        if missing := self._prerequisites.reasons():
            return missing

        deferred = ""
        if len(self._deferred_in_a_row) >= DEFERRED_IN_A_ROW_MAX:
            deferred = (
                f"mail: {DEFERRED_IN_A_ROW_MAX} customers in a row have to wait:"
                " see their notifications"
            )
        reasons = (self._database_gate.reason, self._mail_gate.reason, deferred)
        return [*filter(None, reasons), *self._turning.reasons()]

    def run(self, stop: threading.Event) -> None:
        """
        Send until `stop` is set.

        Waits first for schema ids, the database and the relay's first position: an outbox row that
        is written before that position would never be published.
        """
        self._stop = stop

        try:
            if not self._prerequisites.wait(stop):
                return
            while not stop.is_set():
                self._turn()
            self._finish()
        finally:
            self._turning.rest()
            self._prerequisites.close()
            self._calls.close()
            self._mailer.close()
            self._session.close()

    @property
    def is_stopping(self) -> bool:
        """Whether nothing more is to be begun."""
        return self._stop.is_set()

    def _turn(self) -> None:
        """Collect results, then record them, then lease more customers."""
        self._turning.mark("collect")
        self._accept(self._collect())
        began = time.monotonic()
        if not self._database_gate.may_try(began):
            self._rest_until = began + REST_S[1]
            return

        with self._recording():
            self._take_over()
            # Before the next lease: a customer is released only by recording its results.
            moved = self._record_all(contended_until=began)
            moved += self._lease_alone()
            self._count()
        if 0 < moved < self._room_max():
            now = time.monotonic()
            self._rest_until = now + rest_s(REST_S, now - began)

    def _take_over(self) -> None:
        """Once, before the first lease: go on with the customers of the worker before this one."""
        if self._has_taken_over:
            return
        try:
            with self._session.transaction() as cursor:
                repository.take_over(cursor, self._worker)
        except DatabaseError as error:
            # A missing table or privilege is a deployment that is not finished: wait, and say so.
            why = "lacks a table, column or privilege"
            raise Transient(
                f"taking over: {error_text(error)}", resource=RESOURCE, reason=why
            ) from error
        self._has_taken_over = True

    def _collect(self) -> list[Ended[int]]:
        """
        The calls that have ended. After a transaction, gather them during its rest; else wait, if
        there is nothing to do, for the first one, for a ring, or until it is time to lease.
        """
        now = time.monotonic()
        if now < self._rest_until:
            self._stop.wait(self._rest_until - now)
            return self._calls.collect()
        if self._unrecorded:
            return self._calls.collect()

        wait_s = max(0.001, self._next_lease_at - now)
        if self._calls.running:
            within_s = wait_s if self._free_places() > 0 else POLL_S[0]
            return self._calls.collect(within_s=min(POLL_S[0], within_s))
        if self._doorbell.wait(wait_s):
            self._next_lease_at = 0.0
        return []

    def _accept(self, ended: list[Ended[int]]) -> None:
        """Keep results until they are recorded; open or close the mail gate by them."""
        for customers, _, sent, error in ended:
            self._sending -= customers
            if error is not None:
                raise error

            assert isinstance(sent, Sent)
            if sent.error is not None:
                self._mail_gate.failed(sent.error)
            elif any(result.outcomes or result.deferred for result in sent.results):
                self._mail_gate.succeeded()
            for result in sent.results:
                self._watch_for_deferrals(result)
            self._unrecorded += sent.results

    def _watch_for_deferrals(self, result: SendResult) -> None:
        """Count different customers who were deferred since the last mail with an outcome."""
        # A letter that was given up says nothing good of the server: it was deferred once more.
        if any(not outcome.given_up for outcome in result.outcomes):
            self._deferred_in_a_row.clear()
        elif (result.outcomes or result.deferred) and len(
            self._deferred_in_a_row
        ) < DEFERRED_IN_A_ROW_MAX:
            self._deferred_in_a_row.add(result.customer_id)

        if result.deferred:
            log.info(
                "a customer has to wait",
                customer=result.customer_id,
                # A server's words echo the address: only its code is told.
                reason=result.deferred.reason.partition(" ")[0],
            )

    def _record_all(self, *, contended_until: float) -> int:
        """
        Record everything, and by itself each contended result that rests until then; returns how
        many.
        """
        due = [result for until, result in self._contended if until <= contended_until]
        self._contended = [entry for entry in self._contended if entry[0] > contended_until]
        for at, result in enumerate(due):
            try:
                self._record([result])
            except BaseException:
                self._unrecorded += due[at:]
                raise

        recorded = len(due)
        while self._unrecorded:
            results = self._next_to_record()
            self._record(results)
            # Forgotten only after the commit: results outlive a database that is away.
            del self._unrecorded[: len(results)]
            recorded += len(results)
        return recorded

    def _record(self, results: list[SendResult]) -> None:
        """
        Record results in one transaction: outcomes, sequences, events, releases. Halved, if they
        meet a lock; a result that meets it alone rests, and delays no other customer.
        """
        try:
            self._settle(results)
        except Contention as error:
            self._size.contended(len(results))
            if len(results) > 1:
                middle = len(results) // 2
                self._record(results[:middle])
                self._record(results[middle:])
                return
            log.warning(
                "a customer's outcome waits for a lock",
                customer=results[0].customer_id,
                why=str(error),
            )
            self._contended.append((time.monotonic() + CONTENDED_S, results[0]))
        else:
            self._size.succeeded()

    def _settle(self, results: list[SendResult]) -> None:
        """One transaction: it records these, and leases whoever is due then."""
        self._turning.mark("record")

        # A death here: mails were sent and nothing is recorded; they are sent again, same id.
        failpoint("notification.before_outcome")
        with self._size.waiting(), self._session.pipelined() as cursor:
            numbered = settle(
                cursor,
                results,
                worker=self._worker,
                back_off_s_max=self._settings.back_off_s_max,
                encode=self._prerequisites.encode,
            )
            lease = self._lease(cursor)
        self._begin_to_send(lease)
        _measure(numbered)

    def _next_to_record(self) -> list[SendResult]:
        """The oldest results with at most LETTERS_MAX letters together, and always one."""
        results, letters = [self._unrecorded[0]], len(self._unrecorded[0].outcomes)
        for result in self._unrecorded[1:]:
            letters += len(result.outcomes)
            if letters > LETTERS_MAX or len(results) == self._size.value:
                break
            results.append(result)
        return results

    def _lease_alone(self) -> int:
        """Lease when nothing was recorded for a while; returns how many customers."""
        if time.monotonic() < self._next_lease_at or self._free_places() <= 0:
            return 0
        self._turning.mark("lease")
        with self._session.pipelined() as cursor:
            lease = self._lease(cursor)
        self._begin_to_send(lease)
        return len(lease.letters)

    def _lease(self, cursor: Cursor) -> SendTask:
        """
        Lease as many due customers as there are free places. The lease commits before anything is
        sent: no other worker sends to these customers.

        Letters may begin during half of the lease: the other half is longer than the time-outs of
        one letter, so the last one ends before the lease does.
        """
        now, places = time.monotonic(), self._free_places()
        self._next_lease_at = now + POLL_S[self._doorbell.is_used]
        leased: list[tuple[CustomerId, list[Letter]]] = []

        if places > 0 and not self._stop.is_set():
            leased = repository.lease(
                cursor,
                self._worker,
                customers_max=places,
                letters_max=1 if self._mail_gate.is_probing else self._settings.letters_max,
                lease_s=self._settings.lease_s,
            )
        if leased and len(leased) == places:
            self._next_lease_at = 0.0
        return SendTask(letters=leased, until=now + self._settings.lease_s / 2)

    def _begin_to_send(self, lease: SendTask) -> None:
        """Hand the customers over, a flight's at a time."""
        flight = self._mailer.flight
        for start in range(0, len(lease.letters), flight):
            letters = lease.letters[start : start + flight]
            self._sending += len(letters)
            self._calls.submit(len(letters), SendTask(letters=letters, until=lease.until))

    def _room_max(self) -> int:
        """How many customers may be leased at a time."""
        return min(CUSTOMERS_MAX, 2 * self._mailer.flight * self._settings.connections_max)

    def _free_places(self) -> int:
        """How many more customers may be leased. While the mail server is away: one, as a probe."""
        if self._mail_gate.is_probing:
            return int(not self._calls.running and self._mail_gate.may_try(time.monotonic()))
        return self._room_max() - self._sending

    def _count(self) -> None:
        if time.monotonic() < self._next_count_at:
            return
        with self._session.transaction() as cursor:
            WAITING.set(repository.waiting(cursor))
        self._next_count_at = time.monotonic() + COUNT_EVERY_S

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Close the database's gate when it is away. Unrecorded results stay in memory."""
        try:
            yield
        except Transient as error:
            self._database_gate.failed(error)
        else:
            self._database_gate.succeeded()

    def _finish(self) -> None:
        """Begin nothing more, record what has ended, and leave no customer leased."""
        deadline = time.monotonic() + STOP_WITHIN_S
        while self._calls.running and time.monotonic() < deadline:
            self._accept(self._calls.collect(within_s=0.1))

        with self._recording():
            self._record_all(contended_until=math.inf)
            with self._session.transaction() as cursor:
                repository.take_over(cursor, self._worker)


def _measure(numbered: list[NumberedLetter]) -> None:
    failed = 0
    for entry in numbered:
        failed += isinstance(entry.event, NotificationFailed)
        DELAY.observe((entry.event.occurred_at - entry.letter.created_at).total_seconds())

    for state, count in (("failed", failed), ("sent", len(numbered) - failed)):
        if count:
            NUMBERED.labels(state).inc(count)
