"""`orderflow mail`: what the local mail sink got."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import httpx2
import msgspec
import typer
from rich.text import Text

from orderflow.cli.local import way_back
from orderflow.cli.output import printable, write_json
from orderflow.cli.terminal import Terminal
from orderflow.messaging.errors import OrderflowError
from orderflow.stack.addresses import mail_url
from orderflow.stack.lifecycle import current

TIMEOUT_S = 10.0


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
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per mail and line.")
    ] = False,
) -> None:
    """
    Show what the local mail sink got, in the order in which it was accepted: nothing leaves this
    machine.

    \b
    Examples:
      orderflow mail --order 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10
      orderflow mail --customer customer-123 --json
    """
    console = Terminal(soft_wrap=True, highlight=False)
    count = 0

    for message in _mails(mail_url(current()), {"orderId": order, "customerId": customer}):
        count += 1
        if as_json:
            write_json(message)
        else:
            console.print(_shown(message))
    if not count:
        Terminal(stderr=True, highlight=False).print("no such mail yet", style="dim")


def _mails(url: str, filters: dict[str, str]) -> Iterator[Mail]:
    cursor: str | None = ""
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
