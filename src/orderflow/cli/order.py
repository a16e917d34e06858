"""`orderflow order ID`: an order's whole state. `orderflow orders`: the newest orders."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import typer

from orderflow.cli.api_client import Api
from orderflow.cli.order_state import listed, shown, state_of
from orderflow.cli.output import write_json, write_json_list
from orderflow.cli.terminal import Terminal
from orderflow.cli.trace.command import (
    RECORDS_MAX,
    FulfilmentUrl,
    InventoryUrl,
    NotificationUrl,
    OrderId,
    PaymentUrl,
    RecordsMax,
    Url,
    is_unasked,
    story_at,
)

LAST = 20


def order(
    order_id: OrderId,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="The state as one JSON object.")] = False,
    records_max: RecordsMax = RECORDS_MAX,
    url: Url = "",
    payment_url: PaymentUrl = "",
    inventory_url: InventoryUrl = "",
    notification_url: NotificationUrl = "",
    fulfilment_url: FulfilmentUrl = "",
) -> None:
    """
    An order's whole state: what it waits for and whose turn it is, its payments with why they
    failed or that nobody knows yet, its stock, its shipment, its mails, its records with the places
    where they are, and its dead letters.

    Exit 0 if everybody could be asked; 1 if not, or if there is no such order. How it came to this
    state, `orderflow trace` tells.

    \b
    Examples:
      orderflow order 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10
      orderflow order 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10 --json | jq .payments
    """
    others = {
        "payment": payment_url,
        "inventory": inventory_url,
        "notification": notification_url,
        "fulfilment": fulfilment_url,
    }

    story = story_at(order_id, url, others, logs=None, records_max=records_max)
    if as_json:
        write_json(state_of(story))
    else:
        console = Terminal(soft_wrap=True, highlight=False)
        console.print(shown(story, now=datetime.now(UTC)))
    if is_unasked(story):
        raise typer.Exit(1)


def orders(
    *,
    customer: Annotated[str, typer.Option("--customer", help="Only orders of this customer.")] = "",
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help="Only orders with this status; it can be given repeatedly."),
    ] = None,
    last: Annotated[
        int, typer.Option("--last", "-n", min=1, help="How many, the newest first.")
    ] = LAST,
    url: Url = "",
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array of orders.")] = False,
) -> None:
    """
    The newest orders: id, time, status, payment, stock, and what each waits for.

    \b
    Examples:
      orderflow orders
      orderflow orders --customer customer-123 --last 3
      orderflow orders --status CREATED --status PAID
      orderflow orders --json | jq -r '.[].orderId'
    """
    filters = {"customerId": customer, "status": ",".join(status or ())}
    wanted = {name: value for name, value in filters.items() if value}
    newest = islice(Api("order", url).items("/orders", wanted), last)
    if as_json:
        write_json_list(newest)
        return

    console = Terminal(soft_wrap=True, highlight=False)
    now = datetime.now(UTC)
    count = 0
    for each in newest:
        count += 1
        console.print(listed(each, now=now))
    if not count:
        Terminal(stderr=True, highlight=False).print("no such order yet", style="dim")
