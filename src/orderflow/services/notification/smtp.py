"""
SMTP as the sender speaks it: one connection, many mails at a time where the server can.

Three ways, by what the server announces. With CHUNKING and PIPELINING a whole flight of mails is
written at once, and its replies are read as they come; with PIPELINING a mail takes two round
trips; else each command waits for its reply. Every wait has an end: `timeout_s` for an answer, and
a deadline for a mail as a whole, however slowly bytes come.

The library's client takes 90 µs for a mail and reads replies through a file, a line at a time,
with a time-out that counts from byte to byte. Source: RFC 5321, RFC 2920, RFC 3030.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator, Sequence

from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.failpoints import failpoint
from orderflow.services.notification.config import SmtpSettings

RESOURCE = "mail"
CLOSING = 421
START_MAIL_INPUT = 354
REASON_MAX = 500
REPLY_BYTES_MAX = 65_536
READ_BYTES = 65_536

Reply = tuple[int, str]
Envelope = tuple[str, bytes]
"""Whom a mail goes to, and its bytes: ASCII, in lines that end with CRLF."""


class ConnectionLost(Exception):
    """The connection broke while a mail was sent: it may have been accepted, or not."""


class SmtpConnection:
    """
    One connection, for one thread at a time.

    Raises Unavailable when the server can't be reached by `until` (monotonic seconds), or takes no
    mail.
    """

    def __init__(self, settings: SmtpSettings, *, until: float) -> None:
        self._settings = settings
        self._wire = _Wire()
        server = f"the mail server at {settings.host}:{settings.port}"

        try:
            self._wire.open(settings, until=until)
            greeting, _ = self._wire.reply()
            self._wire.send(f"EHLO {settings.sender.rpartition('@')[2]}\r\n".encode("ascii"))
            hello, words = self._wire.reply()
        except OSError as error:
            self.close()
            why = f"{server} can't be reached: {error_text(error)}"
            raise Unavailable(why, resource=RESOURCE, reason="can't be reached") from error
        if greeting != 220 or hello != 250:
            self.close()
            raise Unavailable(
                f"{server} takes no mail: {greeting}, {hello}",
                resource=RESOURCE,
                reason=f"takes no mail: it answers {greeting}, {hello}",
            )

        announced = {line.partition(" ")[0].upper() for line in words.split("\n")[1:]}
        self._wire.timeout_s = settings.timeout_s
        self._pipelined = "PIPELINING" in announced
        self._chunked = self._pipelined and "CHUNKING" in announced

    def send(
        self, mails: Sequence[Envelope], *, first_until: float, until: float
    ) -> Iterator[Reply]:
        """
        Send mails; yields the server's reply about each, or about its recipient, in their order.

        The first one has its reply by `first_until`, the next ones twice `timeout_s` after the one
        before, and all by `until`, in monotonic seconds. Raises Unavailable when a reply is about
        neither, ConnectionLost when there is none: then it may have that mail, and those behind it.
        """
        self._wire.until = first_until
        try:
            for code, words in self._fly(mails) if self._chunked else self._go(mails):
                yield code, words.replace("\n", " ")[:REASON_MAX]
                self._wire.until = min(until, time.monotonic() + self._settings.letter_within_s)
        except OSError as error:
            raise ConnectionLost(error_text(error)) from error

    def close(self) -> None:
        self._wire.close()

    def _fly(self, mails: Sequence[Envelope]) -> Iterator[Reply]:
        """All mails at once, each behind a RSET: a refused chunk leaves an unknown state."""
        sender = self._settings.sender.encode("ascii")
        flight = b"".join(
            [
                b"RSET\r\nMAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nBDAT %d LAST\r\n%b"
                % (sender, to.encode("ascii"), len(mail), mail)
                for to, mail in mails
            ]
        )

        self._wire.send(flight)
        for _ in mails:
            self._reply()
            replies = _check_sender(self._reply()), self._reply(), self._reply_to_mail()
            yield next((reply for reply in replies if reply[0] >= 400), replies[-1])

    def _go(self, mails: Sequence[Envelope]) -> Iterator[Reply]:
        """One mail after the other."""
        for to, mail in mails:
            yield self._transact(to, mail)

    def _transact(self, to: str, mail: bytes) -> Reply:
        replies = self._commands(f"MAIL FROM:<{self._settings.sender}>", f"RCPT TO:<{to}>", "DATA")
        _check_sender(replies[0])

        if len(replies) == 3 and replies[2][0] == START_MAIL_INPUT:
            if replies[1][0] >= 400:
                # Pipelined: the recipient was refused, and the server waits for the mail all the
                # same. An empty one ends DATA; the server refuses it, since it has no recipient.
                self._wire.send(b".\r\n")
                self._wire.reply()
                return replies[1]
            self._wire.send(dotted(mail))
            return self._reply_to_mail()

        self._commands("RSET")
        return next(reply for reply in replies if reply[0] >= 400)

    def _commands(self, *commands: str) -> list[Reply]:
        """The replies in the order of the commands; unless pipelined, up to the first refusal."""
        if self._pipelined:
            self._wire.send("".join(f"{command}\r\n" for command in commands).encode("ascii"))
            return [self._reply() for _ in commands]

        replies: list[Reply] = []
        for command in commands:
            self._wire.send(f"{command}\r\n".encode("ascii"))
            replies.append(self._reply())
            if replies[-1][0] >= 400:
                break
        return replies

    def _reply_to_mail(self) -> Reply:
        reply = self._wire.reply()
        # A death here: the server has the mail, and nothing of it is recorded.
        failpoint("notification.after_data")
        return _check_open(reply)

    def _reply(self) -> Reply:
        return _check_open(self._wire.reply())


class _Wire:
    """Bytes and replies. Every wait ends after `timeout_s`, and at `until` at the latest."""

    def __init__(self) -> None:
        self.timeout_s = self.until = float("inf")
        self._socket: socket.socket | None = None
        self._received = bytearray()

    def open(self, settings: SmtpSettings, *, until: float) -> None:
        self.timeout_s, self.until = settings.connect_timeout_s, until
        self._socket = socket.create_connection((settings.host, settings.port), self._left_s())
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def send(self, data: bytes) -> None:
        self._limited().sendall(data)

    def reply(self) -> Reply:
        """The next reply: its code, and the words of its lines, separated by newlines."""
        lines: list[str] = []
        size = 0
        while True:
            line = self._line()
            size += len(line)
            # A line that is no reply, or a reply without an end.
            if size > REPLY_BYTES_MAX or not line[:3].isdigit():
                raise _broken(errno.EPROTO)
            lines.append(line[4:].decode(errors="replace").strip())
            if line[3:4] != b"-":
                return int(line[:3]), "\n".join(lines)

    def _line(self) -> bytes:
        received = self._received
        while (end := received.find(b"\n")) < 0:
            if len(received) > REPLY_BYTES_MAX:
                raise _broken(errno.EMSGSIZE)
            data = self._limited().recv(READ_BYTES)
            if not data:
                raise _broken(errno.ECONNRESET)
            received += data
        line = bytes(received[:end])
        del received[: end + 1]
        return line

    def _limited(self) -> socket.socket:
        if self._socket is None:
            raise _broken(errno.ENOTCONN)
        self._socket.settimeout(self._left_s())
        return self._socket

    def _left_s(self) -> float:
        left = min(self.timeout_s, self.until - time.monotonic())
        if left <= 0:
            raise _broken(errno.ETIMEDOUT)
        return left


def dotted(mail: bytes) -> bytes:
    """What follows DATA: a line's first dot is doubled, and a dot alone ends the mail."""
    stuffed = mail.replace(b"\r\n.", b"\r\n..")
    return (b"." if mail.startswith(b".") else b"") + stuffed + b".\r\n"


def _broken(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _check_sender(reply: Reply) -> Reply:
    """Raise Unavailable when the server refuses the sender: no letter is to blame for that."""
    if reply[0] >= 500:
        raise Unavailable(
            f"the mail server refuses the sender: code {reply[0]}",
            resource=RESOURCE,
            reason="refuses our sender: see ORDERFLOW_NOTIFICATION__SMTP__SENDER",
        )
    return reply


def _check_open(reply: Reply) -> Reply:
    if reply[0] == CLOSING:
        why = f"the mail server is closing: code {reply[0]}"
        raise Unavailable(why, resource=RESOURCE, reason="is closing")
    return reply
