"""
The channel, as the sender sees it: letters of one customer, one after the other, over connections that stay open.

What a mail server may say of a letter: yes; a final no (5xx to its recipient or to the mail itself); or not now.
Silence and a broken conversation are "not now" as well: it may have been accepted, and is sent again under its
Message-ID. A server that can't be reached, that is closing (421), or that does not like us as a sender, says nothing
of the letter: `Unavailable`. Source: RFC 5321, RFC 2920.
"""

from __future__ import annotations

import smtplib
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from orderflow.contracts.ids import CustomerId
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.event import read_clock
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.telemetry import counter
from orderflow.services.notification.config import SmtpSettings
from orderflow.services.notification.mail import compose, recipient
from orderflow.services.notification.model import Held, Letter, Round, Settled

RESOURCE = "mail"
CLOSING = 421
GO_ON = 354
REASON_MAX = 500

OFFERED = counter(
    "notification_mails_offered", "Mails offered to the mail server, by how that ended.", ("ended",)
)

Reply = tuple[int, str]


class Lost(Exception):
    """The conversation broke off: nobody knows whether the mail was accepted."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Letters of one customer, in their order. `until`: monotonic seconds; after them nothing more is begun."""

    customer_id: CustomerId
    letters: Sequence[Letter]
    until: float


class Partly(msgspec.Struct, frozen=True, kw_only=True):
    """The server went away; what was settled before stands."""

    round: Round
    error: Unavailable


class Mailer:
    """For many threads at a time: each has a connection for itself while it sends, then leaves it to the next."""

    def __init__(self, settings: SmtpSettings, *, stopping: Callable[[], bool]) -> None:
        self._settings = settings
        self._stopping = stopping
        self._idle: deque[Conversation] = deque()

    def call(self, task: Task) -> Round | Partly:
        """Send one letter after the other, until one is held, the time is over, or the server is away."""
        settled: list[Settled] = []
        held: Held | None = None
        for letter in task.letters:
            failpoint("notification.before_send")
            if self._stopping() or time.monotonic() >= task.until:
                break
            try:
                ended = self._offer(letter)
            except Unavailable as error:
                OFFERED.labels("unavailable").inc()
                return Partly(
                    round=Round(customer_id=task.customer_id, settled=tuple(settled)), error=error
                )
            if isinstance(ended, Held):
                held = ended
                break
            settled.append(ended)
        return Round(customer_id=task.customer_id, settled=tuple(settled), held=held)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _offer(self, letter: Letter) -> Settled | Held:
        try:
            code, words = self._said(letter)
        except Lost as error:
            OFFERED.labels("lost").inc()
            return Held(letter=letter, reason=f"no answer: {error}")
        if 200 <= code < 300:
            OFFERED.labels("sent").inc()
            return Settled(letter=letter, at=read_clock())
        if 500 <= code < 600:
            OFFERED.labels("refused").inc()
            return Settled(letter=letter, at=read_clock(), refusal=f"{code} {words}")
        OFFERED.labels("not_now").inc()
        return Held(letter=letter, reason=f"{code} {words}")

    def _said(self, letter: Letter) -> Reply:
        """The server's last word. One that has ended a conversation while it rested is not the letter's trouble."""
        resting = self._idle.pop() if self._idle else None
        if resting is not None:
            try:
                return self._over(resting, letter)
            except (Lost, Unavailable):
                pass
        return self._over(Conversation(self._settings), letter)

    def _over(self, conversation: Conversation, letter: Letter) -> Reply:
        try:
            reply = conversation.send(
                recipient(letter.customer_id, self._settings), compose(letter, self._settings)
            )
        except BaseException:
            conversation.close()
            raise
        self._idle.append(conversation)
        return reply


class Conversation:
    """One connection. Pipelined if the server can: two round trips for a mail instead of four."""

    def __init__(self, settings: SmtpSettings) -> None:
        where = f"the mail server at {settings.host}:{settings.port}"
        self._sender = settings.sender
        self._smtp = smtplib.SMTP(
            local_hostname=settings.sender.rpartition("@")[2], timeout=settings.connect_timeout_s
        )
        try:
            greeted = self._smtp.connect(settings.host, settings.port)
            hello = self._smtp.ehlo()
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            raise Unavailable(f"{where} can't be reached: {error}", resource=RESOURCE) from error
        if greeted[0] != 220 or hello[0] != 250:
            self.close()
            raise Unavailable(f"{where} takes no mail: {greeted[0]}, {hello[0]}", resource=RESOURCE)
        assert self._smtp.sock is not None
        self._smtp.sock.settimeout(settings.timeout_s)
        self._pipelined = self._smtp.has_extn("pipelining")

    def send(self, to: str, mail: bytes) -> Reply:
        """
        What the server said of the mail, or of its recipient. Raises Unavailable when that is about neither, Lost when
        the conversation broke off.
        """
        try:
            return self._sent(to, mail)
        except (OSError, smtplib.SMTPException) as error:
            raise Lost(str(error) or type(error).__name__) from error

    def close(self) -> None:
        self._smtp.close()

    def _sent(self, to: str, mail: bytes) -> Reply:
        replies = self._asked(f"MAIL FROM:<{self._sender}>", f"RCPT TO:<{to}>", "DATA")
        self._refuse_if_it_is_us(replies[0])
        if len(replies) == 3 and replies[2][0] == GO_ON:
            if (
                replies[1][0] >= 400
            ):  # No recipient, and DATA all the same: it gets an empty mail, and refuses that.
                self._reply_to(b".\r\n")
                return replies[1]
            reply = self._reply_to(mail)
            failpoint("notification.after_data")
            return self._not_closing(reply)
        self._asked("RSET")
        return self._not_closing(next(reply for reply in replies if reply[0] >= 400))

    def _asked(self, *commands: str) -> list[Reply]:
        """The replies, in the order of the commands; unless pipelined, none after the first that is a no."""
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

    def _reply_to(self, data: bytes) -> Reply:
        self._smtp.send(data)
        return self._reply()

    def _reply(self) -> Reply:
        code, words = self._smtp.getreply()
        return code, words.decode(errors="replace").replace("\n", " ")[:REASON_MAX]

    def _refuse_if_it_is_us(self, reply: Reply) -> None:
        self._not_closing(reply)
        if reply[0] >= 500:
            raise Unavailable(
                f"the mail server refuses {self._sender} as a sender: {reply[1]}", resource=RESOURCE
            )

    @staticmethod
    def _not_closing(reply: Reply) -> Reply:
        if reply[0] == CLOSING:
            raise Unavailable(f"the mail server is closing: {reply[1]}", resource=RESOURCE)
        return reply
