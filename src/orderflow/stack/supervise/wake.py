"""Wakes a thread from another thread or from a signal handler, where locks could deadlock."""

from __future__ import annotations

import os
import select


class Wake:
    """An event over a pipe. `set` may be called from anywhere, signal handlers included."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def set(self) -> None:
        try:
            os.write(self._in, b"!")
        except BlockingIOError:
            # The pipe is full of wake-ups: another would add nothing.
            return

    def wait(self, timeout_s: float) -> None:
        """Until `set` was called since the last `wait`, or the time is over."""
        ready, _, _ = select.select([self._out], [], [], timeout_s)
        if ready:
            os.read(self._out, 4096)
