"""`orderflow bench …`: each benchmark starts a stack of its own, prints figures beside a baseline, leaves nothing."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

app = typer.Typer(no_args_is_help=True, help="Measure, each figure beside its baseline.")

Json = Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")]
Smoke = Annotated[bool, typer.Option("--smoke", help="A few seconds: does it run? Its figures mean nothing.")]


@app.command()
def post(
    as_json: Json = False,
    smoke: Smoke = False,
    connections: Annotated[list[int], typer.Option(help="Connections of the closed loop; may be repeated.")] = [64],  # noqa: B006
    rounds: Annotated[int, typer.Option(help="Turns of each side, alternating.")] = 3,
    seconds: Annotated[float, typer.Option(help="Length of a turn.")] = 10.0,
) -> None:
    """Orders per second over HTTP, relay stopped, beside a transaction per request."""
    from orderflow.bench import post as bench  # noqa: PLC0415 - heavy, and only for this command

    report = bench.run(
        connections=tuple(connections),
        rounds=1 if smoke else rounds,
        seconds=1.0 if smoke else seconds,
        warm_up_s=1.0 if smoke else 5.0,
    )
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        bench.show(report)


@app.callback()
def root() -> None:
    """Keep `post` a subcommand although it may be the only one."""
