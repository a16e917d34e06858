"""What an order is now, of everything that its story knows: one place per part of it. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.text import Text

from orderflow.cli.called import command
from orderflow.cli.output import printable
from orderflow.cli.trace.evidence import Answer, Missing, moment
from orderflow.cli.trace.story import Kind, Node, Story
from orderflow.cli.trace.view import QUIET_TOPICS, WIDTH, broken, gaps_of, head, letter_id, style
from orderflow.cli.trace.words import in_words
from orderflow.contracts.currencies import amount_text

LABEL = len("dead letters  ")
STAMP = len("23:15:40.829  ")


class OrderState(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    The order as its service says it, and of the other services what they have of it: each part as
    `orderflow trace --json` has it. `shipment` and `stock` are the last known words.
    """

    order_id: str
    customer_id: str | None
    order: Answer | None
    waiting: Answer | None
    payments: Sequence[Node]
    refunds: Sequence[Node]
    stock: str | None
    shipment: str | None
    mails: Sequence[Node]
    records: Sequence[Node]
    dead_letters: Sequence[Node]
    complete: bool
    missing: Sequence[Missing]


def state_of(story: Story) -> OrderState:
    """What the story comes to; of each kind in the order of time."""
    by_kind: dict[Kind, list[Node]] = {}
    for node in sorted(story.nodes(), key=_when):
        by_kind.setdefault(node.kind, []).append(msgspec.structs.replace(node, children=[]))

    return OrderState(
        order_id=story.order_id,
        customer_id=story.customer_id,
        order=story.order,
        waiting=story.waiting,
        payments=by_kind.get("payment", ()),
        refunds=by_kind.get("refund", ()),
        stock=_last(by_kind.get("reservation", ())),
        shipment=_last(by_kind.get("shipment", ())),
        mails=by_kind.get("mail", ()),
        records=sorted((*by_kind.get("record", ()), *by_kind.get("replay", ())), key=_when),
        dead_letters=by_kind.get("dead letter", ()),
        complete=story.complete,
        missing=story.missing,
    )


def shown(story: Story, *, now: datetime) -> Text:
    """The state line by line, within 80 columns."""
    state = state_of(story)
    lines = [*head(story, now=now), Text(), *_parts(state)]
    if story.missing:
        lines += [Text("not known:", "bold yellow"), *gaps_of(story)]
    # Not wrapped, here and below: a command is there to be copied.
    lines += [
        Text("how it came to this:", "dim"),
        Text(f"  {command('trace', story.order_id)}", "dim"),
    ]
    return Text("\n").join(lines)


def listed(order: Answer, *, now: datetime) -> Text:
    """An order of a list, in two or three lines."""
    payment, waiting = order.get("payment") or {}, order.get("waiting") or {}
    created = moment(order.get("createdAt"))
    text = Text.assemble(
        (printable(str(order.get("orderId"))), "bold"),
        (f"  {created.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if created else "", "dim"),
        (f"  {printable(str(order.get('status')))}", "bold cyan"),
    )
    why = f" ({payment['reason']})" if payment.get("reason") else ""
    parts = [
        f"of {order.get('customerId')}",
        _money(order),
        f"payment {payment.get('state')}{why}",
        f"stock {order.get('stock')}",
    ]
    for line in textwrap.wrap(printable(" · ".join(filter(None, parts))), WIDTH - 2):
        text.append(f"\n  {line}")

    if waiting:
        late = moment(waiting.get("deadline"))
        overdue = late is not None and late < now
        words = f"waits for {waiting.get('for')} · whose turn: {waiting.get('owner')}"
        colour = "bold yellow" if overdue else "yellow"
        text.append(f"\n  {printable(words)}{' · OVERDUE' if overdue else ''}", colour)
    return text


def _parts(state: OrderState) -> Iterator[Text]:
    yield from _nodes("payment", (*state.payments, *state.refunds), nothing="none yet")
    message = ((state.order or {}).get("payment") or {}).get("message")
    if message:
        yield from _entry("", printable(f"the customer was told: {message}"))

    yield from _entry("stock", printable(state.stock or "nothing reserved yet"))
    yield from _entry("shipment", printable(state.shipment or "none yet"))
    yield from _nodes("mails", state.mails, nothing="none yet")
    yield from _records(state.records)
    yield from _nodes("dead letters", state.dead_letters, nothing="none")
    for node in state.dead_letters:
        yield Text(f"{'':<{LABEL}}{command('dlt', 'show', str(letter_id(node)))}", "dim")


def _nodes(label: str, nodes: Sequence[Node], *, nothing: str) -> Iterator[Text]:
    if not nodes:
        yield from _entry(label, nothing, "dim")
    for number, node in enumerate(nodes):
        stamp = f"{node.at.astimezone(UTC):%H:%M:%S.%f}"[:-3] if node.at else ""
        yield from _entry(
            "" if number else label, printable(in_words(node)), style(node), stamp=stamp
        )


def _records(records: Sequence[Node]) -> Iterator[Text]:
    """Where each is; of what mails and revenue publish only how many there are."""
    plain = [node for node in records if node.topic not in QUIET_TOPICS]
    short = [msgspec.structs.replace(node, took_ms=None) for node in plain]
    yield from _nodes("records", short, nothing="none was found")
    if len(records) > len(plain):
        more = f"and {len(records) - len(plain)} of mails and revenue, which --json has"
        yield from _entry("", more, "dim")


def _entry(label: str, words: str, colour: str = "", *, stamp: str | None = None) -> Iterator[Text]:
    """A label with its words beside it, and before them their time if they have one."""
    time = "" if stamp is None else f"{stamp:<{STAMP}}"
    for number, line in enumerate(broken(words, WIDTH - LABEL - len(time))):
        first = f"{label:<{LABEL}}{time}" if not number else " " * (LABEL + len(time))
        yield Text.assemble((first, "dim"), (line, colour))


def _last(nodes: Sequence[Node]) -> str | None:
    return nodes[-1].outcome if nodes else None


def _when(node: Node) -> datetime:
    return node.at or _END


_END = datetime.max.replace(tzinfo=UTC)


def _money(order: Any) -> str:
    amount, currency = order.get("amountMinor"), order.get("currency")
    known = isinstance(amount, int) and isinstance(currency, str)
    return amount_text(amount, currency) if known else ""
