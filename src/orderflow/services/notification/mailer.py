"""
The mail server as the sender sees it: flights of letters, over connections that stay open.

A flight has at most one letter of a customer: the next one waits until this one has its outcome, so
a customer's letters keep their order. A mail server replies about a letter: accepted; a final no
(5xx to the recipient or to the mail itself); or "not now" (deferred). Silence and a broken
connection defer the letter, too: it may have been accepted, and is sent again under its Message-ID.
Replies come in the order of the letters, so that is the first letter without one; those behind it
are offered again at once, and were no attempt. What is deferred for too long is given up. A server
that cannot be reached, is closing (421) or refuses the sender has not judged the letter:
`Unavailable`.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence

import msgspec

from orderflow.contracts.ids import CustomerId
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.event import read_clock
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.telemetry import counter
from orderflow.services.notification.config import SmtpSettings
from orderflow.services.notification.mail import compose, recipient
from orderflow.services.notification.model import Deferred, Letter, Outcome, SendResult, give_up
from orderflow.services.notification.smtp import (
    ConnectionLost,
    Envelope,
    Reply,
    SmtpConnection,
)
from orderflow.services.notification.traces import record_offer

FLIGHT_MAX = 64
FLIGHT_BYTES_MAX = 65_536
"""Written before a reply is read: what sockets take, or both sides might wait for the other."""
FLIGHT_BEGIN = 8
FLIGHT_S = (0.1, 0.25)
"""A flight that took less is followed by one of twice as many letters; more, by half of them."""

OFFERED = counter(
    "notification_mails_offered", "Mails offered to the mail server, by how that ended.", ("ended",)
)


class SendTask(msgspec.Struct, frozen=True, kw_only=True):
    """
    Customers with their letters in order. `until`: monotonic seconds; no letter is begun after it.
    """

    letters: Sequence[tuple[CustomerId, Sequence[Letter]]]
    until: float


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """
    What came of a task: the result of each of its customers. `error`: the server went away; the
    outcomes before that count.
    """

    results: tuple[SendResult, ...]
    error: Unavailable | None = None


class Mailer:
    """
    Sends from many threads: each uses a connection alone, then leaves it to the next.

    `give_up_s`: how old a letter is, in seconds, that is not tried again when it is deferred.
    """

    def __init__(
        self, settings: SmtpSettings, *, give_up_s: float, stopping: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._give_up_s = give_up_s
        self._stopping = stopping
        self._idle: deque[SmtpConnection] = deque()
        self.flight = FLIGHT_BEGIN
        """How many letters fly together: as many as the server takes in a moment."""

    def call(self, task: SendTask) -> Sent:
        """
        Send each customer's letters in order, until one of them is deferred, time is over or the
        server is away.
        """
        customers = [_Customer(customer_id, letters) for customer_id, letters in task.letters]
        error: Unavailable | None = None
        while error is None and not self._stopping() and time.monotonic() < task.until:
            flight = [customer for customer in customers if customer.has_next][: self.flight]
            if not flight:
                break
            try:
                self._fly(flight, until=task.until + self._settings.letter_within_s)
            except Unavailable as away:
                error = away
        return Sent(results=tuple(customer.result() for customer in customers), error=error)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _fly(self, flight: Sequence[_Customer], *, until: float) -> None:
        """One letter of each customer, until a connection breaks: what is behind that is left."""
        mails: list[Envelope] = []
        size = 0
        for customer in flight:
            # A death here: nothing was sent of this letter; the lease runs out, another goes on.
            failpoint("notification.before_send")
            mail = compose(customer.letter, self._settings)
            size += len(mail)
            if mails and size > FLIGHT_BYTES_MAX:
                break
            mails.append((recipient(customer.customer_id, self._settings), mail))

        began, began_ns = time.monotonic(), time.time_ns()
        ended: Counter[str] = Counter()
        replied = 0
        try:
            for reply in self._send(mails, until=until):
                self._judge(flight[replied], reply, began_ns, ended)
                replied += 1
        except ConnectionLost as error:
            ended["lost"] += 1
            self._defer(flight[replied], f"no answer: {error}", began_ns)
        except Unavailable:
            letter = flight[replied].letter
            record_offer(letter, began_ns=began_ns, ended="unavailable", is_final=False)
            ended["unavailable"] += 1
            raise
        finally:
            for how, letters in ended.items():
                OFFERED.labels(how).inc(letters)
        self._pace(replied, time.monotonic() - began)

    def _pace(self, replied: int, seconds: float) -> None:
        soon, late = FLIGHT_S
        if seconds > late:
            self.flight = max(1, self.flight // 2)
        elif seconds < soon and replied >= self.flight:
            self.flight = min(FLIGHT_MAX, 2 * self.flight)

    def _judge(self, customer: _Customer, reply: Reply, began_ns: int, ended: Counter[str]) -> None:
        """The server's reply code: 2xx, 5xx, or anything else."""
        (code, words), letter = reply, customer.letter

        if 200 <= code < 300:
            ended["sent"] += 1
            record_offer(letter, began_ns=began_ns, ended="sent", is_final=True)
            customer.outcomes.append(Outcome(letter=letter, at=read_clock()))
        elif 500 <= code < 600:
            ended["refused"] += 1
            record_offer(letter, began_ns=began_ns, ended="refused", is_final=True)
            refusal = f"{code} {words}"
            customer.outcomes.append(Outcome(letter=letter, at=read_clock(), refusal=refusal))
        else:
            ended["not_now"] += 1
            self._defer(customer, f"{code} {words}", began_ns)

    def _defer(self, customer: _Customer, reason: str, began_ns: int) -> None:
        """The letters behind it wait as well: a customer's mails keep their order."""
        deferred = Deferred(letter=customer.letter, reason=reason)
        given_up = give_up(deferred, at=read_clock(), give_up_s=self._give_up_s)
        if given_up is None:
            record_offer(customer.letter, began_ns=began_ns, ended="not now", is_final=False)
            customer.deferred = deferred
        else:
            record_offer(customer.letter, began_ns=began_ns, ended="refused", is_final=True)
            customer.outcomes.append(given_up)

    def _send(self, mails: Sequence[Envelope], *, until: float) -> Iterator[Reply]:
        """
        Send over an idle connection, else over a new one.

        The server may have ended a connection while it was idle. The letters have nothing to do
        with that, so they are sent once more over a new connection, under the same Message-IDs.
        """
        first_until = min(until, time.monotonic() + self._settings.letter_within_s)
        idle = self._idle.pop() if self._idle else None
        if idle is not None:
            is_answering = False
            try:
                for reply in self._send_over(idle, mails, first_until, until):
                    is_answering = True
                    yield reply
            except (ConnectionLost, Unavailable):
                if is_answering:
                    raise
            else:
                return

        fresh = SmtpConnection(self._settings, until=first_until)
        yield from self._send_over(fresh, mails, first_until, until)

    def _send_over(
        self,
        connection: SmtpConnection,
        mails: Sequence[Envelope],
        first_until: float,
        until: float,
    ) -> Iterator[Reply]:
        is_whole = False
        try:
            yield from connection.send(mails, first_until=first_until, until=until)
            is_whole = True
        finally:
            if is_whole:
                self._idle.append(connection)
            else:
                connection.close()


class _Customer:
    """How far a task is with one customer."""

    def __init__(self, customer_id: CustomerId, letters: Sequence[Letter]) -> None:
        self.customer_id = customer_id
        self.outcomes: list[Outcome] = []
        self.deferred: Deferred | None = None
        self._letters = letters

    @property
    def has_next(self) -> bool:
        return self.deferred is None and len(self.outcomes) < len(self._letters)

    @property
    def letter(self) -> Letter:
        """The first one without an outcome."""
        return self._letters[len(self.outcomes)]

    def result(self) -> SendResult:
        return SendResult(
            customer_id=self.customer_id, outcomes=tuple(self.outcomes), deferred=self.deferred
        )
