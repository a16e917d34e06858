"""
Control of the supervisor: JSON messages over a Unix socket that its owner alone may use.

One request a connection: `{"do": …}`, then one reply or, for `up` and `down`, a stream of events
that ends with `ready`, `failed` or `stopped`. The socket is in the instance's directory.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from orderflow.messaging.errors import OrderflowError

SOCKET = "control"
NOT_RUNNING = "the local stack is not running: start it with `orderflow up`"

Message = dict[str, Any]
Handler = Callable[[Message], Iterable[Message]]


class NotRunning(OrderflowError):
    """No supervisor answers for this instance."""


def ask(directory: Path, request: Message) -> Iterator[Message]:
    """The supervisor's answers. Raises NotRunning if there is none, or if it dies midway."""
    caller = socket.socket(socket.AF_UNIX)
    try:
        with _short_name(directory) as name:
            caller.connect(name)
    except (FileNotFoundError, ConnectionRefusedError):
        caller.close()
        raise NotRunning(NOT_RUNNING) from None

    with Connection(caller.detach()) as connection:
        _send(connection, request)
        while True:
            try:
                message = _receive(connection)
            except (EOFError, ConnectionResetError):
                raise NotRunning(
                    "the supervisor ended without a word: see its log with `orderflow logs`"
                ) from None
            if message.get("event") == "end":
                return
            yield message


def answers(directory: Path) -> bool:
    """Whether a supervisor is there."""
    try:
        return bool(list(ask(directory, {"do": "ping"})))
    except NotRunning:
        return False


class ControlServer:
    """Answers on threads of its own, one per connection, with the messages of the handler."""

    def __init__(self, directory: Path, handler: Handler) -> None:
        self._path = directory / SOCKET
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        with _short_name(directory) as name:
            self._listener.bind(name)
        self._listener.listen()
        self._path.chmod(0o600)
        self._handler = handler
        self._talks: list[threading.Thread] = []
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def close(self, *, within_s: float = 5.0) -> None:
        """Let running answers end, then take the socket away."""
        self._path.unlink(missing_ok=True)
        for talk in self._talks:
            talk.join(within_s)

    def _accept(self) -> None:
        while True:
            caller, _ = self._listener.accept()
            self._talks = [talk for talk in self._talks if talk.is_alive()]
            talk = threading.Thread(
                target=self._talk, args=(Connection(caller.detach()),), daemon=True
            )
            self._talks.append(talk)
            talk.start()

    def _talk(self, connection: Connection) -> None:
        with connection:
            try:
                for message in self._handler(_receive(connection)):
                    _send(connection, message)
                _send(connection, {"event": "end"})
            except (EOFError, OSError):
                # The client has gone: nobody reads the answer.
                return


def _send(connection: Connection, message: Message) -> None:
    connection.send_bytes(json.dumps(message).encode())


def _receive(connection: Connection) -> Message:
    message = json.loads(connection.recv_bytes())
    assert isinstance(message, dict)
    return message


@contextmanager
def _short_name(directory: Path) -> Iterator[str]:
    """
    The socket's name by a directory handle.

    A socket's name may have 107 bytes, which the directory's own name may exceed.
    """
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{SOCKET}"
    finally:
        os.close(handle)
