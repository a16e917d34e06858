"""How the demo looks, at 80 columns and wider, on a terminal and in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console, Group
from rich.highlighter import JSONHighlighter
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orderflow.cli.console_consumer import Witnessed
from orderflow.cli.records import ReadableRecord
from orderflow.contracts.topics import ORDER_EVENTS, ORDERS

BYTES_SHOWN = 12
HEADERS_SHOWN = ("ce_type", "ce_id", "ce_time")


def placed(console: Console, path: str, body: dict[str, Any], order: dict[str, Any]) -> None:
    """`201 POST /orders ada 2 × KEYBOARD-01 179.80 EUR`, and the order's id."""
    wanted = ", ".join(f"{line['quantity']} × {line['sku']}" for line in body.get("lines", ())) or "no lines"
    console.print(
        Text.assemble(
            ("201", "green"),
            f" POST {path:<11} ",
            (body["customerId"], "bold"),
            f"  {wanted}  ",
            (_total(order), "bold"),
        )
    )
    console.print(Text(f"    {order['orderId']}", "dim"))


def record(console: Console, seen: ReadableRecord, witness: Witnessed | None, late_ms: float) -> None:
    """The record as we read it, and under it what Kafka's console consumer printed."""
    head = Text.assemble(
        (f"{seen.topic}-{seen.partition}@{seen.offset}", "bold cyan"),
        "  ",
        (str(seen.type).removeprefix("orderflow."), "bold"),
        (f"  {late_ms:.0f} ms after the answer", "dim"),
    )
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("key", seen.key or "none")
    table.add_row("value", JSONHighlighter()(Text(_spaced(seen.value))))
    if witness is not None:
        table.add_row("Java saw", _as_java_saw(witness))
    console.print(Group(head, Padding(table, (0, 0, 1, 2))))


def summary(console: Console, orders: Sequence[dict[str, Any]], records: Sequence[ReadableRecord]) -> None:
    """A row an order: where its records are."""
    places = {(seen.key, seen.topic): f"{seen.partition}@{seen.offset}" for seen in records}
    table = Table("customer", "order", title=f"{len(orders)} orders, each on both topics", title_justify="left")
    table.add_column("total", justify="right")
    table.add_column(ORDERS.name, justify="right")
    table.add_column(ORDER_EVENTS.name, justify="right")
    for order in orders:
        key = order["orderId"]
        table.add_row(
            order["customerId"],
            f"{key[:8]}…{key[-4:]}",
            _total(order),
            *(places.get((key, topic), "missing") for topic in (ORDERS.name, ORDER_EVENTS.name)),
        )
    console.print(table)


def farewell(console: Console, url: str) -> None:
    """Where to go on, each command on lines of its own, to be copied."""
    console.print(f"\norder API  {url}\n     docs  {url}/docs\n", soft_wrap=True)
    console.print("The system stays up. Place an order, look at the records, stop everything:\n")
    body = '{"customerId": "me", "lines": [{"sku": "MOUSE-01", "quantity": 1}]}'
    post = f"curl -s {url}/orders -H 'Content-Type: application/json' \\\n    -d '{body}'"
    for command in (post, ".venv/bin/orderflow tail orders --from-beginning --max 3", "make down"):
        console.print(Text(f"  {command}", "bold"), soft_wrap=True)


def _as_java_saw(witness: Witnessed) -> Text:
    """Partition, offset, key and the first headers in words; of the value the frame's first bytes."""
    headers = dict(entry.partition(":")[::2] for entry in witness.headers.split(","))
    shown = "  ".join(f"{name}:{headers[name]}" for name in HEADERS_SHOWN if name in headers)
    others = len(headers) - sum(name in headers for name in HEADERS_SHOWN)
    return Text.assemble(
        f"Partition:{witness.partition}  Offset:{witness.offset}  {witness.key}\n",
        (f"{shown}  and {others} more headers\n", "dim"),
        f"Avro, {len(witness.value)} bytes: {witness.value[:BYTES_SHOWN].hex(' ')} …",
    )


def _spaced(value: dict[str, Any] | None) -> str:
    """JSON on one line with blanks in it, so that it can be folded between words."""
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()


def _total(order: dict[str, Any]) -> str:
    digits = 0 if order["currency"] == "JPY" else 2
    return f"{order['amountMinor'] / 10**digits:,.{digits}f} {order['currency']}"
