"""`orderflow stuck`: orders past the deadline of what they wait for. Over HTTP only."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from orderflow.cli.acting import actor_headers
from orderflow.cli.api_client import Api
from orderflow.cli.called import as_called
from orderflow.cli.output import say, write_json, write_json_list
from orderflow.cli.terminal import Terminal
from orderflow.cli.trace.words import roughly
from orderflow.messaging.errors import OrderflowError

app = typer.Typer(
    help="Orders past the deadline of what they wait for.", invoke_without_command=True
)

OrderId = Annotated[str, typer.Argument(help="The order's id.")]
Url = Annotated[str, typer.Option("--url", help="The order API; the local stack's, if not given.")]
InventoryUrl = Annotated[
    str,
    typer.Option("--inventory-url", help="The inventory API; the local stack's, if not given."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the order's history.")]

DECIDED_BY_INVENTORY = ("STOCK", "RELEASE")
"""What inventory decides. Order may have missed it, and then only inventory can say it again."""


@app.callback()
def stuck(context: typer.Context, url: Url = "", as_json: AsJson = False) -> None:
    """
    List the orders that are past the deadline of what they wait for: since when, whose turn it is,
    what to do.

    \b
    Examples:
      orderflow stuck
      orderflow stuck --json
      orderflow stuck retry 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10
    """
    context.obj = Api("order", url)
    if context.invoked_subcommand is not None:
        return

    orders = context.obj.items("/orders", {"stuck": "true"})
    if as_json:
        write_json_list(orders)
        return
    console = Terminal(soft_wrap=True, highlight=False)
    count = 0
    for order in orders:
        count += 1
        console.print(_shown(order, now=datetime.now(UTC)))
    if not count:
        Terminal(stderr=True, highlight=False).print("nothing is stuck", style="dim")


@app.command("retry")
def retry_order(
    context: typer.Context,
    order_id: OrderId,
    inventory_url: InventoryUrl = "",
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """
    Publish again what causes the payment, stock, refund or release that an order waits for. Nothing
    is charged, refunded or reserved twice.

    \b
    Examples:
      orderflow stuck retry 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10
      orderflow stuck retry 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10 --reason "ticket 4711"
    """
    order: Api = context.obj
    waiting = order.ask("GET", f"/orders/{order_id}").get("waiting", {})

    events: list[dict[str, Any]] = []
    if waiting.get("for") in DECIDED_BY_INVENTORY:
        events += _announced(_inventory(inventory_url, order), order_id)
    try:
        path = f"/orders/{order_id}/retry"
        done = order.ask("POST", path, body=_body(reason), headers=actor_headers())
        events += done["events"]
    except OrderflowError:
        # Inventory has said it again: then it does not matter that order can't.
        if not events:
            raise

    if as_json:
        write_json({"orderId": order_id, "waitsFor": waiting.get("for"), "events": events})
        return
    for event in events:
        how = "goes out again" if event["repeated"] else "was made anew"
        say(f"{event['eventType']} {event['eventId']} {how}")


@app.command("cancel")
def cancel_order(
    context: typer.Context, order_id: OrderId, reason: Reason = "", as_json: AsJson = False
) -> None:
    """
    Cancel an order that has not left the house; what was paid is refunded, what was reserved is
    released.

    \b
    Example:
      orderflow stuck cancel 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10
    """
    path = f"/orders/{order_id}/cancel-by-operator"
    done = context.obj.ask("POST", path, body=_body(reason), headers=actor_headers())
    if as_json:
        write_json(done)
    else:
        say(f"{done['orderId']} is {done['status']}")


def _inventory(url: str, order: Api) -> Api | None:
    """The inventory API beside this order API; None if nobody says where it is."""
    # The local stack's inventory knows nothing of another system's orders.
    return Api("inventory", url) if url or order.is_local else None


def _announced(inventory: Api | None, order_id: str) -> list[dict[str, Any]]:
    """The events that inventory publishes again; none if it has none, or can't be asked."""
    if inventory is None:
        _warn("inventory was not asked what it has decided: give --inventory-url")
        return []
    try:
        path = f"/reservations/{order_id}/announce"
        answer = inventory.ask("POST", path, headers=actor_headers())
    except OrderflowError as error:
        _warn(str(error))
        return []
    return [{**event, "repeated": True} for event in answer["events"]]


def _warn(message: str) -> None:
    Terminal(stderr=True, highlight=False).print(message, style="yellow")


def _body(reason: str) -> dict[str, str] | None:
    return {"reason": reason} if reason else None


def _shown(order: dict[str, Any], *, now: datetime) -> Text:
    waiting = order["waiting"]
    late = now - datetime.fromisoformat(waiting["deadline"])
    return Text.assemble(
        (order["orderId"], "bold"),
        f"  {order['status']}, waits for {waiting['for']} since {waiting['since']}",
        (f", {roughly(late)} past its deadline\n", "yellow"),
        as_called(f"  {waiting['owner']}: {waiting['nextAction']}\n"),
    )
