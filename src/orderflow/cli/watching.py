"""`--watch`: ask again each second until Ctrl-C, in place if on a terminal, else line by line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import typer
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from orderflow.cli.output import say, write_json
from orderflow.cli.terminal import Terminal
from orderflow.messaging.errors import OrderflowError

REFRESH_S = 1.0
WIDTH_MAX = 80

Answer = dict[str, Any]
Look = Callable[[], tuple[Answer, RenderableType]]
"""Ask once: the answer for `--json`, and how people see it."""

Patience = Callable[[OrderflowError], float | None]
"""After how many seconds to ask again although that happened; None: never, it will stay so."""


@contextmanager
def until_ctrl_c() -> Iterator[None]:
    """For what runs until Ctrl-C: it has done then what it was to do, ends well, and says so."""
    try:
        yield
    except KeyboardInterrupt:
        say("ended", to_stderr=True)
        raise typer.Exit(0) from None


def watch(console: Terminal, look: Look, *, as_json: bool, patience: Patience) -> None:
    """Look again each second until Ctrl-C; then the command has ended well."""
    rest = Event()
    in_place = console.is_terminal and not as_json
    live = Live(console=console, auto_refresh=False) if in_place else None

    with until_ctrl_c():
        try:
            if live is not None:
                live.start()
            while True:
                rest.wait(_look_once(console, look, live, as_json=as_json, patience=patience))
        finally:
            if live is not None:
                live.stop()


def show(console: Terminal, answer: Answer, shown: RenderableType, *, as_json: bool) -> None:
    """One object and line of JSON, or at most 80 columns."""
    if as_json:
        write_json(answer)
    else:
        console.print(shown, width=min(console.width, WIDTH_MAX))


def _look_once(
    console: Terminal, look: Look, live: Live | None, *, as_json: bool, patience: Patience
) -> float:
    """Show what there is now, or why there is nothing; seconds until the next look."""
    try:
        answer, shown = look()
    except OrderflowError as error:
        rest_s = patience(error)
        if rest_s is None:
            raise
        _show_trouble(error, live)
        return max(REFRESH_S, rest_s)

    if live is not None:
        live.update(shown, refresh=True)
    else:
        show(console, answer, shown, as_json=as_json)
    return REFRESH_S


def _show_trouble(error: OrderflowError, live: Live | None) -> None:
    trouble = Text(str(error), "yellow")
    if live is not None:
        live.update(trouble, refresh=True)
    else:
        Terminal(stderr=True, highlight=False).print(trouble, soft_wrap=True)
