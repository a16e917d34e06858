"""
SMTP as a server speaks it, without a socket: bytes in, replies and whole mails out.

Commands may come many at a time (PIPELINING), and a mail after `DATA` or in chunks (`BDAT`, with
CHUNKING). Every command has its reply, in the commands' order.
Source: RFC 5321, RFC 1870, RFC 2920, RFC 3030.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from orderflow.neighbours.mail.mailbox import Mail

HOSTNAME = "mail.localhost"
MAIL_BYTES_MAX = 262_144
LINE_BYTES_MAX = 2_048

_PATH = re.compile(rb"(?:FROM|TO):\s*<([^<>\s]*)>(?:\s.*)?", re.IGNORECASE | re.DOTALL)
_CHUNK = re.compile(rb"(\d{1,9})(\s+LAST)?\s*", re.IGNORECASE)

_GREETING = f"220 {HOSTNAME} Orderflow's mail sink\r\n".encode()
_HELLO = f"""\
250-{HOSTNAME}
250-SIZE {MAIL_BYTES_MAX}
250-8BITMIME
250-SMTPUTF8
250-PIPELINING
250-CHUNKING
250 HELP
""".replace("\n", "\r\n").encode()
_OK = b"250 2.0.0 OK\r\n"
_CHUNK_TAKEN = b"250 2.0.0 chunk taken\r\n"
_ACCEPTED = b"250 2.0.0 accepted\r\n"
_KNOWN = b"250 2.0.0 known already, dropped\r\n"
_NOT_KEPT = b"452 4.3.1 the mail could not be kept\r\n"
_BYE = b"221 2.0.0 bye\r\n"
_GO_ON = b"354 end with a line that has a dot alone\r\n"
_TOO_LONG = b"500 5.5.2 this line is too long\r\n"
_UNKNOWN = b"500 5.5.2 no such command\r\n"
_NO_PATH = b"501 5.5.4 an address in angle brackets is missing\r\n"
_NO_SIZE = b"501 5.5.4 BDAT needs a size\r\n"
_OUT_OF_ORDER = b"503 5.5.1 not in this order\r\n"
_NO_RECIPIENT = b"503 5.5.1 no recipient was taken\r\n"
_TOO_BIG = f"552 5.3.4 a mail has at most {MAIL_BYTES_MAX} bytes\r\n".encode()


class Turn(msgspec.Struct):
    """
    What one step of a conversation came to: `replies` in their order, where each mail of `mails`
    has an empty place at its index in `places`. `is_over`: nothing is read after it.
    """

    replies: list[bytes] = []
    mails: list[Mail] = []
    places: list[int] = []
    is_over: bool = False

    def fill(self, verdicts: list[bool] | None) -> bytes:
        """All replies, given for each mail whether it was new; None: none of them could be kept."""
        for index, place in enumerate(self.places):
            if verdicts is None:
                self.replies[place] = _NOT_KEPT
            else:
                self.replies[place] = _ACCEPTED if verdicts[index] else _KNOWN
        return b"".join(self.replies)


class Dialogue:
    """
    One conversation. `answer_to`: the reply to a recipient, a code and words.

    `receive` takes bytes, `advance` turns what is there into replies. A mail that is too big is
    read to its end, and refused; nothing else is kept of it.
    """

    def __init__(self, answer_to: Callable[[str], str]) -> None:
        self._answer_to = answer_to
        self._buffer = bytearray()
        self._at = 0
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._chunks: list[bytes] = []
        self._size = 0
        # How the next bytes are read: a command, the lines of a mail, or so many bytes of a chunk.
        self._is_data = False
        self._chunk_left: int | None = None
        self._is_last = False

    @property
    def greeting(self) -> bytes:
        return _GREETING

    @property
    def waiting_bytes(self) -> int:
        """How much was received and not read yet."""
        return len(self._buffer)

    def receive(self, data: bytes) -> None:
        self._buffer += data

    def advance(self, *, mails_max: int) -> Turn:
        """Read what is there, up to the end of so many mails."""
        turn = Turn()
        while not turn.is_over and len(turn.mails) < mails_max and self._step(turn):
            pass

        del self._buffer[: self._at]
        self._at = 0
        return turn

    def _step(self, turn: Turn) -> bool:
        """Read one command, or the body that it announced. False if it is not whole yet."""
        if self._is_data:
            return self._read_data(turn)
        if self._chunk_left is not None:
            return self._read_chunk(turn)

        end = self._buffer.find(b"\n", self._at)
        if end < 0:
            if len(self._buffer) - self._at > LINE_BYTES_MAX:
                turn.replies.append(_TOO_LONG)
                turn.is_over = True
            return False
        line = bytes(self._buffer[self._at : end]).rstrip(b"\r")
        self._at = end + 1

        verb, _, argument = line.partition(b" ")
        command = _COMMANDS.get(verb) or _COMMANDS.get(verb.upper())
        turn.replies.append(_UNKNOWN if command is None else command(self, argument, turn))
        return True

    def _read_data(self, turn: Turn) -> bool:
        """The lines of a mail up to the dot alone, without the dots that were put before dots."""
        buffer, begin = self._buffer, self._at
        if buffer.startswith(b".\r\n", begin) and not self._size:
            end, rest = begin, begin + 3
        else:
            end = buffer.find(b"\r\n.\r\n", begin)
            if end < 0:
                # The end may lie across what is here and what is to come.
                self._drop_beyond(begin, len(buffer) - 4)
                return False
            end, rest = end + 2, end + 5

        content = bytes(buffer[begin:end])
        self._size += len(content)
        self._at, self._is_data = rest, False
        if b"\r\n." in content or content.startswith(b"."):
            content = (b"\r\n" + content).replace(b"\r\n.", b"\r\n")[2:]
        self._chunks.append(content)
        self._finish(turn)
        return True

    def _drop_beyond(self, begin: int, end: int) -> None:
        if end - begin > MAIL_BYTES_MAX or self._size > MAIL_BYTES_MAX:
            self._size += max(0, end - begin)
            self._at = max(begin, end)

    def _read_chunk(self, turn: Turn) -> bool:
        assert self._chunk_left is not None
        there = min(self._chunk_left, len(self._buffer) - self._at)
        whole = there == self._chunk_left
        if not whole and self._size <= MAIL_BYTES_MAX:
            return False

        if self._recipients and self._size <= MAIL_BYTES_MAX:
            self._chunks.append(bytes(self._buffer[self._at : self._at + there]))
        self._at += there
        self._chunk_left -= there
        if not whole:
            return False
        self._chunk_left = None

        if not self._recipients:
            turn.replies.append(_NO_RECIPIENT)
        elif self._is_last:
            self._finish(turn)
        else:
            turn.replies.append(_CHUNK_TAKEN)
        return True

    def _finish(self, turn: Turn) -> None:
        """The mail is whole: its reply has to wait until it is kept."""
        if self._size > MAIL_BYTES_MAX:
            turn.replies.append(_TOO_BIG)
        else:
            content = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            turn.places.append(len(turn.replies))
            turn.replies.append(b"")
            turn.mails.append(Mail(self._sender or "", tuple(self._recipients), content))
        self._forget()

    def _forget(self) -> None:
        self._sender, self._recipients, self._chunks, self._size = None, [], [], 0

    def _hello(self, _argument: bytes, _turn: Turn) -> bytes:
        self._forget()
        return _HELLO

    def _old_hello(self, _argument: bytes, _turn: Turn) -> bytes:
        self._forget()
        return f"250 {HOSTNAME}\r\n".encode()

    def _mail(self, argument: bytes, _turn: Turn) -> bytes:
        path = _PATH.fullmatch(argument)
        if path is None:
            return _NO_PATH
        if self._sender is not None:
            return _OUT_OF_ORDER
        self._sender = path[1].decode(errors="replace")
        return _OK

    def _recipient(self, argument: bytes, _turn: Turn) -> bytes:
        path = _PATH.fullmatch(argument)
        if path is None or not path[1]:
            return _NO_PATH
        if self._sender is None:
            return _OUT_OF_ORDER

        address = path[1].decode(errors="replace")
        answer = self._answer_to(address)
        if answer.startswith("2"):
            self._recipients.append(address)
        return f"{answer}\r\n".encode()

    def _data(self, _argument: bytes, _turn: Turn) -> bytes:
        if self._sender is None or self._chunks:
            return _OUT_OF_ORDER
        if not self._recipients:
            return _NO_RECIPIENT
        self._is_data = True
        return _GO_ON

    def _chunk(self, argument: bytes, turn: Turn) -> bytes:
        """Nothing is replied to the command: its reply comes after the bytes of the chunk."""
        chunk = _CHUNK.fullmatch(argument)
        if chunk is None:
            # How many bytes follow is not known, so neither is where the next command begins.
            turn.is_over = True
            return _NO_SIZE
        self._chunk_left, self._is_last = int(chunk[1]), chunk[2] is not None
        self._size += self._chunk_left
        return b""

    def _reset(self, _argument: bytes, _turn: Turn) -> bytes:
        self._forget()
        return _OK

    def _nothing(self, _argument: bytes, _turn: Turn) -> bytes:
        return _OK

    def _quit(self, _argument: bytes, turn: Turn) -> bytes:
        turn.is_over = True
        return _BYE


_COMMANDS: Mapping[bytes, Callable[[Dialogue, bytes, Turn], bytes]] = {
    b"EHLO": Dialogue._hello,  # noqa: SLF001 - the table of its methods
    b"HELO": Dialogue._old_hello,  # noqa: SLF001
    b"MAIL": Dialogue._mail,  # noqa: SLF001
    b"RCPT": Dialogue._recipient,  # noqa: SLF001
    b"DATA": Dialogue._data,  # noqa: SLF001
    b"BDAT": Dialogue._chunk,  # noqa: SLF001
    b"RSET": Dialogue._reset,  # noqa: SLF001
    b"NOOP": Dialogue._nothing,  # noqa: SLF001
    b"HELP": Dialogue._nothing,  # noqa: SLF001
    b"QUIT": Dialogue._quit,  # noqa: SLF001
}
