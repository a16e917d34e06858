"""`orderflow mail`: what the local mail sink got."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from threading import Event
from typing import Annotated, Any

import httpx2
import msgspec
import typer
from rich.text import Text

from orderflow.cli.local import way_back
from orderflow.cli.output import printable, write_json, write_json_list
from orderflow.cli.terminal import Terminal
from orderflow.cli.watching import until_ctrl_c
from orderflow.messaging.errors import OrderflowError
from orderflow.stack.addresses import mail_url
from orderflow.stack.lifecycle import current

TIMEOUT_S = 10.0
ASK_EVERY_S = 0.5
LAST = 20
SHORT = 12
"""So much of an order's id tells orders apart: what is random in it stands at its end."""


class Mail(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`offered`: how often its Message-ID came; the sink keeps the first and drops the others."""

    number: int
    at: datetime
    message_id: str
    to: tuple[str, ...]
    subject: str
    text: str
    order_id: str
    customer_id: str
    offered: int


class Page(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[Mail, ...]
    next_cursor: str | None


def mail(
    order: Annotated[str, typer.Option("--order", help="Only mails about this order.")] = "",
    customer: Annotated[str, typer.Option("--customer", help="Only mails to this customer.")] = "",
    last: Annotated[
        int, typer.Option("--last", "-n", min=1, help="How many of them, the newest.")
    ] = LAST,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    keep_on: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as mails arrive, until Ctrl-C.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON array; with -f one object per line.")
    ] = False,
) -> None:
    """
    Show the last mails that the local mail sink got, in the order in which it accepted them:
    nothing leaves this machine. An order's id is shown once, its end; --json has all of it.

    \b
    Examples:
      orderflow mail --last 3
      orderflow mail --follow
      orderflow mail --order 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10 --all
      orderflow mail --customer customer-123 --json
    """
    mails = _Mails(mail_url(current()), {"orderId": order, "customerId": customer})
    there = list(deque(mails.more(), maxlen=None if everything else last))

    if as_json and not keep_on:
        write_json_list(there)
        return
    for message in there:
        _print(message, as_json=as_json)
    if not there:
        Terminal(stderr=True, highlight=False).print("no such mail yet", style="dim")
    if keep_on:
        with until_ctrl_c():
            _follow(mails, as_json=as_json)


def _print(message: Mail, *, as_json: bool) -> None:
    if as_json:
        write_json(message)
    else:
        Terminal(soft_wrap=True, highlight=False).print(_shown(message))


class _Mails:
    """The sink's mails, each once. It has no cursor for its end: the last page is read again."""

    def __init__(self, url: str, filters: dict[str, str]) -> None:
        self._url = url
        self._filters = {name: value for name, value in filters.items() if value}
        self._cursor = ""
        self._number = 0

    def more(self) -> Iterator[Mail]:
        """Those that came since the last call."""
        with httpx2.Client(base_url=self._url, timeout=TIMEOUT_S, trust_env=False) as client:
            next_cursor: str | None = self._cursor
            while next_cursor is not None:
                self._cursor = next_cursor
                page = _page(client, {**self._filters, "cursor": self._cursor})
                for message in page.items:
                    if message.number > self._number:
                        self._number = message.number
                        yield message
                next_cursor = page.next_cursor


def _follow(mails: _Mails, *, as_json: bool) -> None:
    """Those that come from now on, until Ctrl-C."""
    rest = Event()
    while True:
        for message in mails.more():
            _print(message, as_json=as_json)
        rest.wait(ASK_EVERY_S)


def _page(client: httpx2.Client, parameters: dict[str, Any]) -> Page:
    try:
        answer = client.get("/messages", params=parameters)
        answer.raise_for_status()
    except httpx2.HTTPError as error:
        raise OrderflowError(
            f"the mail sink at {client.base_url} did not answer ({error or type(error).__name__}): "
            f"{way_back('mail')}"
        ) from error
    return msgspec.json.decode(answer.content, type=Page)


def _shown(message: Mail) -> Text:
    """Within 80 columns, but for an address or a text that is wider; the order's id once, short."""
    short = f"…{message.order_id[-SHORT:]}" if len(message.order_id) > SHORT else message.order_id
    is_named = bool(message.order_id) and message.order_id in message.subject
    subject = message.subject.replace(message.order_id, short) if is_named else message.subject
    about = "" if is_named or not short else f"  order {short}"
    often = "" if message.offered == 1 else f"  offered {message.offered} times, kept once"

    return Text.assemble(
        (f"{message.at:%Y-%m-%d %H:%M:%S.%f}"[:-3], "dim"),
        "  ",
        (printable(", ".join(message.to)), "cyan"),
        printable(about),
        (often, "yellow"),
        (f"\n  {printable(subject)}", "bold"),
        (f"\n  Message-ID {printable(message.message_id)}\n", "dim"),
        "\n".join(f"  {printable(line)}" for line in message.text.rstrip().splitlines() if line),
        "\n",
    )
