"""`orderflow relay`: the way out when a relay refuses to start; the rows that it holds."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from orderflow.cli import completion, held
from orderflow.cli.output import say, write_json
from orderflow.cli.relay_settings import relay_settings
from orderflow.cli.terminal import Terminal
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.relay.position import lsn_text
from orderflow.messaging.relay.resync import resync
from orderflow.messaging.relay.retained_rows import Retained, retained

app = typer.Typer(help="Outbox relays, when they need a hand.", no_args_is_help=True)


app.add_typer(held.app, name="held")


@app.callback()
def _group() -> None:
    """Outbox relays, when they need a hand."""


@app.command("resync")
def resync_relay(
    service: Annotated[
        str,
        typer.Argument(
            help="The service whose relay refuses to start.", autocompletion=completion.relays
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output.")
    ] = False,
) -> None:
    """
    Give a service's relay a new slot and a new position, and publish again every row that its
    outbox still has.

    Nothing that the database has is lost. What was published before is published twice, under the
    same event id: our listeners know it by that, other readers of the topics must. The relay has
    to be stopped; start it afterwards. Cut off half-way, it can be run again.

    \b
    Examples:
      orderflow relay resync order
      orderflow relay resync inventory --yes --json
    """
    settings = relay_settings(service)
    if not yes and not sys.stdin.isatty():
        raise OrderflowError(
            "a resync publishes records again and nobody is here to be asked: say --yes"
        )
    rows = retained(settings)
    if not yes:
        typer.confirm(_question(service, rows), abort=True)

    console = Terminal(stderr=True, highlight=False)
    with console.status("making a new slot …") as spinner:
        done = resync(
            settings,
            progress=lambda done: spinner.update(f"{done:,} of some {rows.rows:,} rows …"),
        )

    if as_json:
        write_json({"service": service, "rows": done.rows, "position": lsn_text(done.position)})
    else:
        say(
            f"published {done.rows:,} rows; the relay of {service} will go on from "
            f"{lsn_text(done.position)}"
        )
        console.print("now start it, on the local stack with `orderflow up`", style="dim")


def _question(service: str, rows: Retained) -> str:
    since = f" (the oldest of {rows.since:%Y-%m-%d %H:%M} UTC)" if rows.since else ""
    return f"Publish {rows.rows:,} rows of {service}{since} again?"
