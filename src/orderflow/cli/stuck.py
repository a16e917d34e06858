"""`orderflow stuck`: orders past the deadline of what they wait for. Over HTTP only."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import httpx2
import typer
from rich.console import Console
from rich.text import Text

from orderflow.cli.acting import actor_headers
from orderflow.messaging.errors import OrderflowError
from orderflow.stack.addresses import api_url
from orderflow.stack.lifecycle import current

TIMEOUT_S = 20.0

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


class OrderApi(NamedTuple):
    """`is_local`: it is the local stack's, and so are the APIs of the other services."""

    url: str
    is_local: bool


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
    context.obj = OrderApi(url=url or api_url(current(), "order"), is_local=not url)
    if context.invoked_subcommand is not None:
        return

    console = Console(soft_wrap=True, highlight=False)
    count = 0
    for order in _stuck(context.obj.url):
        count += 1
        if as_json:
            sys.stdout.write(json.dumps(order) + "\n")
        else:
            console.print(_shown(order, now=datetime.now(UTC)))
    if not count:
        Console(stderr=True, highlight=False).print("nothing is stuck", style="dim")


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
    url = context.obj.url
    waiting = _ask(url, "GET", f"/orders/{order_id}").json().get("waiting", {})

    events: list[dict[str, Any]] = []
    if waiting.get("for") in DECIDED_BY_INVENTORY:
        events += _announced(_inventory(inventory_url, context.obj), order_id)
    try:
        done = _ask(url, "POST", f"/orders/{order_id}/retry", body=_body(reason)).json()
        events += done["events"]
    except OrderflowError:
        # Inventory has said it again: then it does not matter that order can't.
        if not events:
            raise

    if as_json:
        print(json.dumps({"orderId": order_id, "waitsFor": waiting.get("for"), "events": events}))
        return
    for event in events:
        how = "goes out again" if event["repeated"] else "was made anew"
        print(f"{event['eventType']} {event['eventId']} {how}")


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
    done = _ask(context.obj.url, "POST", path, body=_body(reason)).json()
    print(json.dumps(done) if as_json else f"{done['orderId']} is {done['status']}")


def _stuck(url: str) -> Iterator[dict[str, Any]]:
    """Page by page; newest first."""
    parameters: dict[str, str] = {"stuck": "true", "limit": "100"}
    while True:
        page = _ask(url, "GET", "/orders", parameters).json()
        yield from page["items"]
        if page["nextCursor"] is None:
            return
        parameters["cursor"] = page["nextCursor"]


def _inventory(url: str, order: OrderApi) -> str:
    """The inventory API beside this order API; empty if nobody says where it is."""
    # The local stack's inventory knows nothing of another system's orders.
    return url or (api_url(current(), "inventory") if order.is_local else "")


def _announced(inventory_url: str, order_id: str) -> list[dict[str, Any]]:
    """The events that inventory publishes again; none if it has none, or can't be asked."""
    if not inventory_url:
        _warn("inventory was not asked what it has decided: give --inventory-url")
        return []
    path = f"/reservations/{order_id}/announce"
    try:
        answer = _answer(inventory_url, "POST", path, service="inventory")
    except OrderflowError as error:
        _warn(str(error))
        return []

    if answer.is_success:
        return [{**event, "repeated": True} for event in answer.json()["events"]]
    _warn(_refusal(answer))
    return []


def _warn(message: str) -> None:
    Console(stderr=True, highlight=False).print(message, style="yellow")


def _ask(
    url: str,
    method: str,
    path: str,
    parameters: dict[str, str] | None = None,
    *,
    body: dict[str, str] | None = None,
) -> httpx2.Response:
    """What the order API answers. Raises OrderflowError if it refuses, or is not there."""
    answer = _answer(url, method, path, parameters, body=body, service="order")
    if answer.is_success:
        return answer
    raise OrderflowError(_refusal(answer))


def _answer(
    url: str,
    method: str,
    path: str,
    parameters: dict[str, str] | None = None,
    *,
    body: dict[str, str] | None = None,
    service: str,
) -> httpx2.Response:
    try:
        return httpx2.request(
            method,
            f"{url}{path}",
            params=parameters,
            json=body,
            headers=actor_headers(),
            timeout=TIMEOUT_S,
            trust_env=False,
        )
    except httpx2.HTTPError as error:
        raise OrderflowError(
            f"the {service} API at {url} did not answer ({error or type(error).__name__})"
        ) from error


def _body(reason: str) -> dict[str, str] | None:
    return {"reason": reason} if reason else None


def _refusal(answer: httpx2.Response) -> str:
    try:
        problem = answer.json()
        return (
            f"{problem['title']}: {problem['detail']}"
            if problem.get("detail")
            else str(problem["title"])
        )
    except (ValueError, KeyError, TypeError):
        return f"{answer.request.url} answered {answer.status_code}"


def _shown(order: dict[str, Any], *, now: datetime) -> Text:
    waiting = order["waiting"]
    late = now - datetime.fromisoformat(waiting["deadline"])
    return Text.assemble(
        (order["orderId"], "bold"),
        f"  {order['status']}, waits for {waiting['for']} since {waiting['since']}",
        (f", {_words(late)} past its deadline\n", "yellow"),
        f"  {waiting['owner']}: {waiting['nextAction']}\n",
    )


def _words(late: timedelta) -> str:
    seconds = max(0, int(late.total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
