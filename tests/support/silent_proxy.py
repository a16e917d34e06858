"""A TCP proxy that falls silent: connections stay open, bytes are acknowledged, nothing passes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HOST = "127.0.0.1"
CHUNK_BYTES = 65_536


class SilentProxy:
    """
    Forwards to `target_port` until it is told to `fall_silent`; `speak` lets bytes pass again.

    A connection that lost a byte stays silent for good, as one whose state a firewall has
    forgotten: its peers must open another. `answers_only`: what clients send still arrives.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._is_silent = self._answers_only = False
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_open, self._close = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="silent-proxy", daemon=True)
        self.port = 0
        self.accepted = 0

    def fall_silent(self, *, answers_only: bool = False) -> None:
        self._is_silent, self._answers_only = True, answers_only

    def speak(self) -> None:
        self._is_silent = False

    def open(self) -> None:
        self._thread.start()
        assert self._is_open.wait(10), "the proxy does not listen"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._close.set)
        self._thread.join(10)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._is_open.set()
        await self._close.wait()

        server.close()
        for writer in self._writers:
            writer.transport.abort()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self._writers.add(client_writer)
        self.accepted += 1
        with suppress(OSError, asyncio.CancelledError):
            reader, writer = await asyncio.open_connection(HOST, self._target_port)
            self._writers.add(writer)
            await asyncio.gather(
                self._pass(client_reader, writer, is_answer=False),
                self._pass(reader, client_writer, is_answer=True),
            )
            self._writers.discard(writer)
        self._writers.discard(client_writer)
        self._connections.discard(task)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        lost = False
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                lost |= self._is_silent and (is_answer or not self._answers_only)
                if not lost:
                    writer.write(data)
                    await writer.drain()
        # A close does not pass a silent proxy either.
        if lost:
            await self._close.wait()
        writer.close()


@contextmanager
def silent_proxy(target_port: int) -> Iterator[SilentProxy]:
    proxy = SilentProxy(target_port)
    proxy.open()
    try:
        yield proxy
    finally:
        proxy.close()
