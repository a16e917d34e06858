"""Set-up's output: a line for each finished step; on a terminal also the step that runs now."""
# ruff: noqa: T201

from __future__ import annotations

import sys
import time
from collections.abc import Callable

CLEAR = "\r\033[K"
WIDTH_MAX = 78


class Screen:
    """Steps as they finish, on stderr, so that stdout stays for what was asked for."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._frame = 0

    def title(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def done(self, what: str, took_s: float, detail: str = "") -> None:
        tick = "\033[32m✓\033[0m" if self._live else "✓"
        clear = CLEAR if self._live else ""
        print(
            f"{clear}  {tick} {what:<22} {took_s:5.1f} s  {detail}".rstrip(),
            file=sys.stderr,
            flush=True,
        )

    def working(self, text: str) -> None:
        """Replaces the last such line; nothing where nobody watches."""
        if self._live:
            self._frame += 1
            mark = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"[self._frame % 10]
            print(
                f"{CLEAR}  {mark} {text}"[: WIDTH_MAX + len(CLEAR)],
                end="",
                file=sys.stderr,
                flush=True,
            )

    def clear(self) -> None:
        if self._live:
            print(CLEAR, end="", file=sys.stderr, flush=True)


def watch(screen: Screen, finished: Callable[[], bool], text: Callable[[], str]) -> None:
    """Show what is going on until it is finished."""
    while not finished():
        screen.working(text())
        time.sleep(0.1)
