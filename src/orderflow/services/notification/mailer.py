"""
The mail server as the sender sees it: one customer's letters one after the other, over connections
that stay open.

A mail server replies about a letter: accepted; a final no (5xx to the recipient or to the mail
itself); or "not now" (deferred). Silence and a broken connection defer the letter, too: it may have
been accepted, and is sent again under its Message-ID. What is deferred for too long is given up. A
server that cannot be reached, is closing (421) or refuses the sender has not judged the letter:
`Unavailable`.
Source: RFC 5321, RFC 2920.
"""

from __future__ import annotations

import smtplib
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from orderflow.contracts.ids import CustomerId
from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.event import read_clock
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.telemetry import counter
from orderflow.services.notification.bounded_smtp import BoundedSmtp
from orderflow.services.notification.config import SmtpSettings
from orderflow.services.notification.mail import compose, recipient
from orderflow.services.notification.model import Deferred, Letter, Outcome, SendResult, give_up
from orderflow.services.notification.traces import record_offer

RESOURCE = "mail"
CLOSING = 421
START_MAIL_INPUT = 354
REASON_MAX = 500

OFFERED = counter(
    "notification_mails_offered", "Mails offered to the mail server, by how that ended.", ("ended",)
)

Reply = tuple[int, str]


class ConnectionLost(Exception):
    """The connection broke while a mail was sent: it may have been accepted, or not."""


class SendTask(msgspec.Struct, frozen=True, kw_only=True):
    """One customer's letters in order. `until`: monotonic seconds; no letter is begun after it."""

    customer_id: CustomerId
    letters: Sequence[Letter]
    until: float


class Interrupted(msgspec.Struct, frozen=True, kw_only=True):
    """The server went away. `result`: the outcomes before that, which count."""

    result: SendResult
    error: Unavailable


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

    def call(self, task: SendTask) -> SendResult | Interrupted:
        """Send the letters in order, until one is deferred, time is over or the server is away."""
        outcomes: list[Outcome] = []
        deferred: Deferred | None = None
        for letter in task.letters:
            # A death here: nothing was sent of this letter; the lease runs out, another goes on.
            failpoint("notification.before_send")
            if self._stopping() or time.monotonic() >= task.until:
                break

            began_ns = time.time_ns()
            try:
                reply = self._offer(letter)
            except Unavailable as error:
                record_offer(letter, began_ns=began_ns, ended="unavailable", is_final=False)
                OFFERED.labels("unavailable").inc()
                result = SendResult(customer_id=task.customer_id, outcomes=tuple(outcomes))
                return Interrupted(result=result, error=error)

            if isinstance(reply, Deferred):
                given_up = give_up(reply, at=read_clock(), give_up_s=self._give_up_s)
                if given_up is None:
                    record_offer(letter, began_ns=began_ns, ended="not now", is_final=False)
                    # The letters behind it wait as well: a customer's mails keep their order.
                    deferred = reply
                    break
                reply = given_up
            ended = "sent" if reply.refusal is None else "refused"
            record_offer(letter, began_ns=began_ns, ended=ended, is_final=True)
            outcomes.append(reply)
        return SendResult(customer_id=task.customer_id, outcomes=tuple(outcomes), deferred=deferred)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _offer(self, letter: Letter) -> Outcome | Deferred:
        """Send one letter, and read the server's reply code: 2xx, 5xx, or anything else."""
        try:
            code, words = self._send(letter)
        except ConnectionLost as error:
            OFFERED.labels("lost").inc()
            return Deferred(letter=letter, reason=f"no answer: {error}")

        if 200 <= code < 300:
            OFFERED.labels("sent").inc()
            return Outcome(letter=letter, at=read_clock())
        if 500 <= code < 600:
            OFFERED.labels("refused").inc()
            return Outcome(letter=letter, at=read_clock(), refusal=f"{code} {words}")
        OFFERED.labels("not_now").inc()
        return Deferred(letter=letter, reason=f"{code} {words}")

    def _send(self, letter: Letter) -> Reply:
        """
        Send over an idle connection, else over a new one.

        The server may have ended a connection while it was idle. The letter has nothing to do with
        that, so it is sent once more over a new connection, under the same Message-ID.
        """
        until = time.monotonic() + self._settings.letter_within_s
        idle = self._idle.pop() if self._idle else None
        if idle is not None:
            try:
                return self._send_over(idle, letter, until=until)
            except (ConnectionLost, Unavailable):
                pass
        return self._send_over(SmtpConnection(self._settings, until=until), letter, until=until)

    def _send_over(self, connection: SmtpConnection, letter: Letter, *, until: float) -> Reply:
        try:
            reply = connection.send(
                recipient(letter.customer_id, self._settings),
                compose(letter, self._settings),
                until=until,
            )
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return reply


class SmtpConnection:
    """
    One connection. Pipelined if the server can: two round trips for a mail instead of four.

    Connecting and sending end at `until`, in monotonic seconds, however slowly the server answers.
    """

    def __init__(self, settings: SmtpSettings, *, until: float) -> None:
        server = f"the mail server at {settings.host}:{settings.port}"
        self._sender = settings.sender
        self._smtp = BoundedSmtp(
            local_hostname=settings.sender.rpartition("@")[2], timeout_s=settings.connect_timeout_s
        )
        self._smtp.deadline.at = until

        try:
            greeting = self._smtp.connect(settings.host, settings.port)
            hello = self._smtp.ehlo()
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            raise Unavailable(
                f"{server} can't be reached: {error_text(error)}", resource=RESOURCE
            ) from error
        if greeting[0] != 220 or hello[0] != 250:
            self.close()
            raise Unavailable(
                f"{server} takes no mail: {greeting[0]}, {hello[0]}", resource=RESOURCE
            )

        self._smtp.timeout_s = settings.timeout_s
        self._pipelined = self._smtp.has_extn("pipelining")

    def send(self, to: str, mail: bytes, *, until: float) -> Reply:
        """
        The server's reply about the mail, or about its recipient.

        Raises Unavailable when the reply is about neither, ConnectionLost when there is none.
        """
        self._smtp.deadline.at = until
        try:
            return self._transaction(to, mail)
        except (OSError, smtplib.SMTPException) as error:
            raise ConnectionLost(error_text(error)) from error

    def close(self) -> None:
        self._smtp.close()

    def _transaction(self, to: str, mail: bytes) -> Reply:
        replies = self._commands(f"MAIL FROM:<{self._sender}>", f"RCPT TO:<{to}>", "DATA")
        self._check_sender(replies[0])

        if len(replies) == 3 and replies[2][0] == START_MAIL_INPUT:
            if replies[1][0] >= 400:
                # Pipelined: the recipient was refused, and the server waits for the mail all the
                # same. An empty one ends DATA; the server refuses it, since it has no recipient.
                self._data(b".\r\n")
                return replies[1]
            reply = self._data(mail)
            # A death here: the server has the mail, and nothing of it is recorded.
            failpoint("notification.after_data")
            return self._not_closing(reply)

        self._commands("RSET")
        return self._not_closing(next(reply for reply in replies if reply[0] >= 400))

    def _commands(self, *commands: str) -> list[Reply]:
        """The replies in the order of the commands; unless pipelined, up to the first refusal."""
        if self._pipelined:
            self._smtp.send("".join(f"{command}\r\n" for command in commands).encode("ascii"))
            return [self._reply() for _ in commands]

        replies: list[Reply] = []
        for command in commands:
            self._smtp.send(f"{command}\r\n".encode("ascii"))
            replies.append(self._reply())
            if replies[-1][0] >= 400:
                break
        return replies

    def _data(self, data: bytes) -> Reply:
        self._smtp.send(data)
        return self._reply()

    def _reply(self) -> Reply:
        code, words = self._smtp.getreply()
        return code, words.decode(errors="replace").replace("\n", " ")[:REASON_MAX]

    def _check_sender(self, reply: Reply) -> None:
        """Raise Unavailable when the server refuses the sender: no letter is to blame for that."""
        self._not_closing(reply)
        if reply[0] >= 500:
            raise Unavailable(
                f"the mail server refuses the sender: code {reply[0]}", resource=RESOURCE
            )

    @staticmethod
    def _not_closing(reply: Reply) -> Reply:
        if reply[0] == CLOSING:
            raise Unavailable(f"the mail server is closing: code {reply[0]}", resource=RESOURCE)
        return reply
