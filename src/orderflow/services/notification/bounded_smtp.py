"""
SMTP whose conversations have an end.

The library's time-out counts from byte to byte: a server that sends a byte, or a line of a reply
without end, now and then would be waited for without end.
"""

from __future__ import annotations

import smtplib
import socket
import time
from typing import Any


class Deadline:
    """When a conversation must have ended, in monotonic seconds."""

    def __init__(self) -> None:
        self.at = float("inf")

    def left(self, timeout_s: float) -> float:
        """At most `timeout_s`. Raises TimeoutError when nothing is left."""
        left = min(timeout_s, self.at - time.monotonic())
        if left <= 0:
            raise TimeoutError("the conversation took too long as a whole")
        return left


class BoundedSmtp(smtplib.SMTP):
    """An SMTP client that keeps to `deadline` besides `timeout_s`, which is for each answer."""

    def __init__(self, *, local_hostname: str, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.deadline = Deadline()
        super().__init__(local_hostname=local_hostname, timeout=timeout_s)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        # The library's own place for another kind of socket: SMTP_SSL does the same.
        plain = socket.create_connection((host, port), self.deadline.left(timeout))
        return _Socket(plain, self)


class _Socket(socket.socket):
    """The connection: every wait ends at the deadline at the latest."""

    def __init__(self, plain: socket.socket, smtp: BoundedSmtp) -> None:
        super().__init__(plain.family, plain.type, plain.proto, fileno=plain.detach())
        self._smtp = smtp

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        self._limit()
        return super().recv_into(*arguments, **options)

    def sendall(self, *arguments: Any) -> None:
        self._limit()
        super().sendall(*arguments)

    def _limit(self) -> None:
        self.settimeout(self._smtp.deadline.left(self._smtp.timeout_s))
