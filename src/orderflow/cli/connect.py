"""`orderflow connect …`: the connectors of the worker, deployed, looked at, restarted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from pydantic import SecretStr
from rich.table import Table

from orderflow.cli import completion
from orderflow.cli.output import printable, say, write_json
from orderflow.cli.terminal import Terminal
from orderflow.connect import deploy
from orderflow.connect.deploy import Deployed
from orderflow.connect.rest import RESOURCE, ConnectClient, ConnectorState
from orderflow.connect.settings import (
    ConnectSettings,
    OutboxRelaySection,
    OutboxSection,
    WarehouseDatabase,
    WarehouseSection,
)
from orderflow.contracts.roster import SECTIONS
from orderflow.messaging.errors import OrderflowError, Unavailable
from orderflow.messaging.settings import DatabaseSettings, load
from orderflow.stack.addresses import database_url
from orderflow.stack.lifecycle import current
from orderflow.stack.parts import connect, registry
from orderflow.stack.settings import StackSettings

app = typer.Typer(
    help="The connectors of Kafka Connect: what they should be, how they are.",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


@app.command("plan")
def show_plan(as_json: Json = False) -> None:
    """Show what `apply` would do. Changes nothing."""
    settings = connect_settings()
    with worker(settings) as client:
        _show(deploy.plan(settings, client), as_json=as_json)


@app.command("apply")
def apply(as_json: Json = False) -> None:
    """
    Make the warehouse's table and the connectors as they should be, and wait until all run.

    Refuses a configuration in Connect's own words, with the field; refuses a table that does not
    fit, and never alters it.
    """
    settings = connect_settings()
    with worker(settings) as client:
        _show(deploy.apply(settings, client), as_json=as_json)


@app.command("status")
def status(as_json: Json = False) -> None:
    """
    Each connector with its tasks, and why one does not run. Exit 1 if one does not.

    \b
    Examples:
      orderflow connect status
      orderflow connect status --json | jq -r '.[] | select(.running | not) | .reason'
    """
    with worker(connect_settings()) as client:
        states = client.states()

    if as_json:
        write_json([_as_json(state) for state in states])
    else:
        _show_states(states)
    if not all(state.is_running for state in states):
        raise typer.Exit(1)


@app.command("restart")
def restart(
    name: Annotated[
        str,
        typer.Argument(
            help="A connector, as `orderflow connect status` has it.",
            autocompletion=completion.connectors,
        ),
    ],
    all_tasks: Annotated[
        bool, typer.Option("--all-tasks", help="Those that run, too; not only what failed.")
    ] = False,
) -> None:
    """
    Restart a connector's failed tasks, and wait until they run. It goes on where it was.

    \b
    Examples:
      orderflow connect restart payments-warehouse
      orderflow connect restart payments-warehouse --all-tasks
    """
    with worker(connect_settings()) as client:
        client.restart(name, only_failed=not all_tasks)
        state = deploy.wait_until_running(client, name)
    say(f"{state.name}: {deploy.describe(state)}")


@app.command("rewind")
def rewind(
    name: Annotated[
        str,
        typer.Argument(
            help="A sink, as `orderflow connect status` has it.",
            autocompletion=completion.connectors,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """
    Let a sink read its topics again, from their beginning. Its rows are written again as they are.

    \b
    Example:
      orderflow connect rewind payments-warehouse
    """
    if not yes:
        if not sys.stdin.isatty():
            raise OrderflowError("nobody is here to be asked: say --yes")
        typer.confirm(f"Let {name} read its topics again, from the beginning?", abort=True)
    with worker(connect_settings()) as client:
        deploy.rewind(client, name)
    say(f"{name}: reads its topics again; see `orderflow lag --group {name}`")


def connect_settings() -> ConnectSettings:
    """The settings of this command; what is not set is that of this checkout's local stack."""
    settings, local = load(ConnectSettings, neighbours=SECTIONS), current()
    changes: dict[str, object] = {}
    if "url" not in settings.connect.model_fields_set:
        changes["connect"] = settings.connect.model_copy(update={"url": connect.url(local)})
    if settings.warehouse.database.dsn is None:
        dsn = SecretStr(database_url(local, connect.WAREHOUSE))
        changes["warehouse"] = WarehouseSection(database=WarehouseDatabase(dsn=dsn))
    if "url" not in settings.registry.model_fields_set:
        changes["registry"] = settings.registry.model_copy(update={"url": registry.url(local)})
    if settings.order.database is None:
        changes["order"] = _order_of(local)
    return settings.model_copy(update=changes)


def _order_of(local: StackSettings) -> OutboxSection:
    """The outbox of the local stack's order service, and who publishes it there."""
    dsn = SecretStr(database_url(local, "order"))
    return OutboxSection(
        database=DatabaseSettings(dsn=dsn), relay=OutboxRelaySection(publisher=local.publisher)
    )


@contextmanager
def worker(settings: ConnectSettings) -> Iterator[ConnectClient]:
    """A client of the worker that the settings name. Says what to do where none answers."""
    with ConnectClient(settings.connect.url, within_s=settings.connect.timeout_s) as client:
        try:
            yield client
        except Unavailable as error:
            if error.resource != RESOURCE:
                raise
            raise OrderflowError(
                f"{error}: start a worker with `orderflow up --with connect`, or name one with "
                "ORDERFLOW_CONNECT__URL"
            ) from error


def _show(deployed: list[Deployed], *, as_json: bool) -> None:
    if as_json:
        write_json(deployed)
        return

    table = Table("connector", "what", "fields", box=None, pad_edge=False)
    for each in deployed:
        table.add_row(each.name, each.change, ", ".join(each.fields))
    Terminal().print(table)


def _as_json(state: ConnectorState) -> dict[str, object]:
    """The fields are public and stay."""
    return {
        "name": state.name,
        "kind": state.kind,
        "state": state.state,
        "running": state.is_running,
        "tasks": [{"id": task.id, "state": task.state} for task in state.tasks],
        "reason": state.reason,
    }


def _show_states(states: list[ConnectorState]) -> None:
    console = Terminal(highlight=False)
    if not states:
        console.print("the worker has no connectors: `orderflow connect apply` makes them")
        return

    table = Table("connector", "kind", "state", "tasks", box=None, pad_edge=False)
    for state in states:
        tasks = ", ".join(f"{task.id} {task.state}" for task in state.tasks) or "none"
        table.add_row(state.name, state.kind, state.state, tasks)
    console.print(table)
    for state in states:
        if not state.is_running:
            reason = state.reason or "Connect says no reason"
            console.print(
                f"{state.name}: {printable(reason)}", style="yellow", markup=False, soft_wrap=True
            )
