"""`orderflow bench …`: each benchmark starts a stack of its own, prints figures beside a baseline, leaves nothing."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from orderflow.messaging.errors import ConfigurationError

app = typer.Typer(no_args_is_help=True, help="Measure, each figure beside its baseline.")

Json = Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")]
Output = Annotated[
    Path | None, typer.Option(help="Also write the whole report as JSON to this file.")
]
Smoke = Annotated[
    bool, typer.Option("--smoke", help="A few seconds: does it run? Its figures mean nothing.")
]
Rounds = Annotated[int, typer.Option(min=1, help="Turns of each side, alternating.")]

PACKAGES = ("asyncpg", "hdrh")


@app.command()
def post(
    as_json: Json = False,
    smoke: Smoke = False,
    connections: Annotated[
        list[int], typer.Option(help="Connections of the closed loop; may be repeated.")
    ] = [64],  # noqa: B006
    rounds: Rounds = 3,
    seconds: Annotated[float, typer.Option(help="Length of a turn.")] = 10.0,
    output: Output = None,
) -> None:
    """Orders per second over HTTP, relay stopped, beside a transaction per request."""
    from orderflow.bench import post as bench  # noqa: PLC0415 - heavy, and only for this command

    report = bench.run(
        connections=tuple(connections),
        rounds=1 if smoke else rounds,
        seconds=1.0 if smoke else seconds,
        warm_up_s=1.0 if smoke else 5.0,
    )
    if not _told(report, as_json=as_json, output=output):
        bench.show(report)


@app.command()
def relay(
    as_json: Json = False,
    smoke: Smoke = False,
    rows: Annotated[int, typer.Option(min=10_000, help="Rows in each backlog.")] = 50_000,
    rounds: Rounds = 3,
    seconds: Annotated[float, typer.Option(help="Length of a turn at a steady rate.")] = 10.0,
    output: Output = None,
) -> None:
    """From the outbox to a read_committed reader: records per second and milliseconds, beside a poller."""
    from orderflow.bench import relay as bench  # noqa: PLC0415 - heavy, and only for this command

    plan = bench.SMOKE if smoke else bench.Plan(rows=rows, rounds=rounds, paced_s=seconds)
    report = bench.run(plan)
    if not _told(report, as_json=as_json, output=output):
        bench.show(report)


@app.command()
def payment(
    as_json: Json = False,
    smoke: Smoke = False,
    records: Annotated[
        int, typer.Option(min=5_000, help="Orders preloaded for each turn.")
    ] = 20_000,
    rounds: Rounds = 3,
    output: Output = None,
) -> None:
    """From OrderCreated to payments: records per second, beside one transaction each and beside none at all."""
    from orderflow.bench import payment as bench  # noqa: PLC0415 - heavy, and only for this command

    report = bench.run(bench.SMOKE if smoke else bench.Plan(records=records, rounds=rounds))
    if not _told(report, as_json=as_json, output=output):
        bench.show(report)


@app.command()
def inventory(
    as_json: Json = False,
    smoke: Smoke = False,
    events: Annotated[
        int, typer.Option(min=5_000, help="Payments preloaded for each turn.")
    ] = 20_000,
    rounds: Rounds = 3,
    seconds: Annotated[float, typer.Option(help="Length of a turn at a steady rate.")] = 20.0,
    output: Output = None,
) -> None:
    """From payments to stock: events per second, beside a transaction for each; and milliseconds from POST."""
    from orderflow.bench import inventory as bench  # noqa: PLC0415 - heavy, and only for this command

    report = bench.run(
        bench.SMOKE if smoke else bench.Plan(events=events, rounds=rounds, paced_s=seconds)
    )
    if not _told(report, as_json=as_json, output=output):
        bench.show(report)


@app.callback()
def root() -> None:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"{', '.join(missing)} not installed: `make bench` installs what benchmarks need"
        )


def _told(report: msgspec.Struct, *, as_json: bool, output: Path | None) -> bool:
    """Write the report where it is wanted as JSON; whether standard output has had it."""
    text = msgspec.json.format(msgspec.json.encode(report)).decode()
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")
    if as_json:
        print(text)
    return as_json
