"""
`orderflow relay held`: rows of an outbox that a topic refuses for good, and what to do with them.

A command notes what is wanted in the service's database; the relay does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from orderflow.cli import completion
from orderflow.cli.acting import actor_headers
from orderflow.cli.output import printable, say, write_json
from orderflow.cli.relay_settings import RELAYED, relay_settings
from orderflow.cli.terminal import Terminal
from orderflow.cli.trace.words import roughly
from orderflow.messaging.errors import ConfigurationError, OrderflowError
from orderflow.messaging.http.actor import ACTOR_HEADER
from orderflow.messaging.relay.held_rows import (
    DISCARD,
    RESEND,
    Decision,
    HeldRow,
    HeldRowContent,
    decisions,
    held_row,
    held_rows,
    note_wanted,
)

app = typer.Typer(no_args_is_help=True)

REASON_MAX = 500
SHOWN_BYTES = 256
WIDTH = 32

EventId = Annotated[str, typer.Argument(help="The row's event id.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept for 35 days.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be noted, note nothing.")]
Service = Annotated[
    str, typer.Option("--service", help="The service; all that have a relay, if not given.")
]


@app.callback()
def _group() -> None:
    """
    Rows of an outbox that a topic refuses for good: too large, or invalid. Each holds up the later
    rows of its key on that topic, and nothing else.
    """


@app.command("list")
def list_held(
    service: Annotated[
        str,
        typer.Argument(help="The service; all, if not given.", autocompletion=completion.relays),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """
    List the refused rows: since when, why, how many rows of their key wait behind, and what was
    decided. As JSON: those that wait behind, too.

    \b
    Examples:
      orderflow relay held list
      orderflow relay held list order --json | jq '.[] | select(.why).event_id'
    """
    rows = _rows(service)
    if as_json:
        write_json(rows)
        return

    console = Terminal(highlight=False, soft_wrap=True)
    for row in rows:
        if row.why is not None:
            console.print(_entry(row, rows, now=datetime.now(UTC)))
    if not rows:
        Terminal(stderr=True, highlight=False).print("no row is held", style="dim")


@app.command("show")
def show_held(event_id: EventId, service: Service = "", as_json: AsJson = False) -> None:
    """
    Show a held row: why, its headers, its payload, and what was decided about it before.

    \b
    Examples:
      orderflow relay held show 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10
      orderflow relay held show 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10 --json
    """
    wanted = _uuid(event_id)
    content, past = _content(wanted, service)
    if as_json:
        write_json({"held": content, "decisions": past})
        return

    console = Terminal(highlight=False, soft_wrap=True)
    if content is not None:
        console.print(_entry(content.row, [content.row], now=datetime.now(UTC), behind=False))
        for name, value in sorted(content.headers.items()):
            console.print(f"  {name}: {printable(value)}", markup=False)
        console.print(f"  payload, {len(content.payload):,} bytes:", markup=False)
        for line in _hex_lines(content.payload):
            console.print(f"    {line}", markup=False)
    for each in past:
        console.print(_decision(each), markup=False)
    if content is None and not past:
        raise _unknown(wanted)


@app.command("resend")
def resend_held(
    event_id: Annotated[str, typer.Argument(help="The event id of a refused row.")] = "",
    key: Annotated[str, typer.Option("--key", help="All refused rows of this key.")] = "",
    every: Annotated[bool, typer.Option("--all", help="All refused rows.")] = False,
    service: Service = "",
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """
    Have the relay send refused rows again, and then what waits behind them, in the order of their
    key. To be asked for after the topic was mended; what is refused again stays held.

    \b
    Examples:
      orderflow relay held resend 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10 --reason "limit raised"
      orderflow relay held resend --key 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10 --reason "mended"
      orderflow relay held resend --all --service order --reason "limit raised" --dry-run
    """
    if (bool(event_id), bool(key), every).count(True) != 1:
        raise ConfigurationError("say which rows: an event id, or --key KEY, or --all")
    rows = _rows(service)
    if event_id:
        chosen = [_decidable(_uuid(event_id), rows)]
    else:
        chosen = [row for row in rows if row.why is not None and (every or row.key == key)]
    _note(chosen, rows, wanted=RESEND, reason=reason, dry_run=dry_run, as_json=as_json)


@app.command("discard")
def discard_held(
    event_id: Annotated[str, typer.Argument(help="The event id of a refused row.")],
    service: Service = "",
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """
    Have the relay pass over a refused row: it is never published. What waits behind it goes on.
    Its readers miss a fact for good, so resend it if the topic can be made to take it.

    \b
    Example:
      orderflow relay held discard 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10 --reason "ticket 4711"
    """
    rows = _rows(service)
    chosen = [_decidable(_uuid(event_id), rows)]
    _note(chosen, rows, wanted=DISCARD, reason=reason, dry_run=dry_run, as_json=as_json)


def _note(
    chosen: Sequence[HeldRow],
    rows: Sequence[HeldRow],
    *,
    wanted: str,
    reason: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Note what is wanted in each service's database, and say so."""
    if not reason.strip() or len(reason) > REASON_MAX:
        raise ConfigurationError(f"say why, in 1 to {REASON_MAX} characters: --reason")

    noted = {row.event_id for row in chosen} if dry_run else set[UUID]()
    for service in [] if dry_run else sorted({row.service for row in chosen}):
        ids = [row.event_id for row in chosen if row.service == service]
        who = actor_headers().get(ACTOR_HEADER, "unknown")
        noted |= set(
            note_wanted(relay_settings(service), ids, wanted=wanted, by=who, because=reason)
        )

    done = [row for row in chosen if row.event_id in noted]
    if as_json:
        write_json(
            [{"service": row.service, "event_id": row.event_id, "wanted": wanted} for row in done]
        )
    else:
        _say_noted(done, rows, wanted=wanted, dry_run=dry_run)
    if missed := [str(row.event_id) for row in chosen if row.event_id not in noted]:
        raise OrderflowError(
            f"no decision was noted about {', '.join(missed)}: the relay is about to send it, or"
            " it is held no more; see `orderflow relay held list`"
        )


def _say_noted(
    done: Sequence[HeldRow], rows: Sequence[HeldRow], *, wanted: str, dry_run: bool
) -> None:
    verb = {RESEND: "sent again", DISCARD: "passed over"}[wanted]
    will = "would be" if dry_run else "will be"
    for row in done:
        behind = f", {_behind_words(row, rows)}" if _behind(row, rows) else ""
        say(f"{row.type} {row.event_id} on {row.topic} {will} {verb}{behind}")

    console = Terminal(stderr=True, highlight=False)
    if not done:
        console.print("no row is held", style="dim")
    elif not dry_run:
        console.print(
            "the relay does it within seconds of streaming: `orderflow relay held list`",
            style="dim",
        )


def _rows(service: str) -> list[HeldRow]:
    services = (service,) if service else RELAYED
    return [row for name in services for row in held_rows(relay_settings(name))]


def _content(event_id: UUID, service: str) -> tuple[HeldRowContent | None, Sequence[Decision]]:
    """From the first service that knows the row."""
    content: HeldRowContent | None = None
    past: Sequence[Decision] = ()
    for name in (service,) if service else RELAYED:
        settings = relay_settings(name)
        content, past = held_row(settings, event_id), decisions(settings, event_id)
        if content is not None or past:
            break
    return content, past


def _decidable(event_id: UUID, rows: Sequence[HeldRow]) -> HeldRow:
    """The refused row with this id; raises OrderflowError if it is none."""
    row = next((row for row in rows if row.event_id == event_id), None)
    if row is None:
        raise _unknown(event_id)
    if row.why is None:
        lane = [each for each in rows if _lane(each) == _lane(row) and each.why is not None]
        head = f"{lane[0].event_id}" if lane else "another one"
        raise OrderflowError(
            f"row {event_id} is not refused: it waits behind {head} of its key, and goes by itself"
            " when that one is resent or discarded"
        )
    return row


def _unknown(event_id: UUID) -> OrderflowError:
    return OrderflowError(f"no row {event_id} is held: see `orderflow relay held list`")


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is no event id: an event's id is a UUID") from None


def _lane(row: HeldRow) -> tuple[str, str, str]:
    return row.service, row.topic, row.key


def _behind(row: HeldRow, rows: Sequence[HeldRow]) -> int:
    """How many rows wait behind this one, up to the next refused one of its key."""
    lane = [each for each in rows if _lane(each) == _lane(row)]
    count = 0
    for each in lane[lane.index(row) + 1 :]:
        if each.why is not None:
            break
        count += 1
    return count


def _behind_words(row: HeldRow, rows: Sequence[HeldRow]) -> str:
    count = _behind(row, rows)
    return f"{count:,} row{'s'[: count != 1]} behind it"


def _entry(row: HeldRow, rows: Sequence[HeldRow], *, now: datetime, behind: bool = True) -> Text:
    times = "once" if row.refusals == 1 else f"{row.refusals} times"
    why = f"refused {times}: {row.why}" if row.why else "waits behind another row of its key"
    text = Text.assemble(
        (str(row.event_id), "bold"),
        f"  {printable(row.type)} of {row.service} on {row.topic}\n",
        f"  key {printable(row.key)}, {row.bytes:,} bytes, held for {roughly(now - row.since)}",
        f", {_behind_words(row, rows)}\n" if behind else "\n",
        (f"  {printable(why)}\n", "yellow"),
    )

    if row.sending:
        text.append("  is being sent just now\n")
    elif row.wanted:
        text.append(
            f"  {row.wanted}, wanted by {printable(row.wanted_by or '')}:"
            f" {printable(row.because or '')}\n"
        )
    return text


def _decision(each: Decision) -> str:
    return (
        f"  {each.decided_at:%Y-%m-%d %H:%M:%S} {each.outcome}: {each.wanted}, wanted by"
        f" {printable(each.wanted_by)}: {printable(each.because)}"
    )


def _hex_lines(payload: bytes) -> list[str]:
    shown = payload[:SHOWN_BYTES]
    lines = [shown[start : start + WIDTH].hex() for start in range(0, len(shown), WIDTH)]
    return [*lines, "…"] if len(payload) > len(shown) else lines
