"""The demo's output, for 80 columns and more, on a terminal and in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from rich.highlighter import JSONHighlighter
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orderflow.cli.called import command
from orderflow.cli.demo.console_consumer import Witnessed
from orderflow.cli.demo.copies import Sums
from orderflow.cli.demo.revenue import Moved
from orderflow.cli.demo.services import Captured
from orderflow.cli.demo.stories import Story
from orderflow.cli.records import ReadableRecord
from orderflow.cli.terminal import Terminal
from orderflow.connect.warehouse import WarehousePayment
from orderflow.contracts.currencies import amount_text
from orderflow.contracts.events import (
    OrderCancelled,
    OrderCreated,
    OrderEvent,
    OrderShipped,
    PaymentFailed,
    PaymentRefunded,
    PaymentRequested,
    PaymentSucceeded,
    StockRejected,
    StockReleased,
    StockReserved,
)

BYTES_SHOWN = 12
CLOCK_S = 0.001
HEADERS_SHOWN = ("ce_type", "ce_id", "ce_time")
COLOURS = {
    "ada": "green",
    "barbara": "blue",
    "grace": "magenta",
    "linus": "yellow",
    "margaret": "cyan",
}

Value = dict[str, Any]


def heading(console: Terminal, title: str) -> None:
    console.print()
    console.rule(title, align="left")


def placed(console: Terminal, story: Story, order: Value) -> None:
    """The story, under it the ordered goods and the order's id."""
    console.print(
        Text.assemble(_customer(story), (story.name, "bold"), f": {story.about}"), soft_wrap=True
    )
    wanted = f"{story.quantity} × {story.sku}, {_money(order)}, paid with {story.payment_method}"
    console.print(Text(f"{'':<10}201  {wanted}  {order['orderId']}", "dim"), soft_wrap=True)


def record(console: Terminal, story: Story, seen: ReadableRecord, late_s: float) -> None:
    """Customer, event, place, delay since the answer; under it the record's content in words."""
    name = str(seen.type).rpartition(".")[2]
    place = f"{seen.topic}-{seen.partition}@{seen.offset}"
    head = Text.assemble(
        _customer(story), (f"{name:<17}", "bold"), f" {place:<20}", (f"{_late(late_s):>9}", "dim")
    )
    console.print(head)
    console.print(Padding(Text(in_words(seen), "dim"), (0, 0, 0, 10), expand=False))


def unknown(console: Terminal, story: Story, late_s: float) -> None:
    """A payment without an answer from the provider, from payment's API."""
    head = Text.assemble(
        _customer(story),
        ("payment UNKNOWN  ", "bold red"),
        f" {'GET /payments/…':<20}",
        (f"{_late(late_s):>9}", "dim"),
    )
    console.print(head)
    words = "neither a yes nor a no: its record waits, others pass, the provider is asked again"
    console.print(Padding(Text(words, "dim"), (0, 0, 0, 10), expand=False))


def commanded(
    console: Terminal, story: Story, step: str, answered: int, order: Value, late_s: float
) -> None:
    """A command that was given by hand, and the order's status after it."""
    call, became = f"POST …/{step}", f"{answered} {order['status']}"
    head = Text.assemble(
        _customer(story), (f"{call:<17}", "bold"), f" {became:<20}", (f"{_late(late_s):>9}", "dim")
    )
    console.print(head)


def waiting_for(customers: Iterable[str]) -> str:
    return f"waiting for what else comes of the orders of {', '.join(customers)}"


def in_full(console: Terminal, count: int, seen: ReadableRecord, witness: Witnessed) -> None:
    """A record as we read it, and under it as Kafka's console consumer printed it."""
    heading(console, f"all {count} seen by Kafka's console consumer too, the last in full")
    name = str(seen.type).rpartition(".")[2]
    console.print(Text.assemble((name, "bold"), f"  {seen.topic}-{seen.partition}@{seen.offset}"))

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("key", seen.key or "none")
    table.add_row("value", JSONHighlighter()(Text(_spaced(seen.value))))
    table.add_row("Java saw", _as_java_saw(witness))
    console.print(table)


def summary(console: Terminal, rows: Sequence[tuple[Story, Value, Captured]]) -> None:
    """A row for each order: how it ended, and the provider's own ledger."""
    heading(console, "how they ended")
    table = Table(
        "order of",
        "status",
        "payment",
        "stock was",
        "the provider's own ledger",
        box=None,
        pad_edge=False,
    )

    for story, order, ledger in rows:
        ended = (order["status"], order["payment"]["state"], order["stock"])
        shown = [
            Text(state, "" if state == wanted else "red")
            for state, wanted in zip(ended, story.ends, strict=True)
        ]
        table.add_row(_customer(story), *shown, _ledger(ledger, order["currency"]))
    console.print(table)


def followers(console: Terminal, rows: Sequence[tuple[Story, Sequence[str], str]]) -> None:
    """A row for each order: its shipment, and the mails that its customer got."""
    heading(console, "who follows: mails that customers got, shipments")
    table = Table("order of", "shipment", "mails, in their order", box=None, pad_edge=False)
    for story, mails, shipment in rows:
        shown = Text(shipment or "none", "" if shipment == story.shipment else "red")
        subjects = Text(" · ".join(mails), "" if len(mails) == story.mails else "red")
        table.add_row(_customer(story), shown, subjects)
    console.print(table)


def funnel(console: Terminal, counts: Value) -> None:
    """The funnel of all orders that this system has ever seen."""
    console.print()
    console.print(Text(f"the funnel, of all {counts['orders']:,} orders here", "bold"))
    table = Table("status", box=None, pad_edge=False)
    for column in ("now", "ever", "time in it, p50", "p95"):
        table.add_column(column, justify="right")

    for status, now in counts["current"].items():
        stay = counts["timeInState"].get(status)
        times = (_late(stay["p50S"]), _late(stay["p95S"])) if stay else ("–", "–")
        table.add_row(status, f"{now:,}", f"{counts['entered'][status]:,}", *times)
    console.print(table)


def revenue(console: Terminal, rows: Sequence[Moved]) -> None:
    """A row for each customer: what the demo's payments and refunds made of the revenue."""
    heading(console, "revenue by customer, as payments and refunds moved it")
    table = Table("customer", box=None, pad_edge=False, collapse_padding=True)
    for column in ("captured", "refunded", "net before", "net", "payments", "refunds"):
        table.add_column(column, justify="right", overflow="fold")

    for row in rows:
        now = row.now
        amounts = (now.captured_minor, now.refunded_minor, row.before.net_minor, now.net_minor)
        cells = [
            *(amount_text(minor, row.currency) for minor in amounts),
            *(f"{now.payments:,}", f"{now.refunds:,}"),
        ]
        style = "" if row.fits else "red"
        table.add_row(_customer(row.story), *(Text(cell, style) for cell in cells))
    console.print(table)

    agreeing = [
        f"{row.story.customer} {row.record.partition}@{row.record.offset}"
        for row in rows
        if row.record is not None and row.agrees
    ]
    words = "GET /revenue/… said it, and the records on revenue-by-customer say the same:"
    console.print(Text(f"{words} {', '.join(agreeing)}", "dim"))


def warehouse_rows(console: Terminal, story: Story, rows: Sequence[WarehousePayment]) -> None:
    """What the warehouse has of one order."""
    console.print(Text.assemble(_customer(story), "in the warehouse's table payments"))
    table = Table("payment", "status", "amount", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.payment_id, row.status, amount_text(row.amount_minor, row.currency))
    console.print(Padding(table, (0, 0, 0, 10)))


def sums(console: Terminal, sums: Sums) -> None:
    """What was captured and not refunded, of all payments, three times."""
    table = Table("all payments, net", box=None, pad_edge=False)
    for title in ("ledger", "warehouse", "files"):
        table.add_column(title, justify="right")
    for currency in sums.ledger:
        table.add_row(
            currency,
            *(
                amount_text(net[currency], currency)
                for net in (sums.ledger, sums.warehouse, sums.files)
            ),
        )
    console.print(Padding(table, (1, 0, 0, 0)))


def traced(console: Terminal, story: Story, order_id: str, text: Text) -> None:
    """What `orderflow trace` says of one order."""
    heading(console, f"what happened to {story.customer}'s order, in one command")
    console.print(Text(f"  {command('trace', order_id)}\n", "bold"), soft_wrap=True)
    console.print(text, soft_wrap=True)


def farewell(console: Terminal, url: str) -> None:
    """The next commands, each on lines of its own, to be copied."""
    console.print(f"\norder API  {url}\n     docs  {url}/docs\n", soft_wrap=True)
    console.print(
        "The system stays up. Place an order, read the mails about it, see who brought in "
        "most, see all processes, stop everything:\n"
    )

    body = '{"customerId": "me", "lines": [{"sku": "MOUSE-01", "quantity": 1}]}'
    post = f"curl -s {url}/orders -H 'Content-Type: application/json' \\\n    -d '{body}'"
    for line in (
        post,
        command("mail", "--customer", "me"),
        command("revenue"),
        command("status"),
        command("down"),
    ):
        console.print(Text(f"  {line}", "bold"), soft_wrap=True)


def _customer(story: Story) -> Text:
    return Text(f"{story.customer:<10}", COLOURS.get(story.customer, ""))


def _late(seconds: float) -> str:
    if seconds < CLOCK_S:
        # Brokers note times in whole milliseconds, and they may be older than our own 201.
        return "< 1 ms"
    return f"{seconds * 1000:,.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def in_words(seen: ReadableRecord) -> str:
    """What the record says."""
    words = _WORDS.get(str(seen.type))
    return words(seen.value) if words and seen.value else _spaced(seen.value)


def _created(value: Value) -> str:
    when = "" if value["attempt"] else ", when asked to"
    return f"{_lines(value)}, {_money(value)}, to be paid with {value['paymentMethod']}{when}"


def _event(value: Value) -> str:
    before = f"{value['previousStatus']} → " if value["previousStatus"] else ""
    return f"version {value['version']}: {before}{value['status']}, {value['description']}"


def _succeeded(value: Value) -> str:
    return f"{_money(value)} captured, reference {value['providerReference']}"


def _failed(value: Value) -> str:
    return f"{value['reason']}: {value['message']}; nothing was captured"


def _refunded(value: Value) -> str:
    return f"{_money(value)} given back: {value['reason']}"


def _requested(value: Value) -> str:
    return f"attempt {value['attempt']}: {_money(value)}, to be paid with {value['paymentMethod']}"


def _shipped(value: Value) -> str:
    return f"version {value['version']}: what was kept leaves the house"


def _released(value: Value) -> str:
    return f"{_lines(value)} available again: {value['reason']}"


def _reserved(value: Value) -> str:
    return f"{_lines(value)} kept for this order"


def _rejected(value: Value) -> str:
    short = ", ".join(
        f"{shortage['requested']} × {shortage['sku']} wanted, {shortage['available']} there"
        for shortage in value["shortages"]
    )
    return f"{value['reason']}: {short}; nothing was reserved"


def _cancelled(value: Value) -> str:
    return f"{value['reason']}: {value['description']}; the only cause of a refund"


_WORDS: dict[str, Callable[[Value], str]] = {
    OrderCreated.type_name(): _created,
    OrderEvent.type_name(): _event,
    OrderCancelled.type_name(): _cancelled,
    PaymentSucceeded.type_name(): _succeeded,
    PaymentFailed.type_name(): _failed,
    PaymentRefunded.type_name(): _refunded,
    StockReserved.type_name(): _reserved,
    StockReleased.type_name(): _released,
    PaymentRequested.type_name(): _requested,
    OrderShipped.type_name(): _shipped,
    StockRejected.type_name(): _rejected,
}


def _lines(value: Value) -> str:
    return ", ".join(f"{line['quantity']} × {line['sku']}" for line in value["lines"])


def _ledger(ledger: Captured, currency: str) -> str:
    if not ledger.captures:
        return "nothing captured"
    captured = " and ".join(amount_text(minor, currency) for minor in ledger.captures)
    refunded = "".join(f", {amount_text(minor, currency)} refunded" for minor in ledger.refunds)
    once = " once" if len(ledger.captures) == 1 else ""
    return f"{captured} captured{once}{refunded}"


def _as_java_saw(witness: Witnessed) -> Text:
    """Partition, offset, key and the first headers; of the value the first bytes of its frame."""
    shown = "  ".join(
        f"{name}:{witness.header(name)}" for name in HEADERS_SHOWN if witness.header(name)
    )
    return Text.assemble(
        f"Partition:{witness.partition}  Offset:{witness.offset}  {witness.key}\n",
        (f"{shown}  and more headers\n", "dim"),
        f"Avro, {len(witness.value)} bytes: {witness.value[:BYTES_SHOWN].hex(' ')} …",
    )


def _spaced(value: Value | None) -> str:
    """JSON on one line with blanks in it, so that it can be folded between words."""
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()


def _money(value: Value) -> str:
    return amount_text(value["amountMinor"], value["currency"])
