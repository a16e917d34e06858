"""Dead letters for people: lines that fit into 80 columns. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from rich.text import Text

from orderflow.cli.called import command
from orderflow.cli.dlt.order_history import Entry, OrderHistory, around, order_of
from orderflow.cli.dlt.payload import hex_rows
from orderflow.cli.dlt.words import (
    attempts,
    failure,
    original_place,
    replayed_place,
    shortened,
    times,
)
from orderflow.cli.output import printable
from orderflow.cli.records import header
from orderflow.cli.trace.words import lasted
from orderflow.messaging.dead_letters.evidence import LetterEvidence, short_name
from orderflow.messaging.dead_letters.letters import Letter, LetterGroup
from orderflow.messaging.dead_letters.payload import Payload
from orderflow.messaging.dead_letters.replay_plan import DeskReport, Held, PlannedLetter, ReplayPlan

WIDTH, COUNT, AGE = 80, 8, 14
LABEL, NAME = 12, 18
"""Columns of a label, and of a header's name."""
NAME_MAX = 60
HEX_BYTES_MAX = 256
STAYING_SHOWN = 10


def list_lines(groups: Sequence[LetterGroup], *, now: datetime) -> Iterator[Text]:
    """Letters by what they have in common: how many, for how long, and an example."""
    yield Text(f"{'letters':>{COUNT}} {'oldest':>{AGE}} {'orders':>{COUNT}}  what", "dim")
    for row in groups:
        figures = (
            f"{row.letters:>{COUNT},} {lasted(now - row.oldest):>{AGE}} {row.orders:>{COUNT},}  "
        )
        what = " · ".join(
            shortened(part, NAME_MAX) for part in (row.group, row.topic, short_name(row.type))
        )
        yield from _beside(figures, what, "bold")

        words = shortened(row.message, 200)
        cause = printable(row.cause)
        yield from _beside(" " * len(figures), f"{cause}: {words}" if words else cause, "red")
        if unfit := _unfit(row):
            yield from _beside(" " * len(figures), unfit, "yellow")
        yield from _beside(" " * len(figures), f"oldest: {row.first_letter}", "dim")


def letter_line(letter: Letter, *, now: datetime) -> Text:
    """One letter on one line: what has no room stands last."""
    name = order_of(letter) or shortened(_text(letter.key), NAME_MAX)
    became = "" if letter.disposition is None else f"{letter.disposition.kind.value}  "
    return Text.assemble(
        (str(letter.id), "bold"),
        f"  {name}  ",
        (became, "green"),
        f"{lasted(now - letter.written_at)}  ",
        (failure(letter.evidence, message_max=100), "red"),
    )


def show_lines(
    letter: Letter,
    payload: Payload,
    history: OrderHistory,
    planned: PlannedLetter | None,
    *,
    now: datetime,
    verbose: bool = False,
) -> Iterator[Text]:
    """All that is known of one letter, and what to do with it."""
    yield Text.assemble((str(letter.id), "bold"), f"  {letter.size:,} bytes")
    yield from _state(letter, now=now)
    yield from _why(letter)

    yield Text()
    yield from _record(letter)
    yield from _payload(letter, payload, verbose=verbose)
    if letter.evidence.stack_trace:
        yield Text("stack trace", "bold")
        for line in letter.evidence.stack_trace.splitlines():
            yield Text(f"  {printable(line)}", "dim")

    yield Text()
    yield from _order(letter, history)
    yield from _replay(letter, planned)


def plan_lines(plan: ReplayPlan) -> Iterator[Text]:
    """What a replay would do."""
    yield Text(f"{times(plan.total, 'letter')} would be sent back", "bold")
    for topic, count in sorted(plan.to_send.items()):
        yield Text(f"{count:>{COUNT},}  {topic}")
    yield from _staying(plan.held, plan.letters, plan.beyond_max)


def report_lines(report: DeskReport, *, verb: str, now_what: Sequence[str]) -> Iterator[Text]:
    """What was done, what was not, and what to look at next."""
    yield Text(f"{times(report.done, 'letter')} {verb}", "bold green" if report.done else "bold")
    for topic, count in sorted(report.by_topic.items()):
        yield Text(f"{count:>{COUNT},}  {topic}")
    yield from _staying(report.held, report.letters, report.beyond_max)

    if report.undone:
        yield from _wrapped(
            f"{times(report.undone, 'letter')} open again: the brokers undid a commit that they "
            "had acknowledged; give the same command once more",
            "bold yellow",
        )
    if report.stopped:
        yield from _wrapped(
            f"stopped: what is counted here is done, {times(report.left, 'letter')} not reached "
            "are as they were; the same command goes on there",
            "bold yellow",
        )
    if report.done and now_what:
        yield Text("what to look at next:", "dim")
        for command in now_what:
            yield Text(f"  {command}", "dim")


def discard_lines(groups: Sequence[LetterGroup], *, most: int | None) -> Iterator[Text]:
    """What a discard would lay aside."""
    total = sum(row.letters for row in groups)
    count = total if most is None else min(total, most)
    yield Text(f"{times(count, 'letter')} would be discarded", "bold")
    for row in groups:
        what = f"{row.group} · {row.topic} · {shortened(short_name(row.type), NAME_MAX)}"
        yield from _beside(f"{row.letters:>{COUNT},}  ", f"{what} · {printable(row.cause)}")
    if count < total:
        yield Text(f"{total - count:,} more fit, beyond --max", "yellow")


def _unfit(row: LetterGroup) -> str:
    parked = f"{row.parked:,} parked: replayed as often as allowed" if row.parked else ""
    cut = f"{row.cut:,} cut to fit: evidence only" if row.cut else ""
    return "; ".join(filter(None, (parked, cut)))


def _state(letter: Letter, *, now: datetime) -> Iterator[Text]:
    written = f"{_stamp(letter.written_at)} ({lasted(now - letter.written_at)} ago)"
    if letter.disposition is None:
        yield Text(f"OPEN since {written}", "bold red")
        return

    became = letter.disposition
    why = f': "{shortened(became.reason, None)}"' if became.reason else ""
    yield from _wrapped(
        f"{became.kind.value} at {_stamp(became.at)} by {shortened(became.by, NAME_MAX)}{why}",
        "bold green",
    )
    yield Text(f"a dead letter since {written}")


def _why(letter: Letter) -> Iterator[Text]:
    evidence = letter.evidence
    group = f"group {letter.group}"
    if evidence.group is not None and evidence.group != letter.group:
        group += f" (its headers say {shortened(evidence.group, NAME_MAX)})"
    yield from _entry("given up by", group)
    yield from _entry("because", failure(evidence, message_max=None), "red")

    if step := _step(evidence):
        yield from _entry("in", step)
    yield from _entry("tried", f"{attempts(evidence)}{_span(evidence)}")
    if evidence.replays:
        again = replayed_place(evidence)
        where = f", and failed again at {again}" if again else ""
        yield from _entry("replayed", f"{times(evidence.replays, 'time')}{where}")
    if evidence.cut:
        whole = f" of {evidence.original_size:,} bytes" if evidence.original_size else ""
        yield from _entry("cut to fit", f"{shortened(', '.join(evidence.cut), NAME_MAX)}{whole}")


def _step(evidence: LetterEvidence) -> str:
    """`VALUE_CONVERTER by AvroConverter, task 0`: what Connect was doing with the record."""
    by = f"by {short_name(evidence.stage_class)}" if evidence.stage_class else ""
    what = " ".join(filter(None, (evidence.stage, by)))
    task = f"task {evidence.task}" if evidence.task else ""
    return ", ".join(shortened(part, NAME_MAX) for part in (what, task) if part)


def _span(evidence: LetterEvidence) -> str:
    first, last = evidence.first_failure, evidence.last_failure
    if first is None or last is None:
        return ""
    if first == last:
        return f", failed at {_stamp(first)}"
    return f", failed first at {_stamp(first)}, last {lasted(last - first)} later"


def _record(letter: Letter) -> Iterator[Text]:
    evidence = letter.evidence
    place = original_place(evidence) or f"{letter.topic}, where is not said"
    of = f" of {_stamp(evidence.original_timestamp)}" if evidence.original_timestamp else ""
    yield Text("record", "bold")
    yield from _entry("was", f"{place}{of}", width=NAME)
    yield from _entry("key", shortened(_text(letter.key), None), width=NAME)
    for name, content in letter.headers:
        words = shortened(str(header(name, content)), None)
        yield from _entry(shortened(name, NAME_MAX), words, width=NAME)


def _payload(letter: Letter, payload: Payload, *, verbose: bool) -> Iterator[Text]:
    size = "no value" if letter.value is None else f"{len(letter.value):,} bytes"
    yield Text.assemble(
        ("payload", "bold"), f"  {size}{f', {printable(payload.type)}' if payload.type else ''}"
    )
    if payload.problem is not None:
        yield from _wrapped(f"not decoded: {printable(payload.problem)}", "red", indent="  ")
        most = len(letter.value or b"") if verbose else HEX_BYTES_MAX
        for row in hex_rows(letter.value or b"", most=most):
            yield Text(f"  {row}", "dim")
        return

    text = msgspec.json.format(msgspec.json.encode(payload.value), indent=2).decode()
    for line in text.splitlines():
        yield Text(f"  {printable(line)}")


def _order(letter: Letter, history: OrderHistory) -> Iterator[Text]:
    yield Text.assemble(("order ", "bold"), (history.order_id or "not known", "bold"))
    if history.order is not None:
        order, payment = history.order, history.order.get("payment") or {}
        state = f"payment {payment.get('state')} · stock {order.get('stock')}"
        yield Text(printable(f"  {order.get('status')} · {state}"))

    failed_at = letter.evidence.last_failure or letter.written_at
    before, after = around(history.entries, failed_at)
    for entry in before:
        yield from _change(entry)
    if history.entries:
        yield from _beside(f"  {failed_at:%H:%M:%S}  ", "here this letter was written", "bold red")
    for entry in after:
        yield from _change(entry)
    if history.missing:
        yield from _wrapped(f"its history is left out: {printable(history.missing)}", "yellow")


def _change(entry: Entry) -> Iterator[Text]:
    at = datetime.fromisoformat(entry["occurredAt"]).astimezone(UTC)
    words = printable(f"{entry.get('status')}: {entry.get('description')}")
    yield from _beside(f"  {at:%H:%M:%S}  ", words)


def _replay(letter: Letter, planned: PlannedLetter | None) -> Iterator[Text]:
    yield Text("a replay", "bold")
    if planned is None:
        yield from _wrapped("would not send it: it is dealt with", indent="  ")
        return

    name = str(letter.id)
    if planned.to is None:
        yield from _wrapped(f"would not send it: {printable(planned.why)}", "yellow", indent="  ")
        if planned.older is not None:
            yield Text(f"  {command('dlt', 'show', str(planned.older))}", "dim")
    else:
        yield from _wrapped(
            f"would send it to {planned.to}, for {letter.group} alone, under the same event id, "
            f"as replay {planned.replays + 1}",
            indent="  ",
        )
        yield Text(f"  {command('dlt', 'replay', name, '--reason', '…')}", "dim")
    yield Text(f"  {command('dlt', 'discard', name, '--reason', '…')}", "dim")


def _staying(
    held: Mapping[Held, int], letters: Sequence[PlannedLetter], beyond_max: int
) -> Iterator[Text]:
    if held:
        yield Text(f"{times(sum(held.values()), 'letter')} not sent:", "yellow")
    staying = [letter for letter in letters if letter.held is not None]
    for letter in staying[:STAYING_SHOWN]:
        words = f"{letter.id}: {letter.held}: {printable(letter.why)}"
        yield from _wrapped(words, "yellow", indent="  ")
    if (more := sum(held.values()) - len(staying[:STAYING_SHOWN])) > 0:
        yield Text(f"  and {more:,} more", "yellow")
    if beyond_max:
        yield Text(f"{beyond_max:,} more fit, beyond --max", "yellow")


def _entry(label: str, words: str, style: str = "", *, width: int = LABEL) -> Iterator[Text]:
    """A label with its words beside it; below it, if it is long."""
    first = f"  {label:<{width}}"
    if len(label) >= width:
        yield Text(f"  {label}", "dim")
        first = " " * (2 + width)
    yield from _beside(first, words, style)


def _beside(first: str, words: str, style: str = "") -> Iterator[Text]:
    """Words in the column that begins beside `first`."""
    lines = textwrap.wrap(words, max(24, WIDTH - len(first)), break_on_hyphens=False) or [""]
    for number, line in enumerate(lines):
        yield Text.assemble((first if not number else " " * len(first), "dim"), (line, style))


def _wrapped(words: str, style: str = "", *, indent: str = "") -> Iterator[Text]:
    for line in textwrap.wrap(words, WIDTH - len(indent), break_on_hyphens=False):
        yield Text(f"{indent}{line}", style)


def _text(key: bytes | None) -> str:
    return "none" if key is None else key.decode(errors="backslashreplace")


def _stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
