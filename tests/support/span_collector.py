"""A back end for spans: keeps what is posted to it, or refuses it for as long as a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = "127.0.0.1"


@dataclass
class SpanCollector:
    """`posts`: path, content type and body of what was taken. `status`: what all are answered."""

    url: str = ""
    status: int = 202
    refused: int = 0
    posts: list[tuple[str, str, bytes]] = field(default_factory=list)

    @property
    def zipkin_spans(self) -> list[dict[str, Any]]:
        return [span for _, _, body in list(self.posts) for span in json.loads(body)]


@contextmanager
def span_collector() -> Iterator[SpanCollector]:
    collector = SpanCollector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if collector.status < 300:
                collector.posts.append((self.path, self.headers["Content-Type"], body))
            else:
                collector.refused += 1
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Server((HOST, 0), Handler) as server:
        collector.url = f"http://{HOST}:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join(5)
