"""`orderflow lag`: how far each consumer group is behind, and when it will have caught up."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from threading import Event
from typing import Annotated

import typer
from rich.console import RenderableType

from orderflow.cli import completion
from orderflow.cli.configuration import tool_settings
from orderflow.cli.lag_report import lines, screen
from orderflow.cli.terminal import Terminal
from orderflow.cli.watching import REFRESH_S, Answer, show, watch
from orderflow.contracts.known_names import there_are
from orderflow.contracts.roster import GROUPS, OBSERVED, subscribed
from orderflow.messaging.errors import ConfigurationError, OrderflowError, Unavailable
from orderflow.messaging.kafka.lag_report import Report, report
from orderflow.messaging.kafka.survey import Survey, Surveyor

SAMPLES = 5
"""A rate is that of the last four seconds: from the oldest of these surveys to the newest."""


def lag(
    *,
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
    partitions: Annotated[
        bool, typer.Option("--partitions", "-p", help="A line for each partition, too.")
    ] = False,
    watching: Annotated[
        bool, typer.Option("--watch", "-w", help="Ask again each second, until Ctrl-C.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object and line, with every partition.")
    ] = False,
) -> None:
    """
    How far each consumer group is behind: in records, and in seconds, the age of the first record
    that it has not finished. Between two looks a second apart: how fast the lag shrinks, and how
    long it takes at that pace. Under it, transactions that are open for too long.

    A record that waits, for a provider or for its next try, counts from its own time, also with all
    those behind it done. Exit 0 if the cluster was asked, however far anybody is behind; 1 if not.

    \b
    Examples:
      orderflow lag
      orderflow lag --watch
      orderflow lag --group inventory-service --partitions
      orderflow lag --json | jq '.groups[] | {group, records, seconds}'
      orderflow lag --json | jq '.openTransactions[] | select(.hanging)'
    """
    console = Terminal(highlight=False)
    settings = tool_settings(waits=watching)
    surveyor = Surveyor(
        settings.kafka, {name: subscribed(name) for name in GROUPS}, topics=OBSERVED
    )
    surveys: deque[Survey] = deque(maxlen=SAMPLES)

    def look() -> tuple[Answer, RenderableType]:
        surveys.append(surveyor.survey())
        shown = _of(group, report(surveys[-1], before=surveys[0]))
        return lines(shown), screen(shown, partitions=partitions)

    with closing(surveyor):
        if watching:
            watch(console, look, as_json=as_json, patience=_patience)
            return
        # Two looks: a rate needs a difference.
        look()
        Event().wait(REFRESH_S)
        answer, shown = look()
        show(console, answer, shown, as_json=as_json)


def _of(group: str, whole: Report) -> Report:
    if not whole.groups:
        raise OrderflowError(
            "the cluster has none of the topics: create them with `orderflow topics apply`"
        )
    if not group:
        return whole
    if group not in (known := [row.group for row in whole.groups]):
        raise ConfigurationError(f"there is no group {group}; {there_are(group, known)}")
    return whole.of_group(group)


def _patience(error: OrderflowError) -> float | None:
    return 0 if isinstance(error, Unavailable) else None
