"""Signals of whoever waits at a terminal, for commands that have something to take down."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

AS_CTRL_C = (signal.SIGTERM, signal.SIGHUP)


def all_as_ctrl_c() -> None:
    """SIGTERM, and the end of the terminal, as Ctrl-C: everything is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in AS_CTRL_C:
        # `nohup` ignores the terminal's end on purpose.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """A second Ctrl-C changes nothing as long as the block lasts: it is taking down already."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    # A handler, for children would inherit that a signal is ignored.
    before = {
        number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, *AS_CTRL_C)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
