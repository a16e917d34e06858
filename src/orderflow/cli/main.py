"""
The `orderflow` command: a table of commands, each imported when it is called.

Exit codes: docs/exit-codes.md.
"""

from __future__ import annotations

import errno
import inspect
import os
import sys
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.core
import typer.main
from typer._click.shell_completion import CompletionItem
from typer.exceptions import TyperException

from orderflow import __version__
from orderflow.cli.called import as_called, called
from orderflow.cli.output import say
from orderflow.cli.shell import settle_shell
from orderflow.contracts.known_names import did_you_mean
from orderflow.messaging.errors import ConfigurationError, OrderflowError

# name → "module:attribute", a function (a command) or a typer.Typer (a group), and a line for the
# list of commands.
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("orderflow.cli.stack:up", "Start the local stack, and wait until everything is ready."),
    "down": ("orderflow.cli.stack:down", "Stop the local stack; its data stays."),
    "status": ("orderflow.cli.stack:status", "What runs, where, and how it is."),
    "lag": ("orderflow.cli.lag:lag", "How far each consumer group is behind, and for how long."),
    "books": (
        "orderflow.cli.books:books",
        "Prove that nothing was lost or doubled: every side against every other.",
    ),
    "logs": (
        "orderflow.cli.logs:logs",
        "What the processes said, or all they said of an order.",
    ),
    "stop": ("orderflow.cli.stack:stop", "Stop one process of the running stack."),
    "start": ("orderflow.cli.stack:start", "Start one process of the running stack."),
    "restart": ("orderflow.cli.stack:restart", "Stop and start one process of the running stack."),
    "env": ("orderflow.cli.stack:env", "Addresses as shell exports, for any outside client."),
    "reset": ("orderflow.cli.stack:reset", "Delete the local stack's data, after asking."),
    "state": (
        "orderflow.cli.state:app",
        "Where each checkout's data is; delete what belongs to none.",
    ),
    "demo": ("orderflow.cli.demo.command:demo", "Place a few orders and show them arrive."),
    "orders": ("orderflow.cli.order:orders", "The newest orders, and what each waits for."),
    "order": (
        "orderflow.cli.order:order",
        "An order's whole state: payment, stock, shipment, mails, records.",
    ),
    "trace": (
        "orderflow.cli.trace.command:trace",
        "What happened to an order, as a tree: records, waits, mails.",
    ),
    "tail": ("orderflow.cli.tail:tail", "Print a topic's records, decoded."),
    "mail": ("orderflow.cli.mail:mail", "What the local mail sink got."),
    "dlt": (
        "orderflow.cli.dlt.command:app",
        "Dead letters: find, explain, send back, lay aside.",
    ),
    "stuck": ("orderflow.cli.stuck:app", "Orders past their deadline, and what to do about them."),
    "product": ("orderflow.cli.product:app", "The catalogue: list, change, see who changed what."),
    "revenue": (
        "orderflow.cli.revenue:revenue",
        "Net revenue: by customer, by hour, how fresh it is.",
    ),
    "listeners": (
        "orderflow.cli.listeners:listeners",
        "Each group: topics, types, guarantee, attempts.",
    ),
    "kafka": (
        "orderflow.cli.kafka:app",
        "Kafka's own tools, on the stack's broker: topics, groups, consumer.",
    ),
    "topics": ("orderflow.cli.topics:app", "Compare the topics with the code, and make them so."),
    "schemas": ("orderflow.cli.schemas:app", "Check, compare and register event schemas."),
    "connect": (
        "orderflow.cli.connect:app",
        "Kafka Connect's connectors: deploy, look, restart.",
    ),
    "relay": (
        "orderflow.cli.relay:app",
        "Start a relay anew after it refused; decide about rows that it holds.",
    ),
    "revenue rebuild": (
        "orderflow.cli.revenue_rebuild:rebuild",
        "Revenue's totals anew from the payments; or compare them.",
    ),
    "prove": ("orderflow.prove.cli:app", "Put a promise to the test, under load and kills."),
    "drill": ("orderflow.drills.cli:app", "Break something under load, watch it heal, judge."),
    "bench": ("orderflow.bench.cli:app", "Measure, each figure beside its baseline."),
}

INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it."""

ENVIRONMENTAL = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EACCES: "permission denied: become its owner, or choose another place "
    "(ORDERFLOW_STACK__STATE_DIR)",
    errno.EROFS: "the file system is read-only: choose another place (ORDERFLOW_STACK__STATE_DIR)",
}
"""Failures of the machine, not of the program: what to do about them."""


COMPLETING = "_ORDERFLOW_COMPLETE"
"""Set by a shell's completion script, which calls without arguments."""


class CalledContext(typer.Context):
    """What usage lines and `Try '… --help'` begin with: the command as it was called."""

    @property
    def command_path(self) -> str:
        return called()


class LazyGroup(typer.core.TyperGroup):
    """Commands from the table; only the one that is called is imported."""

    context_class = CalledContext

    def parse_args(self, context: Any, args: list[str]) -> list[str]:
        """`orderflow help COMMAND` is `orderflow COMMAND --help`."""
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        return super().parse_args(context, args)

    def invoke(self, context: Any) -> Any:
        """An interrupt becomes its exit code here: with a word, whatever was interrupted."""
        try:
            return super().invoke(context)
        except TyperException as error:
            error.message = as_called(error.message)
            raise
        except KeyboardInterrupt as error:
            say(f"orderflow: {str(error) or 'interrupted'}", to_stderr=True)
            raise typer.Exit(INTERRUPTED) from None

    def shell_complete(self, context: Any, incomplete: str) -> list[Any]:
        """The names of the table, without an import; the options of the command itself."""
        names = [
            CompletionItem(name, help=summary)
            for name, (_, summary) in COMMANDS.items()
            if name.startswith(incomplete) and " " not in name
        ]
        return names or super().shell_complete(context, incomplete)

    def list_commands(self, _context: Any) -> list[str]:
        return list(COMMANDS)

    def resolve_command(self, context: Any, args: list[str]) -> Any:
        # `orderflow revenue CUSTOMER` takes any word, so its one subcommand is a name of two words.
        if " ".join(args[:2]) in COMMANDS:
            args = [" ".join(args[:2]), *args[2:]]
        try:
            return super().resolve_command(context, args)
        except TyperException as error:
            error.message = error.message.rstrip(".") + did_you_mean(args[0], COMMANDS)
            raise

    def get_command(self, _context: Any, name: str) -> Any:
        if name not in COMMANDS:
            return None
        target, summary = COMMANDS[name]
        is_listed = sys.argv[1:2] in ([], ["--help"], ["-h"]) or sys.argv[1:] == ["help"]
        command = _stub(name) if is_listed and COMPLETING not in os.environ else _load(target)
        command.name = name
        command.short_help = summary
        return command


def _stub(name: str) -> Any:
    """A command in the list of commands, which contains only its name and its line."""
    listed = typer.Typer(add_completion=False)
    listed.command(name)(lambda: None)
    return typer.main.get_command(listed)


@cache
def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    command = getattr(import_module(module), attribute)
    if isinstance(command, typer.Typer):
        if command.registered_callback is None and len(command.registered_commands) == 1:
            # A command, made there for settings of its own; it has no completion of its own either.
            return _reflowed(typer.main.get_command(command))
        # Completion is installed by the root alone: its script completes all that is below.
        return _reflowed(typer.main.get_group(command))
    single = typer.Typer(add_completion=False)
    single.command()(command)
    return _reflowed(typer.main.get_command(single))


def _reflowed(command: Any) -> Any:
    """The command, and those below it, with paragraphs that fill whatever width there is."""
    command.help = reflowed(command.help or "")
    for below in getattr(command, "commands", {}).values():
        _reflowed(below)
    return command


def reflowed(text: str) -> str:
    """Each paragraph as one line, but for those that are laid out: they begin with a backspace."""
    return "\n\n".join(
        paragraph if paragraph.startswith("\b") else " ".join(paragraph.split())
        for paragraph in inspect.cleandoc(text).split("\n\n")
    )


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"orderflow {__version__}")
        raise typer.Exit


@app.callback(
    help="An event-driven order backbone on Apache Kafka and PostgreSQL.\n\n"
    "Start with [bold]orderflow up[/bold], then [bold]orderflow demo[/bold]; "
    "[bold]orderflow help <command>[/bold] shows examples.\n\n"
    "With --json a list is one array, [] where nothing is; what may go on (tail, logs, --follow, "
    "--watch) is one object per line."
)
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and leave.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options of the command itself."""


def main() -> None:
    """Run a command; every error of our own becomes one line on stderr and an exit code."""
    settle_shell()

    if {"help", "--help", "-h"} & set(sys.argv) or len(sys.argv) == 1:
        # In a pipe help has no padding either.
        vars(import_module("typer.rich_utils"))["Console"] = import_module(
            "orderflow.cli.terminal"
        ).Terminal
    try:
        app(prog_name="orderflow")
    except ConfigurationError as error:
        _fail(str(error), code=2)
    except OrderflowError as error:
        _fail(str(error), code=1)
    except KeyboardInterrupt:
        _fail("interrupted", code=INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has left; without stdout Python writes nothing more at exit.
        sys.stdout = None
        sys.exit(1)
    except OSError as error:
        if error.errno not in ENVIRONMENTAL:
            raise
        _fail(
            f"{error.filename or 'writing'}: {ENVIRONMENTAL[error.errno]}, then try again", code=1
        )


def _fail(line: str, *, code: int) -> None:
    say(f"orderflow: {line}", to_stderr=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
