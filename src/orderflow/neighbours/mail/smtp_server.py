"""The sink's SMTP side, over aiosmtpd, with its faults. Source: RFC 5321, RFC 2920."""

from __future__ import annotations

import asyncio
import random
import re
import socket
from typing import cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from orderflow.neighbours.mail.faults import TAKEN, Faults
from orderflow.neighbours.mail.mailbox import Mailbox

HOSTNAME = "mail.localhost"
MAIL_BYTES_MAX = 262_144
IDLE_S = 300.0

_PLAIN = re.compile(r"<([\w.+=-]+@[\w.-]+)>(.*)", re.ASCII)


class Conversation(SMTP):
    """Reads plain addresses itself: the library's full grammar takes a third of a mail's time."""

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        plain = _PLAIN.fullmatch(arg)
        return (plain[1], plain[2]) if plain else super()._getaddr(arg)


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
        self._mailbox = mailbox
        self._listener = listener
        self._chance = chance
        self._loop = loop
        self._serving: asyncio.Task[asyncio.Server] | None = None

    def start(self) -> None:
        self._serving = self._loop.create_task(
            self._loop.create_server(self._conversation, sock=self._listener)
        )

    def close(self) -> None:
        """Called on another thread than the loop's. Running conversations end with the process."""
        self._loop.call_soon_threadsafe(self._listener.close)

    def _conversation(self) -> SMTP:
        return Conversation(
            self,
            hostname=HOSTNAME,
            ident="Orderflow's mail sink",
            data_size_limit=MAIL_BYTES_MAX,
            enable_SMTPUTF8=True,
            timeout=IDLE_S,
            loop=self._loop,
        )

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self,
        _server: SMTP,
        session: Session,
        _envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        session.host_name = hostname
        # Commands are answered one after the other, in their order: all that pipelining requires.
        return [*responses[:-1], "250-PIPELINING", responses[-1]]

    async def handle_RCPT(  # noqa: N802
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        answer = self.faults.answer_to(address, self._chance)
        if answer == TAKEN:
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        faults = self.faults
        if faults.latency_s:
            await asyncio.sleep(faults.latency_s)
        content = envelope.original_content or b""
        new = self._mailbox.take(envelope.mail_from or "", envelope.rcpt_tos, content)
        if self._chance.random() < faults.reply_lost:
            cast("asyncio.Transport", server.transport).abort()
            await asyncio.Event().wait()  # The end of the connection ends this, too.
        return "250 2.0.0 accepted" if new else "250 2.0.0 known already, dropped"
