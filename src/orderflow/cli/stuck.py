"""`orderflow stuck`: orders past the deadline of what they wait for. Over HTTP only."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import httpx2
import typer
from rich.console import Console
from rich.text import Text

from orderflow.messaging.errors import OrderflowError
from orderflow.stack.addresses import api_url
from orderflow.stack.lifecycle import current

TIMEOUT_S = 20.0

app = typer.Typer(
    help="Orders past the deadline of what they wait for.", invoke_without_command=True
)

OrderId = Annotated[str, typer.Argument(help="The order's id.")]
Url = Annotated[str, typer.Option("--url", help="The order API; the local stack's, if not given.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


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
    context.obj = url or api_url(current(), "order")
    if context.invoked_subcommand is not None:
        return

    console = Console(soft_wrap=True, highlight=False)
    count = 0
    for order in _stuck(context.obj):
        count += 1
        if as_json:
            sys.stdout.write(json.dumps(order) + "\n")
        else:
            console.print(_shown(order, now=datetime.now(UTC)))
    if not count:
        Console(stderr=True, highlight=False).print("nothing is stuck", style="dim")


@app.command("retry")
def retry_order(context: typer.Context, order_id: OrderId, as_json: AsJson = False) -> None:
    """
    Ask again for the payment that an order waits for, or that its stock waits for. Nothing is
    charged twice.

    \b
    Example:
      orderflow stuck retry 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10
    """
    done = _ask(context.obj, "POST", f"/orders/{order_id}/retry").json()
    how = (
        "goes out again as it was"
        if done["repeated"]
        else "was made anew: what asked before is not retained any more"
    )
    print(json.dumps(done) if as_json else f"{done['eventType']} {done['eventId']} {how}")


@app.command("cancel")
def cancel_order(context: typer.Context, order_id: OrderId, as_json: AsJson = False) -> None:
    """
    Cancel an order that has not left the house; what was paid is refunded, what was reserved is
    released.

    \b
    Example:
      orderflow stuck cancel 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10
    """
    done = _ask(context.obj, "POST", f"/orders/{order_id}/cancel-by-operator").json()
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


def _ask(
    url: str, method: str, path: str, parameters: dict[str, str] | None = None
) -> httpx2.Response:
    try:
        answer = httpx2.request(
            method, f"{url}{path}", params=parameters, timeout=TIMEOUT_S, trust_env=False
        )
    except httpx2.HTTPError as error:
        raise OrderflowError(
            f"the order API at {url} did not answer ({error or type(error).__name__})"
        ) from error
    if answer.is_success:
        return answer
    raise OrderflowError(_refusal(answer))


def _refusal(answer: httpx2.Response) -> str:
    try:
        problem = answer.json()
        return (
            f"{problem['title']}: {problem['detail']}"
            if problem.get("detail")
            else str(problem["title"])
        )
    except (ValueError, KeyError, TypeError):
        return f"the order API answered {answer.status_code}"


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
