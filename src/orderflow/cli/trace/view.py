"""A story as text: a tree that fits into 80 columns, and under it what is not known. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime

from rich.text import Text

from orderflow.cli.called import as_called, command
from orderflow.cli.output import printable
from orderflow.cli.trace.evidence import Answer, moment
from orderflow.cli.trace.story import IN_BULK, OPEN, Node, Story, walk
from orderflow.cli.trace.words import duration, in_words, lasted
from orderflow.contracts.currencies import amount_text
from orderflow.contracts.roster import row
from orderflow.messaging.dead_letters.letter_place import LetterId

WIDTH = 80
BODY_MIN = 24
LETTERS_SHOWN = 10
TIME = len("23:15:40.829 ")
QUIET_TOPICS = frozenset(
    topic.name for service in ("notification", "revenue") for topic in row(service).publishes
)
"""What is published there, other lines of the text say in better words."""
_QUIET_OUTCOMES = ("handled", "finished")


def shown(story: Story, *, now: datetime, everything: bool = False) -> Text:
    """The whole story, line by line. `everything`: also what changed nothing."""
    lines = [*head(story, now=now), Text()]
    lines += _Tree(everything=everything).lines(story.story)
    lines += _foot(story, everything=everything)
    return Text("\n").join(lines)


def head(story: Story, *, now: datetime) -> Iterator[Text]:
    """What the order is now, and what it waits for."""
    yield Text.assemble("order ", (story.order_id, "bold"))
    if story.customer_id:
        yield from _wrapped(f"of customer {printable(story.customer_id)}")

    if (order := story.order) is not None:
        yield from _wrapped(_state(order), "bold")
        yield from _wrapped(_bounds(order))
    if story.waiting:
        yield from _wrapped(_waiting(story.waiting, now=now), "bold yellow")
        helps = as_called(f"what helps: {story.waiting.get('nextAction')}")
        yield from _wrapped(helps, "yellow")
    elif order is not None:
        yield Text("it waits for nothing: it has come to its end", "green")


def _state(order: Answer) -> str:
    payment = order.get("payment") or {}
    return (
        f"{order.get('status')} · payment {payment.get('state')} (attempt {payment.get('attempt')})"
        f" · stock {order.get('stock')}"
    )


def _bounds(order: Answer) -> str:
    amount, currency = order.get("amountMinor"), order.get("currency")
    money = (
        f"{amount_text(amount, currency)} · "
        if isinstance(amount, int) and isinstance(currency, str)
        else ""
    )
    times = [moment(order.get(name)) for name in ("createdAt", "updatedAt")]
    created, updated = (f"{at:%Y-%m-%d %H:%M:%S}" if at else "?" for at in times)
    return f"{money}created {created} · last change {updated} · times are UTC"


def _waiting(waiting: Answer, *, now: datetime) -> str:
    since, deadline = moment(waiting.get("since")), moment(waiting.get("deadline"))
    text = f"waits for {waiting.get('for')}"
    if since is not None:
        text += f" for {lasted(now - since)}"
    text += f" · whose turn: {waiting.get('owner')}"
    if deadline is None:
        return text
    if waiting.get("overdue"):
        return f"{text} · OVERDUE by {lasted(now - deadline)}"
    return f"{text} · overdue in {lasted(deadline - now)}"


class _Tree:
    """Draws the tree; a date stands before the first line of each day."""

    def __init__(self, *, everything: bool) -> None:
        self._everything = everything
        self._day: date | None = None

    def lines(self, roots: Sequence[Node]) -> Iterator[Text]:
        for root in roots:
            if self._everything or not _is_quiet(root):
                yield from self._node(root, "", "")

    def _node(self, node: Node, first: str, others: str) -> Iterator[Text]:
        yield from self._entry(node.at, in_words(node), style(node), first, others)

        children, folded = self._visible(node)
        rows = len(children) + bool(folded)
        for number, child in enumerate(children, start=1):
            last = number == rows
            yield from self._node(
                child, f"{others}{'└ ' if last else '├ '}", f"{others}{'  ' if last else '│ '}"
            )
        if folded:
            yield from self._entry(None, folded, "dim", f"{others}└ ", f"{others}  ")

    def _visible(self, node: Node) -> tuple[list[Node], str]:
        """The children with lines of their own, and a line for all groups that only handled it."""
        if self._everything:
            return node.children, ""

        children = [child for child in node.children if not _is_quiet(child)]
        plain = [child for child in children if _is_plain(child)]
        names = (
            f"{child.group} ({duration(child.took_ms)})"
            if child.took_ms is not None
            else str(child.group)
            for child in plain
        )
        folded = f"also handled by {', '.join(names)}" if plain else ""
        return [child for child in children if not _is_plain(child)], folded

    def _entry(
        self, at: datetime | None, words: str, style: str, first: str, others: str
    ) -> Iterator[Text]:
        if at is not None and at.astimezone(UTC).date() != self._day:
            self._day = at.astimezone(UTC).date()
            yield Text(f"{self._day:%Y-%m-%d}", "dim")

        # However deep it is, there is room for some words.
        room = max(BODY_MIN, WIDTH - TIME - len(first))
        first, others = first[: WIDTH - TIME - room], others[: WIDTH - TIME - room]
        time = f"{at.astimezone(UTC):%H:%M:%S.%f}"[:-3] if at is not None else ""
        for number, line in enumerate(broken(printable(words), room)):
            stamp, guide = (time, first) if not number else ("", others)
            yield Text.assemble((f"{stamp:<{TIME}}", "dim"), (guide, "dim"), (line, style))


def _foot(story: Story, *, everything: bool) -> Iterator[Text]:
    yield Text()
    hidden = sum(_is_quiet(node) for node in walk(story.story))
    if hidden and not everything:
        yield from _wrapped(f"{hidden} more that changed nothing for the order: --all", "dim")
    letters = [node for node in walk(story.story) if _is_dead(node)]
    if letters:
        yield from _wrapped("what failed in full, for an operator:", "dim")
    for node in letters[:LETTERS_SHOWN]:
        # Not wrapped: it is there to be copied.
        yield Text(f"  {command('dlt', 'show', str(letter_id(node)))}", "dim")
    if not story.complete:
        yield Text("this story is not complete:", "bold yellow")
    yield from gaps_of(story)

    for trace_id in story.trace_ids:
        yield Text(f"trace {trace_id}", "dim")
    if story.zipkin:
        yield Text(story.zipkin, "cyan")


def gaps_of(story: Story) -> Iterator[Text]:
    """What could not be learned, and why."""
    for missing in story.missing:
        yield from _wrapped(
            printable(as_called(f"{missing.source}: {missing.why}")), "yellow", indent="  "
        )


def letter_id(node: Node) -> LetterId:
    """The dead letter of a node, as `orderflow dlt` calls it."""
    return LetterId(str(node.topic), int(node.partition or 0), int(node.offset or 0))


def _is_plain(node: Node) -> bool:
    """Whether all there is to say of a handling is that it was done."""
    return (
        node.kind == "handling"
        and node.outcome in _QUIET_OUTCOMES
        and not node.attempts
        and all(_is_quiet(child) for child in node.children)
    )


def _is_quiet(node: Node) -> bool:
    """Whether a node is left out of the text, with all below it."""
    if node.kind == "handling":
        had_use = node.outcome != "finished" or node.group not in IN_BULK or node.children
        return node.outcome == "skipped" or not had_use
    return node.kind == "record" and node.topic in QUIET_TOPICS and not _has_trouble(node)


def _is_dead(node: Node) -> bool:
    return node.kind == "dead letter"


def _has_trouble(node: Node) -> bool:
    return any(
        below.kind in ("dead letter", "replay") or below.outcome == "pending"
        for below in walk(node.children)
    )


def style(node: Node) -> str:
    """How a node looks: red where somebody has to act."""
    if _is_dead(node) and (node.details or {}).get("disposition") not in (None, OPEN):
        return "magenta"
    if node.kind == "dead letter" or node.outcome in ("pending", "UNKNOWN"):
        return "bold red"
    if node.kind == "refund" and node.outcome != "SUCCEEDED":
        return "bold red"
    return _STYLES.get(node.kind, "")


def _wrapped(words: str, style: str = "", *, indent: str = "") -> Iterator[Text]:
    for number, line in enumerate(broken(words, WIDTH - len(indent) - 2)):
        yield Text(f"{indent}{'  ' if number and indent else ''}{line}", style)


def broken(words: str, room: int) -> list[str]:
    """The words as lines of at most `room` columns."""
    # A number and its unit stay together, and so does a command, to be copied, if it fits.
    joined = _UNIT.sub("\\1\xa0\\2", words)
    joined = _COMMAND.sub(
        lambda quoted: quoted[0].replace(" ", "\xa0") if len(quoted[0]) <= room else quoted[0],
        joined,
    )
    lines = textwrap.wrap(joined, room, break_on_hyphens=False) or [""]
    return [line.replace("\xa0", " ") for line in lines]


_COMMAND = re.compile(r"`[^`]+`")
_UNIT = re.compile(r"(\d) (ms|s|min|h|d|[A-Z]{3})\b")
_STYLES = {"act": "bold", "record": "cyan", "replay": "magenta", "mail": "green"}
