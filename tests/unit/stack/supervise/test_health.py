"""What a process says of itself is what `orderflow status` says of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orderflow.stack.supervise.component import Command, Component, http_probe
from orderflow.stack.supervise.managed import Managed, State, report


@contextmanager
def answering(status: int, body: Mapping[str, Any]) -> Iterator[int]:
    """A process whose `/readyz` answers this; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_arguments: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join(5)


@pytest.mark.parametrize(
    ("status", "body", "health", "reason"),
    [
        (200, {"ready": True, "reasons": [], "degraded": []}, "ok", ""),
        (200, {"degraded": ["relay: broker: away"]}, "degraded", "relay: broker: away"),
        (503, {"reasons": ["no slot"]}, "failing", "no slot"),
    ],
)
def test_a_process_is_well_degraded_or_failing_as_it_says(
    status: int, body: Mapping[str, Any], health: str, reason: str
) -> None:
    with answering(status, body) as port:
        component = Component(
            name="order-relay",
            service="order",
            role="relay",
            command=lambda: Command(argv=("true",)),
            probe=http_probe(port, "/readyz"),
        )
        child: Any = SimpleNamespace(pid=1, is_alive=True)
        managed = Managed(component, Path("order-relay.log"))
        managed.child, managed.state = child, State.RUNNING
        row = report(managed)
    assert (row.health, row.reason, type(row.reason)) == (health, reason, str)


def test_a_process_that_is_only_degraded_has_started(tmp_path: Path) -> None:
    with answering(200, {"degraded": ["relay: broker: away"]}) as port:
        component = Component(
            name="order-relay",
            service="order",
            role="relay",
            command=lambda: Command(argv=("true",)),
            probe=http_probe(port, "/readyz"),
        )
        child: Any = SimpleNamespace(pid=1, is_alive=True)
        managed = Managed(component, tmp_path / "order-relay.log")
        managed.child, managed.state, managed.deadline = child, State.STARTING, float("inf")
        managed.check_start()
    assert (managed.state, managed.reason) == (State.RUNNING, "")
