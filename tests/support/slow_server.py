"""A server that begins to answer and never comes to an end: by the byte, or as fast as it can."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HOST = "127.0.0.1"


class SlowServer(socketserver.ThreadingTCPServer):
    """
    Sends `begin` at once, then `drip` every `every_s` until the other side has enough.

    `waits_for_request`: not before the first bytes have arrived, as in HTTP.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, begin: bytes, drip: bytes, *, every_s: float, waits_for_request: bool
    ) -> None:
        super().__init__((HOST, 0), _Conversation)
        self.begin, self.drip, self.every_s = begin, drip, every_s
        self.waits_for_request = waits_for_request
        self.is_over = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Conversation(socketserver.BaseRequestHandler):
    server: SlowServer

    def handle(self) -> None:
        server = self.server
        with suppress(OSError):
            if server.waits_for_request:
                self.request.recv(65_536)
            self.request.sendall(server.begin)
            while not server.is_over.wait(server.every_s):
                self.request.sendall(server.drip)


@contextmanager
def slow_server(
    begin: bytes, drip: bytes, *, every_s: float = 0.05, waits_for_request: bool = True
) -> Iterator[SlowServer]:
    server = SlowServer(begin, drip, every_s=every_s, waits_for_request=waits_for_request)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.is_over.set()
        server.shutdown()
        thread.join(10)
        server.server_close()
