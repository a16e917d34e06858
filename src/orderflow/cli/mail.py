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
    nothing leaves this machine.

    \b
    Examples:
      orderflow mail --last 3
      orderflow mail --follow
      orderflow mail --order 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10 --all
      orderflow mail --customer customer-123 --json
    """
    url = mail_url(current())
    filters = {"orderId": order, "customerId": customer}
    there, after = _newest(url, filters, None if everything else last)

    if as_json and not keep_on:
        write_json_list(there)
        return
    for message in there:
        _print(message, as_json=as_json)
    if not there:
        Terminal(stderr=True, highlight=False).print("no such mail yet", style="dim")
    if keep_on:
        with until_ctrl_c():
            _follow(url, filters, after, as_json=as_json)


def _print(message: Mail, *, as_json: bool) -> None:
    if as_json:
        write_json(message)
    else:
        Terminal(soft_wrap=True, highlight=False).print(_shown(message))


def _newest(url: str, filters: dict[str, str], most: int | None) -> tuple[list[Mail], int]:
    """The newest mails, and the number of the last that was looked at."""
    after = 0
    kept: deque[Mail] = deque(maxlen=most)
    for message in _mails(url, filters, after=0):
        kept.append(message)
        after = message.number
    return list(kept), after


def _follow(url: str, filters: dict[str, str], after: int, *, as_json: bool) -> None:
    """Those that come after that number, until Ctrl-C."""
    rest = Event()
    while True:
        for message in _mails(url, filters, after=after):
            _print(message, as_json=as_json)
            after = message.number
        rest.wait(ASK_EVERY_S)


def _mails(url: str, filters: dict[str, str], *, after: int) -> Iterator[Mail]:
    cursor: str | None = str(after)
    with httpx2.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False) as client:
        while cursor is not None:
            page = _page(
                client,
                {**{name: value for name, value in filters.items() if value}, "cursor": cursor},
            )
            yield from page.items
            cursor = page.next_cursor


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
    often = "" if message.offered == 1 else f"  offered {message.offered} times, kept once"
    return Text.assemble(
        (f"{message.at:%Y-%m-%d %H:%M:%S.%f}"[:-3], "dim"),
        "  ",
        (printable(", ".join(message.to)), "cyan"),
        "  ",
        (printable(message.subject), "bold"),
        (often, "yellow"),
        (f"\n  Message-ID {printable(message.message_id)}\n", "dim"),
        "\n".join(f"  {printable(line)}" for line in message.text.rstrip().splitlines()),
        "\n",
    )
