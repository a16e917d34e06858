"""`orderflow listeners`: what each group listens to, and what happens to a record that fails."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from orderflow.cli import completion
from orderflow.cli.output import write_json
from orderflow.cli.terminal import Terminal
from orderflow.contracts.known_names import there_are
from orderflow.messaging.documents.listener_table import ListenerRow, TopicRow
from orderflow.messaging.errors import ConfigurationError, OrderflowError

PROGRAM = "orderflow.services.listeners"
WITHIN_S = 60.0
WIDTH, LABEL = 80, 16

GUARANTEES = {
    "ExactlyOnce": "the events it causes and its offset commit in one Kafka transaction",
    "InboxOutbox": "inbox, effect and events commit in one database transaction, the offset after",
    "Stateful": "state, events and offset commit in one Kafka transaction",
}
FOOT = (
    "Every back-off is ± 20 %. While a database, the registry, a provider or a broker is away, a "
    "record waits without end, and no attempt counts. A record whose effect is unknown (a charge) "
    "is looked up for an hour. A dead letter comes back by `orderflow dlt replay`."
)


def listeners(
    group: Annotated[
        str,
        typer.Option(
            "--group",
            "-g",
            metavar="GROUP",
            help="This consumer group alone.",
            autocompletion=completion.groups,
        ),
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON array on standard output.")
    ] = False,
) -> None:
    """
    Each consumer group: its topics and types, its delivery guarantee, how often a record that fails
    is tried, and what is never tried again. It is read from the code; nothing has to run.

    \b
    Examples:
      orderflow listeners
      orderflow listeners --group payment-service
      orderflow listeners --json | jq '.[] | {group, attemptsMax, backOffS}'
    """
    rows = _rows()
    if group:
        if group not in (known := [row.group for row in rows]):
            raise ConfigurationError(f"there is no group {group}; {there_are(group, known)}")
        rows = tuple(row for row in rows if row.group == group)

    if as_json:
        write_json(rows)
        return
    console = Terminal(highlight=False, soft_wrap=True)
    for row in rows:
        console.print(shown(row))
    for line in textwrap.wrap(FOOT, WIDTH):
        console.print(line, style="dim")


def _rows() -> tuple[ListenerRow, ...]:
    """From a process: no command imports a service."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", PROGRAM], capture_output=True, timeout=WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise OrderflowError(f"{PROGRAM} did not answer within {WITHIN_S:.0f} s") from None
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise OrderflowError(f"the services' tables can't be read: {last}")
    return msgspec.json.decode(done.stdout, type=tuple[ListenerRow, ...])


def shown(row: ListenerRow) -> Text:
    """Within 80 columns."""
    lines = [
        Text.assemble((row.group, "bold"), f"  {row.delivery}"),
        *_entry("guarantee", GUARANTEES.get(row.delivery, row.delivery)),
    ]
    for topic in row.topics:
        lines += _entry(topic.topic, _types(topic))
    lines += _entry("publishes", ", ".join(row.publishes) or "nothing")
    lines += _entry("attempts", _attempts(row))
    lines += _entry("never retried", ", ".join(map(_short, row.never_retried)))
    return Text("\n").join([*lines, Text()])


def _types(topic: TopicRow) -> str:
    handled = ", ".join(map(_short, topic.handled)) or "nothing"
    skipped = ", ".join(map(_short, topic.skipped))
    return f"{handled} (skips {skipped})" if skipped else handled


def _attempts(row: ListenerRow) -> str:
    waits = " and ".join(f"{seconds:g} s" for seconds in row.back_off_s)
    between = f", {waits} apart" if waits else ""
    return f"{row.attempts_max}{between}, then <topic>.{row.group}.dlt"


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _entry(label: str, words: str) -> Iterator[Text]:
    """A label with its words beside it; below it, if it is long."""
    room = WIDTH - 2 - LABEL
    first = f"  {label:<{LABEL}}"
    if len(label) >= LABEL:
        yield Text(f"  {label}", "cyan")
        first = " " * (2 + LABEL)

    for line in textwrap.wrap(words, room, break_on_hyphens=False):
        yield Text.assemble((first, "cyan"), line)
        first = " " * (2 + LABEL)
