"""`orderflow dlt list | show | replay | discard`: finds dead letters, and deals with them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from threading import Event
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from orderflow.cli import completion
from orderflow.cli.api_client import Api
from orderflow.cli.called import command
from orderflow.cli.configuration import tool_settings
from orderflow.cli.dlt.answers import answer, letter_answer
from orderflow.cli.dlt.asking import actor, desk, is_any, letter_filter
from orderflow.cli.dlt.order_history import order_history, order_named
from orderflow.cli.dlt.view import (
    discard_lines,
    letter_line,
    list_lines,
    plan_lines,
    report_lines,
    show_lines,
)
from orderflow.cli.output import write_json, write_json_list
from orderflow.cli.terminal import Terminal
from orderflow.contracts.events import EVENT_TYPES
from orderflow.messaging.dead_letters.desk import Desk
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.dead_letters.letters import LetterFilter
from orderflow.messaging.dead_letters.payload import payload_of
from orderflow.messaging.dead_letters.replay_plan import DeskProgress, DeskReport, Held, ReplayPlan
from orderflow.messaging.errors import ConfigurationError, OrderflowError
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry

app = typer.Typer(
    help="Dead letters: find them, explain one, send them back, lay them aside.",
    no_args_is_help=True,
    add_completion=False,
)

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="LETTER", help="Letters, as `list` names them."),
]
Group = Annotated[
    str,
    typer.Option(
        "--group",
        "-g",
        help="The group that gave them up.",
        autocompletion=completion.groups,
    ),
]
Topic = Annotated[
    str,
    typer.Option(
        "--topic",
        "-t",
        help="Where the records came from.",
        autocompletion=completion.topics,
    ),
]
Kind = Annotated[str, typer.Option("--type", help="The event's type, as OrderCreated.")]
Cause = Annotated[str, typer.Option("--cause", help="The error's class, as Poison.")]
Key = Annotated[str, typer.Option("--key", help="The record's key, exactly.")]
Order = Annotated[str, typer.Option("--order", metavar="ID", help="About this order.")]
Since = Annotated[
    str, typer.Option("--since", metavar="TIME", help="Written since: 2h, 3d, 2026-01-31T09:05.")
]
Until = Annotated[str, typer.Option("--until", metavar="TIME", help="Written before.")]
All = Annotated[bool, typer.Option("--all", help="All open letters, of every group.")]
Most = Annotated[int | None, typer.Option("--max", min=1, help="At most so many letters.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
Actor = Annotated[
    str, typer.Option("--as", metavar="NAME", help="Who decides, for the record; you by default.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]

STAYS_OPEN = frozenset(Held) - {Held.DEALT_WITH}


@app.command("list", short_help="How many are open, by group, topic, type and cause.")
def list_letters(
    *,
    each: Annotated[bool, typer.Option("--each", help="One line for each letter.")] = False,
    group: Group = "",
    topic: Topic = "",
    kind: Kind = "",
    cause: Cause = "",
    key: Key = "",
    order: Order = "",
    since: Since = "",
    until: Until = "",
    parked: Annotated[
        bool | None,
        typer.Option(
            "--parked/--not-parked", help="Only those that failed again as often as allowed."
        ),
    ] = None,
    closed: Annotated[
        bool, typer.Option("--closed", help="Also those that were replayed or discarded.")
    ] = False,
    as_json: Json = False,
) -> None:
    """
    The open dead letters, by group, topic, type and cause: how many, since when, of how many
    orders. A letter is open until somebody replays or discards it.

    Exit 0, however many there are: `orderflow status` exits with 1 while any is open.

    \b
    Examples:
      orderflow dlt list
      orderflow dlt list --each --group payment-service --since 2h
      orderflow dlt list --order 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10 --closed --each
      orderflow dlt list --json | jq '.[] | {group, cause, letters}'
    """
    now = datetime.now(UTC)
    chosen = letter_filter(
        group=group,
        topic=topic,
        kind=kind,
        cause=cause,
        key=key,
        order=order,
        since=since,
        until=until,
        parked=parked,
        now=now,
    )
    at_desk = desk(tool_settings().kafka)
    if each:
        _list_each(at_desk, chosen, closed=closed, as_json=as_json, now=now)
        return

    with _reading():
        groups = at_desk.summary(chosen, include_closed=closed)
    if as_json:
        write_json(answer(groups))
    elif groups:
        _print(list_lines(groups, now=now))
        oldest = min(groups, key=lambda row: row.oldest).first_letter
        _hint(
            f"explain one: `orderflow dlt show {oldest}`; all of them: `orderflow dlt list --each`"
        )
    else:
        _hint("no such dead letter" if closed else "no such dead letter is open")


@app.command("show", short_help="Explain one: its record, its failure, its order.")
def show_letter(
    letter: Annotated[str, typer.Argument(help="A letter, as `list` names it.")],
    *,
    url: Annotated[
        str, typer.Option("--url", help="The order API; the local stack's, if not given.")
    ] = "",
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="All bytes of what can't be decoded.")
    ] = False,
    as_json: Json = False,
) -> None:
    """
    Explain one dead letter: what the record was, why it failed, how often it was tried, what its
    order went through, and what a replay would do.

    \b
    Examples:
      orderflow dlt show orders.payment-service.dlt/0/12
      orderflow dlt show orders.payment-service.dlt/0/12 --json | jq .evidence
    """
    settings = tool_settings()
    at_desk = desk(settings.kafka)
    letter_id = LetterId.parse(letter)
    with _reading():
        there = at_desk.find(letter_id)
        plan = at_desk.plan_replay(LetterFilter(ids=frozenset([letter_id])))

    planned = next((each for each in plan.letters if each.id == letter_id), None)
    with closing(Registry(settings.registry)) as registry:
        payload = payload_of(there.value, Decoder(registry), EVENT_TYPES)
    history = order_history(there, Api("order", url))
    if as_json:
        write_json(
            {
                **letter_answer(there, payload),
                "order": answer(history),
                "replay": None if planned is None else answer(planned),
            }
        )
        return
    _print(show_lines(there, payload, history, planned, now=datetime.now(UTC), verbose=verbose))


@app.command("replay", short_help="Send some back to the group that gave them up.")
def replay_letters(
    letters: Ids = None,
    *,
    group: Group = "",
    topic: Topic = "",
    kind: Kind = "",
    cause: Cause = "",
    key: Key = "",
    order: Order = "",
    since: Since = "",
    until: Until = "",
    everything: All = False,
    count_max: Most = None,
    replays_max: Annotated[
        int | None,
        typer.Option(
            "--replays-max", min=1, help="Send also what was sent back less often than this."
        ),
    ] = None,
    out_of_order: Annotated[
        bool,
        typer.Option(
            "--out-of-order", help="A letter may overtake an older one of its key that stays."
        ),
    ] = False,
    dry_run: DryRun = False,
    reason: Reason = "",
    by: Actor = "",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """
    Send dead letters back to the groups that gave them up, and to nobody else: the same bytes under
    the same event id, oldest first. Copy and decision are one Kafka transaction, so a letter is
    sent once, whoever tries, and Ctrl-C leaves nothing half done. Mend the cause first.

    Exit 1 if a letter that was meant stays open (it was sent back too often, was cut, or an older
    one of its key stays), 130 if Ctrl-C ended it.

    \b
    Examples:
      orderflow dlt replay orders.payment-service.dlt/0/12 --reason "ticket 4711"
      orderflow dlt replay --group payment-service --since 2h --dry-run
      orderflow dlt replay --order 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10
      orderflow dlt replay --all --max 100 --yes --reason "provider is back"
    """
    named = letter_filter(
        ids=letters or (),
        group=group,
        topic=topic,
        kind=kind,
        cause=cause,
        key=key,
        order=order,
        since=since,
        until=until,
        now=datetime.now(UTC),
    )
    chosen = _chosen(named, everything=everything)
    who = actor(by)
    at_desk = desk(tool_settings().kafka)
    with _reading():
        plan = at_desk.plan_replay(
            chosen,
            max_letters=count_max,
            replays_max=replays_max,
            keep_order=not out_of_order,
        )
    if dry_run:
        _show(answer(plan), plan_lines(plan), as_json=as_json)
        return

    if plan.total > 1:
        _demand_consent(f"Send {plan.total:,} letters back?", plan_lines(plan), yes=yes)
    with _progress("sent") as (on_progress, stop):
        # No more than was shown: others may come in meanwhile.
        report = at_desk.replay(
            chosen,
            by=who,
            reason=reason,
            max_letters=max(1, plan.total),
            replays_max=replays_max,
            keep_order=not out_of_order,
            on_progress=on_progress,
            stop=stop,
        )
    _finish(report, "sent back", as_json=as_json, next_commands=_next_commands(chosen, plan))


@app.command("discard", short_help="Lay some aside for good, with a reason.")
def discard_letters(
    letters: Ids = None,
    *,
    group: Group = "",
    topic: Topic = "",
    kind: Kind = "",
    cause: Cause = "",
    key: Key = "",
    order: Order = "",
    since: Since = "",
    until: Until = "",
    everything: All = False,
    count_max: Most = None,
    dry_run: DryRun = False,
    reason: Reason = "",
    by: Actor = "",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """
    Lay dead letters aside for good: nothing is sent, and they are open no more. What they should
    have caused never happens. They can be read until retention deletes them, with your reason.

    \b
    Examples:
      orderflow dlt discard orders.payment-service.dlt/0/12 --reason "a test by hand"
      orderflow dlt discard --cause Poison --since 2h --dry-run
      orderflow dlt discard --cause Poison --since 2h --yes --reason "another team's producer"
    """
    named = letter_filter(
        ids=letters or (),
        group=group,
        topic=topic,
        kind=kind,
        cause=cause,
        key=key,
        order=order,
        since=since,
        until=until,
        now=datetime.now(UTC),
    )
    chosen = _chosen(named, everything=everything)
    if not reason.strip() and not dry_run:
        raise ConfigurationError('say why, for the record: --reason "ticket 4711"')
    who = actor(by)
    at_desk = desk(tool_settings().kafka)
    with _reading():
        groups = at_desk.summary(chosen)

    total = min(sum(row.letters for row in groups), count_max or sys.maxsize)
    shown = discard_lines(groups, most=count_max)
    if dry_run:
        _show({"letters": total, "groups": answer(groups)}, shown, as_json=as_json)
        return
    if total > 1:
        _demand_consent(f"Discard {total:,} letters?", shown, yes=yes)
    with _progress("discarded") as (on_progress, stop):
        report = at_desk.discard(
            chosen,
            by=who,
            reason=reason,
            max_letters=max(1, total),
            on_progress=on_progress,
            stop=stop,
        )
    _finish(report, "discarded", as_json=as_json, next_commands=[command("dlt", "list")])


def _chosen(chosen: LetterFilter, *, everything: bool) -> LetterFilter:
    """What is meant. Raises ConfigurationError when nothing, or two things, were said."""
    if is_any(chosen) and not everything:
        raise ConfigurationError(
            "say which letters: their names, a filter (--group, --cause, --order …), or --all"
        )
    if everything and not is_any(chosen):
        raise ConfigurationError("--all is every letter of every group: leave out the filters")
    return chosen


def _list_each(
    at_desk: Desk, chosen: LetterFilter, *, closed: bool, as_json: bool, now: datetime
) -> None:
    count = 0
    console = Terminal(highlight=False, soft_wrap=True)
    letters: Any = at_desk.letters(chosen, include_closed=closed)
    with closing(letters):
        if as_json:
            write_json_list(map(letter_answer, letters))
            return
        for letter in letters:
            count += 1
            console.print(letter_line(letter, now=now))
    if not count:
        _hint("no such dead letter" if closed else "no such dead letter is open")


def _next_commands(chosen: LetterFilter, plan: ReplayPlan) -> list[str]:
    """What shows whether a replay has helped: the list, and one of its orders."""
    orders = (order_named(each.evidence, each.key) for each in plan.letters if each.to)
    example = chosen.order_id or next(filter(None, orders), None)
    return [command("dlt", "list"), *([command("trace", example)] if example else [])]


def _demand_consent(question: str, lines: Iterable[Text], *, yes: bool) -> None:
    if yes:
        return
    if not _somebody_is_here():
        raise OrderflowError(
            "this is for more than one letter and nobody is here to be asked: say "
            "--yes, or --dry-run to see which"
        )
    _print(lines, to_stderr=True)
    typer.confirm(question, abort=True, err=True)


def _somebody_is_here() -> bool:
    return sys.stdin.isatty()


def _finish(report: DeskReport, verb: str, *, as_json: bool, next_commands: Sequence[str]) -> None:
    _show(
        answer(report),
        report_lines(report, verb=verb, now_what=next_commands),
        as_json=as_json,
    )
    if report.stopped:
        raise typer.Exit(130)
    if report.undone or any(report.held.get(why) for why in STAYS_OPEN):
        raise typer.Exit(1)


def _show(for_programs: Any, lines: Iterable[Text], *, as_json: bool) -> None:
    if as_json:
        write_json(for_programs)
    else:
        _print(lines)


def _print(lines: Iterable[Text], *, to_stderr: bool = False) -> None:
    console = Terminal(stderr=to_stderr, highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line)


def _hint(words: str) -> None:
    Terminal(stderr=True, highlight=False, soft_wrap=True).print(words, style="dim")


@contextmanager
def _reading() -> Iterator[None]:
    with Terminal(stderr=True, highlight=False).status("reading dead letters …"):
        yield


@contextmanager
def _progress(verb: str) -> Iterator[tuple[Callable[[DeskProgress], None], Callable[[], bool]]]:
    """A bar, and whether somebody has pressed Ctrl-C: the transaction that runs is finished."""
    stopping = Event()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeRemainingColumn(),
    )
    console = Terminal(stderr=True, highlight=False)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(verb, total=None, visible=False)

    def on_progress(progress: DeskProgress) -> None:
        bar.update(task, completed=progress.done, total=progress.total, visible=True)

    def interrupted(_number: int, _frame: object) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()
        bar.console.print("stopping after this transaction; Ctrl-C once more gives it up")

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        with bar:
            yield on_progress, stopping.is_set
    finally:
        signal.signal(signal.SIGINT, before)
