"""`orderflow state list | prune`: the state directories of this machine's checkouts."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.filesize import decimal
from rich.table import Table

from orderflow.cli.output import printable, say, write_json
from orderflow.cli.terminal import Terminal
from orderflow.messaging.errors import OrderflowError
from orderflow.stack.settings import checkout
from orderflow.stack.state_dirs import StateDir, delete, state_dirs

app = typer.Typer(
    no_args_is_help=True,
    help="Where each checkout's data is, how much; delete what belongs to no checkout.",
)


@app.command("list")
def show(
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """
    List the state directories of all checkouts of this user, the last used first.

    \b
    Examples:
      orderflow state list
      orderflow state list --json | jq '.[] | select(.orphan) | .path'
    """
    states = state_dirs()
    if as_json:
        write_json([_answer(state) for state in states])
        return

    console = Terminal(highlight=False)
    table = Table("directory", box=None, pad_edge=False)
    table.add_column("size", justify="right")
    table.add_column("last used")
    table.add_column("checkout", overflow="fold")
    for state in states:
        used = f"{state.used_at:%Y-%m-%d %H:%M}" if state.used_at else "never"
        table.add_row(
            printable(state.path.name),
            decimal(state.size_bytes),
            "running" if state.is_running else used,
            _owner(state),
        )
    if states:
        console.print(table)
        console.print(f"in {states[0].path.parent}", style="dim", soft_wrap=True)
    else:
        console.print("no checkout has any data yet", style="dim")


@app.command("prune")
def prune(
    older_than_days: Annotated[
        int, typer.Option("--older-than", metavar="DAYS", min=0, help="Last used before that.")
    ] = 0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """
    Delete, with all its data, each state directory whose checkout is gone. Asks first.

    What runs stays, and what names no checkout: a version before this command made it.

    \b
    Examples:
      orderflow state prune
      orderflow state prune --older-than 30 --yes
    """
    chosen = [
        state for state in state_dirs() if state.is_orphan and _idle_days(state) >= older_than_days
    ]
    if not chosen:
        say("nothing to delete: each checkout is there")
        return

    for state in chosen:
        say(f"{state.path}  {decimal(state.size_bytes)}  of {state.checkout}, which is gone")
    if not yes:
        if not sys.stdin.isatty():
            raise OrderflowError("prune deletes data and nobody is here to be asked: say --yes")
        typer.confirm("Delete them, with all orders in them?", abort=True)
    for state in chosen:
        delete(state)
    say(f"deleted {decimal(sum(state.size_bytes for state in chosen))}")


def _owner(state: StateDir) -> str:
    if state.checkout is None:
        return "not known"
    gone = "  (gone)" if state.is_orphan else "  (this one)" * (state.checkout == checkout())
    return f"{printable(str(state.checkout))}{gone}"


def _idle_days(state: StateDir) -> int:
    """As long as anything can be, if it was never used."""
    return (datetime.now(UTC) - state.used_at).days if state.used_at else sys.maxsize


def _answer(state: StateDir) -> dict[str, object]:
    """The fields are public and stay."""
    return {
        "path": str(state.path),
        "checkout": str(state.checkout) if state.checkout else None,
        "orphan": state.is_orphan,
        "running": state.is_running,
        "bytes": state.size_bytes,
        "usedAt": state.used_at.isoformat() if state.used_at else None,
    }
