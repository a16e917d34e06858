"""A server, say a payment provider, that answers what a test tells it: good HTTP or not."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Write = Callable[[bytes], None]
Reply = bytes | Callable[[Write], None]
"""The bytes of an answer, or what writes them."""

JSON = "application/json"


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedProvider:
    """
    `answers`: what is answered to calls whose "METHOD /path" begins with the key; the last of a
    list again and again. Without an answer the connection is reset.
    """

    port: int
    answers: dict[str, list[Reply]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, call: str, *replies: Reply) -> None:
        self.answers[call] = list(replies)

    def count(self, call: str) -> int:
        return sum(f"{each.method} {each.path}".startswith(call) for each in self.calls)

    def reply(self, call: Call) -> Reply | None:
        self.calls.append(call)
        line = f"{call.method} {call.path}"
        for prefix in sorted(self.answers, key=len, reverse=True):
            if line.startswith(prefix):
                replies = self.answers[prefix]
                return replies.pop(0) if len(replies) > 1 else replies[0]
        return None


def http(status: int, body: Any = None, *, kind: str = JSON, **headers: str) -> bytes:
    """An answer; `body` is JSON unless it is bytes. Header names with `_` for `-`."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(content)}"]
    lines += [f"Content-Type: {kind}"] if kind else []
    lines += [f"{name}: {value}" for name, value in named.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


@contextmanager
def scripted_provider() -> Iterator[ScriptedProvider]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        provider = ScriptedProvider(server.getsockname()[1])
        threading.Thread(target=_serve, args=(server, provider), daemon=True).start()
        yield provider


def _serve(server: socket.socket, provider: ScriptedProvider) -> None:
    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_talk, args=(connection, provider), daemon=True).start()


def _talk(connection: socket.socket, provider: ScriptedProvider) -> None:
    with connection, suppress(OSError, ValueError), connection.makefile("rb") as reader:
        while line := reader.readline():
            method, path, _ = line.decode().split(" ", 2)
            headers = {}
            while (header := reader.readline().strip()) and b":" in header:
                name, _, value = header.decode().partition(":")
                headers[name.lower()] = value.strip()
            body = reader.read(int(headers.get("content-length", "0")))

            reply = provider.reply(Call(method, path, headers, body))
            if reply is None:
                return
            if isinstance(reply, bytes):
                connection.sendall(reply)
            else:
                reply(connection.sendall)
                return
