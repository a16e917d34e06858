"""`orderflow revenue`: what customers brought in, and what came in hour by hour. Over HTTP only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orderflow.cli.api_client import Api, NoAnswer, Refused
from orderflow.cli.local import refuse_not_running
from orderflow.cli.terminal import Terminal
from orderflow.cli.watching import Answer, show, watch
from orderflow.contracts.currencies import amount_text
from orderflow.messaging.errors import OrderflowError
from orderflow.stack.lifecycle import current

HOURS = "hours"
"""What the API calls the view by hour: no customer can be asked for by this id there either."""

CURRENCY_DEFAULT = "EUR"
PASSING = (404, 503)
"""Refusals that may be gone in a second: `--watch` shows them and goes on."""


def revenue(
    what: Annotated[
        str, typer.Argument(metavar="CUSTOMER|hours", help="A customer's id, or the word hours.")
    ] = "",
    *,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, max=1000, help="How many customers; 10 by default."),
    ] = None,
    currency: Annotated[
        str,
        typer.Option(
            "--currency",
            help="ISO 4217; by default that of most payments in the last 24 hours.",
        ),
    ] = "",
    first: Annotated[
        str, typer.Option("--from", help="With hours: since when; 24 hours before --to by default.")
    ] = "",
    last: Annotated[
        str, typer.Option("--to", help="With hours: until when, as 2026-01-31T09:00:00Z.")
    ] = "",
    watching: Annotated[
        bool, typer.Option("--watch", help="Ask again each second, until Ctrl-C.")
    ] = False,
    min_position: Annotated[
        str,
        typer.Option(
            "--min-position",
            help="Wait until all payments below this offset are in it: payments-1:1234.",
        ),
    ] = "",
    url: Annotated[
        str, typer.Option("--url", help="The revenue API; the local stack's, if not given.")
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="The API's answer, one JSON object and line.")
    ] = False,
) -> None:
    """
    Show net revenue (captured minus refunded): the customers with the most, one customer, or hour
    by hour. Under it how fresh each part is.

    \b
    Examples:
      orderflow revenue
      orderflow revenue --top 3 --currency EUR --watch
      orderflow revenue customer-123
      orderflow revenue customer-123 --min-position payments-1:1234
      orderflow revenue hours --from 2026-01-31T09:00:00Z --json
    """
    _check_options(what, top=top, currency=currency, range_given=bool(first or last))
    api = Api("revenue", url)
    minimum = {"minPosition": min_position} if min_position else {}

    def look() -> tuple[Answer, RenderableType]:
        if what == HOURS:
            moments = {name: at for name, at in (("from", first), ("to", last)) if at}
            answer = api.ask("GET", "/revenue/hours", parameters={**moments, **minimum})
            return answer, hours_table(answer)
        if what:
            answer = api.ask("GET", f"/revenue/{quote(what, safe='')}", parameters=minimum)
            return answer, customer_table(answer)
        chosen, why = (currency, "") if currency else _currency(api)
        query = {"currency": chosen, "top": str(top or 10), **minimum}
        answer = api.ask("GET", "/revenue", parameters=query)
        return answer, top_table(answer, why)

    console = Terminal(highlight=False)
    if watching:
        if api.is_local:
            refuse_not_running(current())
        watch(console, look, as_json=as_json, patience=_patience)
        return
    answer, shown = look()
    show(console, answer, shown, as_json=as_json)


def top_table(answer: Answer, why: str = "") -> RenderableType:
    """The customers with the highest net revenue in one currency; `why` it is this currency."""
    title = Text.assemble(
        (f"highest net revenue in {answer['currency']}", "bold"), (f"  {why}" if why else "", "dim")
    )
    table = _totals_table("customer")
    for item in answer["items"]:
        table.add_row(item["customerId"], *_totals(item["totals"], answer["currency"]))
    return _page(title, table, answer["items"], answer["freshness"])


def customer_table(answer: Answer) -> RenderableType:
    """One customer's revenue, a row for each currency."""
    title = Text.assemble(
        (answer["customerId"], "bold"), (f"  last change {answer['updatedAt']}", "dim")
    )
    table = _totals_table("currency")
    for currency, totals in sorted(answer["totals"].items()):
        table.add_row(currency, *_totals(totals, currency))
    return _page(title, table, answer["totals"], [answer["freshness"]])


def hours_table(answer: Answer) -> RenderableType:
    """Revenue hour by hour, oldest first, a row for each currency."""
    table = _totals_table("hour, UTC")
    for item in answer["items"]:
        hour = datetime.fromisoformat(item["hour"]).astimezone(UTC)
        table.add_row(f"{hour:%Y-%m-%d %H:%M}", *_totals(item["totals"], item["currency"]))
    title = Text("revenue by hour of event time", "bold")
    return _page(title, table, answer["items"], answer["freshness"])


def _check_options(what: str, *, top: int | None, currency: str, range_given: bool) -> None:
    """Raise BadParameter for options that have no meaning together."""
    if what and (top is not None or currency):
        raise typer.BadParameter("--top and --currency go without CUSTOMER and without hours")
    if what != HOURS and range_given:
        raise typer.BadParameter(
            "--from and --to go with hours: `orderflow revenue hours --from …`"
        )


def _currency(api: Api) -> tuple[str, str]:
    """The currency of most payments in the last 24 hours, and these words about the choice."""
    payments: Counter[str] = Counter()
    for item in api.ask("GET", "/revenue/hours")["items"]:
        payments[item["currency"]] += item["totals"]["payments"]
    if not payments:
        return CURRENCY_DEFAULT, "no payments in the last 24 hours: --currency names another"
    # Of currencies with as many payments, the first by name: the choice stays when looked at again.
    currency = min(payments, key=lambda code: (-payments[code], code))
    return currency, "most payments in 24 hours; --currency names another"


def _patience(error: OrderflowError) -> float | None:
    """What may be gone in a second is shown, and asked again."""
    if isinstance(error, Refused) and error.status in PASSING:
        return error.retry_after_s or 0
    return 0 if isinstance(error, NoAnswer) else None


def _page(
    title: Text, table: Table, rows: Iterable[Any], freshness: Iterable[Answer]
) -> RenderableType:
    body: RenderableType = table if list(rows) else Text("nothing yet", "dim")
    return Group(title, body, Text(), _freshness_table(freshness))


def _totals_table(name: str) -> Table:
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column(name, overflow="fold")
    for column in ("captured", "refunded", "net", "payments", "refunds"):
        # Folded where it does not fit: digits that are cut off would be another amount.
        table.add_column(column, justify="right", overflow="fold")
    return table


def _totals(totals: Mapping[str, int], currency: str) -> list[str]:
    amounts = [
        amount_text(totals[name], currency)
        for name in ("capturedMinor", "refundedMinor", "netMinor")
    ]
    return [*amounts, f"{totals['payments']:,}", f"{totals['refunds']:,}"]


def _freshness_table(freshness: Iterable[Answer]) -> Table:
    """How fresh each partition's part is: its age, who answered, how far it has read."""
    table = Table(box=None, pad_edge=False, collapse_padding=True, style="dim", header_style="dim")
    table.add_column("behind", justify="right", no_wrap=True)
    for column in ("instance", "state", "position"):
        table.add_column(column, overflow="fold")

    for fresh in freshness:
        behind = fresh["behindMs"]
        table.add_row(
            "not known" if behind is None else f"{behind:,} ms",
            fresh["instance"],
            Text(fresh["state"], "" if fresh["state"] == "ACTIVE" else "yellow"),
            fresh["position"],
        )
    return table
