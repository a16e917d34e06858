"""The sink's SMTP side: its connections, their end, and its faults."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import cast

from orderflow.messaging.error_text import error_text
from orderflow.messaging.telemetry import logger
from orderflow.neighbours.mail.dialogue import Dialogue, Turn
from orderflow.neighbours.mail.faults import Faults
from orderflow.neighbours.mail.mailbox import Mailbox

IDLE_S = 300.0
MAILS_MAX = 1_000
"""Of one connection, before others have their turn."""
BUFFER_BYTES_MAX = 1_048_576

log = logger("mail")


class Receiver:
    """A server on a socket that listens already. `faults` may be changed while it runs."""

    def __init__(
        self,
        mailbox: Mailbox,
        listener: socket.socket,
        *,
        faults: Faults,
        chance: random.Random,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.faults = faults
        self.loop = loop
        self._mailbox = mailbox
        self._listener = listener
        self._chance = chance
        self._serving: asyncio.Task[asyncio.Server] | None = None

    def start(self) -> None:
        self._serving = self.loop.create_task(
            self.loop.create_server(lambda: Conversation(self), sock=self._listener)
        )

    def close(self) -> None:
        """Called on another thread than the loop's. Running conversations end with the process."""
        self.loop.call_soon_threadsafe(self._listener.close)

    def answer_to(self, recipient: str) -> str:
        return self.faults.answer_to(recipient, self._chance)

    def take(self, turn: Turn) -> tuple[bytes, bool]:
        """
        Keep the mails of a turn; the replies to all that is in it, and whether they are the last:
        with the fault `reply_lost` they end before that of a mail that was kept.
        """
        try:
            verdicts = self._mailbox.take(turn.mails) if turn.mails else []
        except OSError as error:
            log.warning("mails were not kept", why=error_text(error))
            return turn.fill(None), turn.is_over

        replies = turn.fill(verdicts)
        if self.faults.reply_lost and turn.mails and self._chance.random() < self.faults.reply_lost:
            return b"".join(turn.replies[: turn.places[0]]), True
        return replies, turn.is_over


class Conversation(asyncio.Protocol):
    """
    One connection. It ends when nothing came for `IDLE_S`.

    A mail that is answered is in the file: replies are written after the mails of their turn are.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._dialogue = Dialogue(receiver.answer_to)
        self._loop = receiver.loop
        self._idle: asyncio.TimerHandle | None = None
        self._resting: asyncio.TimerHandle | None = None
        self._last_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._last_at = self._loop.time()
        self._idle = self._loop.call_later(IDLE_S, self._end_if_idle)
        self._transport.write(self._dialogue.greeting)

    def connection_lost(self, _error: Exception | None) -> None:
        for timer in (self._idle, self._resting):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._last_at = self._loop.time()
        self._dialogue.receive(data)
        if self._resting is None:
            self._go_on()
        elif self._dialogue.waiting_bytes > BUFFER_BYTES_MAX:
            self._transport.pause_reading()

    def _go_on(self) -> None:
        latency_s = self._receiver.faults.latency_s
        # What follows a mail whose reply is lost, or late, has not been read then.
        alone = latency_s or self._receiver.faults.reply_lost
        turn = self._dialogue.advance(mails_max=1 if alone else MAILS_MAX)
        if latency_s and turn.mails:
            self._resting = self._loop.call_later(latency_s, self._go_on_after, turn)
        else:
            self._answer(turn)

    def _go_on_after(self, turn: Turn) -> None:
        self._resting = None
        self._transport.resume_reading()
        self._answer(turn)

    def _answer(self, turn: Turn) -> None:
        replies, is_over = self._receiver.take(turn)
        if replies:
            self._transport.write(replies)
        if is_over:
            self._transport.close()
        elif turn.mails and self._dialogue.waiting_bytes and not self._transport.is_closing():
            # It stopped after as many mails as a turn may have; another connection comes between.
            self._resting = self._loop.call_later(0, self._go_on_again)

    def _go_on_again(self) -> None:
        self._resting = None
        self._go_on()

    def _end_if_idle(self) -> None:
        left = self._last_at + IDLE_S - self._loop.time()
        if left <= 0:
            self._transport.close()
        else:
            self._idle = self._loop.call_later(left, self._end_if_idle)
