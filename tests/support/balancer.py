"""
A small HTTP balancer before several instances of one API, as a rolling restart needs it.

Each request goes to the next instance over a connection of its own. An instance is taken out before
it is stopped, as a cluster takes a pod out of its endpoints: nobody sends it anything any more, and
what it has is answered. Where no instance is left, the answer is 503 with Retry-After.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.ports import HOST

ANSWER_WITHIN_S = 15.0
DRAINED_WITHIN_S = 15.0
PASSED_ON = ("Content-Type", "Idempotency-Key", "Prefer")
PASSED_BACK = ("Content-Type", "Retry-After", "Location")


class Balancer:
    """
    `answers` counts what clients got, by status; `failed` are requests that no instance answered
    after it had taken them; `without_retry_after` counts 503 that did not say when to come back.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = list(ports)
        self._busy: Counter[int] = Counter()
        self._turn, self._lock = 0, threading.Lock()
        self.answers: Counter[int] = Counter()
        self.failed: list[str] = []
        self.without_retry_after = 0
        self.port = 0

    def take_out(self, port: int) -> None:
        """Returns when the instance has answered what it had."""
        with self._lock:
            self._ports.remove(port)
        eventually(
            lambda: not self._busy[port], within_s=DRAINED_WITHIN_S, why=f"{port} has no request"
        )

    def put_back(self, port: int) -> None:
        with self._lock:
            if port not in self._ports:
                self._ports.append(port)

    def pass_on(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        """The answer of an instance: of the next one, if the first can't be reached."""
        for _ in range(len(self._ports)):
            port = self._next()
            if port is None:
                break
            connection = HTTPConnection(HOST, port, timeout=ANSWER_WITHIN_S)
            try:
                connection.connect()
            except OSError:
                self._done(port)
                continue

            try:
                connection.request(method, path, body, headers)
                # A response that is left half read keeps its socket open.
                with connection.getresponse() as answer:
                    text = answer.read()
                kept = {name: value for name in PASSED_BACK if (value := answer.headers.get(name))}
                return answer.status, kept, text
            except (OSError, HTTPException) as error:
                self.failed.append(f"{method} {path}: {error!r}")
                return 502, {}, b""
            finally:
                connection.close()
                self._done(port)
        return 503, {"Retry-After": "1"}, b""

    def note(self, status: int, headers: dict[str, str]) -> None:
        with self._lock:
            self.answers[status] += 1
            self.without_retry_after += status == 503 and "Retry-After" not in headers

    def _next(self) -> int | None:
        with self._lock:
            if not self._ports:
                return None
            self._turn += 1
            port = self._ports[self._turn % len(self._ports)]
            self._busy[port] += 1
            return port

    def _done(self, port: int) -> None:
        with self._lock:
            self._busy[port] -= 1


@contextmanager
def balancing(ports: Sequence[int]) -> Iterator[Balancer]:
    """A balancer before these ports, on a free port of its own, until the block ends."""
    balancer = Balancer(ports)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            sent = {name: value for name in PASSED_ON if (value := self.headers.get(name))}
            status, headers, text = balancer.pass_on("POST", self.path, body, sent)
            balancer.note(status, headers)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Nothing: a test's output is its own."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    server.daemon_threads = True
    balancer.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield balancer
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
