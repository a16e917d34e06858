"""`orderflow product`: the catalogue, and the command that changes it. Over HTTP only."""

from __future__ import annotations

import re
from typing import Annotated, Any

import httpx2
import typer
from rich.text import Text

from orderflow.cli.api_client import Api, success
from orderflow.cli.output import printable, say, write_json_list
from orderflow.cli.terminal import Terminal
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.http.actor import ACTOR_HEADER

app = typer.Typer(help="The product catalogue: what can be ordered, at which price.")

Sku = Annotated[str, typer.Argument(help="The product's SKU.")]
Actor = Annotated[str, typer.Option("--as", help="Who gives the command, for the history.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the history.")]
Url = Annotated[str, typer.Option("--url", help="The order API; the local stack's, if not given.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


@app.callback()
def product(context: typer.Context, url: Url = "") -> None:
    """
    The product catalogue: what can be ordered, at which price.

    \b
    Examples:
      orderflow product list
      orderflow product set LAMP-01 --price EUR=5590 --reason "the new price list"
      orderflow product history LAMP-01
    """
    context.obj = Api("order", url)


@app.command("list")
def list_products(context: typer.Context, as_json: AsJson = False) -> None:
    """
    List what can be ordered, with its prices in minor units.

    \b
    Example:
      orderflow product list --json
    """
    items = context.obj.items("/products")
    if as_json:
        write_json_list(items)
        return

    console = Terminal(soft_wrap=True, highlight=False)
    for item in items:
        console.print(
            Text.assemble((item["sku"], "bold"), f"  {_prices(item)}  {printable(item['name'])}")
        )


@app.command("set")
def set_product(
    context: typer.Context,
    sku: Sku,
    price: Annotated[
        list[str] | None,
        typer.Option("--price", help="CURRENCY=minor units; repeated. Other currencies stay."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Its name; a new product needs one.")] = "",
    withdraw: Annotated[
        bool | None,
        typer.Option("--withdraw/--offer", help="New orders can't name it any more; or can again."),
    ] = None,
    reason: Reason = "",
    actor: Actor = "",
) -> None:
    """
    Change a product, or add it. What is not given stays. In force at once, for every new order.

    \b
    Examples:
      orderflow product set LAMP-01 --price EUR=5590 --reason "the new price list"
      orderflow product set CHAIR-01 --name "Chair" --price EUR=19900 --price USD=21500
      orderflow product set LAMP-01 --withdraw --reason "not made any more"
    """
    before, condition = _read(context.obj, sku)
    body = {
        "name": name or before.get("name", sku),
        "prices": before.get("prices", {}) | dict(_price(text) for text in price or ()),
        "active": before.get("active", True) if withdraw is None else not withdraw,
        **({"reason": reason} if reason else {}),
    }

    headers = condition | ({ACTOR_HEADER: actor} if actor else {})
    answer = context.obj.ask("PUT", f"/products/{sku}", body=body, headers=headers)
    state = "" if answer["active"] else ", withdrawn"
    say(f"{sku} costs {_prices(answer)}{state} (version {answer['version']})")


@app.command("history")
def show_history(context: typer.Context, sku: Sku, as_json: AsJson = False) -> None:
    """
    Show every version of a product, newest first: when, by whom, why.

    \b
    Example:
      orderflow product history LAMP-01
    """
    items = context.obj.items(f"/products/{sku}/history")
    if as_json:
        write_json_list(items)
        return

    console = Terminal(soft_wrap=True, highlight=False)
    for item in items:
        state = "" if item["active"] else "  withdrawn"
        console.print(
            f"{item['version']}  {item['occurredAt']}  {printable(item['actor'])}"
            f"  {_prices(item)}{state}"
            f"  {printable(item['reason'] or '')}",
            markup=False,
        )


def _read(order: Api, sku: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The product and the condition that it is still that one; empty if there is none yet."""
    answer = order.send("GET", f"/products/{sku}")
    if answer.status_code == httpx2.codes.NOT_FOUND:
        return {}, {"If-None-Match": "*"}
    return success(answer).json(), {"If-Match": answer.headers["etag"]}


def _price(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"([A-Z]{3})=([0-9]{1,12})", text)
    if match is None:
        raise OrderflowError(f"--price is CURRENCY=minor units, as EUR=5590, not {text!r}")
    return match[1], int(match[2])


def _prices(item: dict[str, Any]) -> str:
    return " ".join(f"{currency}={minor}" for currency, minor in sorted(item["prices"].items()))
