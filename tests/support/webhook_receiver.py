"""A server that takes the provider's webhooks, or refuses them for as long as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

from orderflow.stack.ports import HOST

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class WebhookReceiver:
    """`taken`: the bodies of webhooks with a right signature. `status`: what all are answered."""

    url: str = ""
    status: int = 204
    refused: int = 0
    taken: list[dict[str, Any]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a provider that sends here."""
        return {"ORDERFLOW_PSP__WEBHOOK_URL": self.url, "ORDERFLOW_PSP__WEBHOOK_SECRET": SECRET}


@contextmanager
def webhook_receiver() -> Iterator[WebhookReceiver]:
    receiver = WebhookReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            body = Webhook(SECRET).verify(content, dict(self.headers.items()))
            if receiver.status < 300:
                receiver.taken.append(body)
            else:
                receiver.refused += 1
            self.send_response(receiver.status)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        receiver.url = f"http://{HOST}:{server.server_address[1]}/webhooks/provider"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join(5)
