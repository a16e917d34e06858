"""`orderflow bench …`: starts a stack of its own, prints figures beside a baseline, cleans up."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from orderflow.cli.output import say, write_json
from orderflow.messaging.errors import ConfigurationError
from orderflow.stack.interrupts import all_as_ctrl_c

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
    from orderflow.bench.post.bench import Plan, run  # noqa: PLC0415 - heavy, for this command only
    from orderflow.bench.post.report import print_report  # noqa: PLC0415 - the same

    plan = Plan(
        connections=tuple(connections),
        rounds=1 if smoke else rounds,
        seconds=1.0 if smoke else seconds,
        warm_up_s=1.0 if smoke else 5.0,
    )
    report = run(plan)
    if not _written_as_json(report, as_json=as_json, output=output):
        print_report(report)


@app.command(
    help="From the outbox to a read_committed reader: records per second and milliseconds, beside "
    "a poller, or with `--beside debezium` Debezium on the same outbox."
)
def relay(
    as_json: Json = False,
    smoke: Smoke = False,
    beside: Annotated[
        str, typer.Option(metavar="poller|debezium", help="The other side of the comparison.")
    ] = "poller",
    rows: Annotated[int, typer.Option(min=10_000, help="Rows in each backlog.")] = 50_000,
    rounds: Rounds = 3,
    seconds: Annotated[float, typer.Option(help="Length of a turn at a steady rate.")] = 10.0,
    output: Output = None,
) -> None:
    from orderflow.bench.relay.bench import SMOKE, Plan, run  # noqa: PLC0415 - heavy, as above
    from orderflow.bench.relay.report import print_report  # noqa: PLC0415 - the same

    if beside not in ("poller", "debezium"):
        raise typer.BadParameter("poller or debezium", param_hint="--beside")
    plan = SMOKE if smoke else Plan(rows=rows, rounds=rounds, paced_s=seconds)
    report = run(msgspec.structs.replace(plan, beside=beside))
    if not _written_as_json(report, as_json=as_json, output=output):
        print_report(report)


@app.command(
    help="From OrderCreated to payments: records per second, beside one transaction each and "
    "beside none at all."
)
def payment(
    as_json: Json = False,
    smoke: Smoke = False,
    records: Annotated[
        int, typer.Option(min=5_000, help="Orders preloaded for each turn.")
    ] = 20_000,
    rounds: Rounds = 3,
    output: Output = None,
) -> None:
    from orderflow.bench.payment.bench import SMOKE, Plan, run  # noqa: PLC0415 - heavy, as above
    from orderflow.bench.payment.report import print_report  # noqa: PLC0415 - the same

    report = run(SMOKE if smoke else Plan(records=records, rounds=rounds))
    if not _written_as_json(report, as_json=as_json, output=output):
        print_report(report)


@app.command(
    help="From payments to stock: events per second, beside a transaction for each; and "
    "milliseconds from POST."
)
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
    from orderflow.bench.inventory.bench import SMOKE, Plan, run  # noqa: PLC0415 - heavy, as above
    from orderflow.bench.inventory.report import print_report  # noqa: PLC0415 - the same

    report = run(SMOKE if smoke else Plan(events=events, rounds=rounds, paced_s=seconds))
    if not _written_as_json(report, as_json=as_json, output=output):
        print_report(report)


@app.command(
    help="From events on four topics to mails: events per second at the listener, mails per second "
    "at the sender, beside a mail and a transaction for each event. Two minutes. Examples: "
    "`orderflow bench notification`, `orderflow bench notification --orders 50000 --rounds 1`."
)
def notification(
    as_json: Json = False,
    smoke: Smoke = False,
    orders: Annotated[
        int, typer.Option(min=2_000, help="Orders preloaded for each turn: 4 events, 2 mails each.")
    ] = 10_000,
    rounds: Rounds = 3,
    output: Output = None,
) -> None:
    from orderflow.bench.notification.bench import SMOKE, Plan, run  # noqa: PLC0415 - heavy
    from orderflow.bench.notification.report import print_report  # noqa: PLC0415 - the same

    report = run(SMOKE if smoke else Plan(orders=orders, rounds=rounds))
    if not _written_as_json(report, as_json=as_json, output=output):
        print_report(report)


@app.command(
    help="From payments to revenue by customer: records per second through one process, beside the "
    "same without state and one transaction each. Bounded: about five minutes. Examples: "
    "`orderflow bench revenue`, `orderflow bench revenue --records 200000 --rounds 1 --json`."
)
def revenue(
    as_json: Json = False,
    smoke: Smoke = False,
    records: Annotated[
        int, typer.Option(min=10_000, help="Payments and refunds preloaded for each turn.")
    ] = 60_000,
    customers: Annotated[int, typer.Option(min=1, help="Whose payments they are.")] = 10_000,
    rounds: Rounds = 3,
    output: Output = None,
) -> None:
    from orderflow.bench.revenue.bench import SMOKE, Plan, run  # noqa: PLC0415 - heavy, as above
    from orderflow.bench.revenue.report import print_report  # noqa: PLC0415 - the same

    plan = SMOKE if smoke else Plan(records=records, customers=customers, rounds=rounds)
    report = run(plan)
    if not _written_as_json(report, as_json=as_json, output=output):
        print_report(report)


@app.command(
    help="What traces and metrics cost: the payment listener without them, with one trace in ten, "
    "and with every trace. About four minutes. Examples: `orderflow bench tracing`, "
    "`orderflow bench tracing --rounds 9 --output tracing.json`."
)
def tracing(
    as_json: Json = False,
    smoke: Smoke = False,
    records: Annotated[
        int, typer.Option(min=2_000, help="Orders preloaded for each turn.")
    ] = 20_000,
    rounds: Rounds = 5,
    output: Output = None,
) -> None:
    from orderflow.bench.tracing.bench import SMOKE, Plan, run  # noqa: PLC0415 - heavy, as above
    from orderflow.bench.tracing.report import print_report  # noqa: PLC0415 - the same

    report = run(SMOKE if smoke else Plan(records=records, rounds=rounds))
    if not _written_as_json(report, as_json=as_json, output=output):
        print_report(report)


@app.command(
    help="From payments into the warehouse and the lake: rows per second, and milliseconds from "
    "the producer's commit, beside a plain loop and one file. Two minutes. Examples: "
    "`orderflow bench copies`, `orderflow bench copies --payments 50000 --json`."
)
def copies(
    as_json: Json = False,
    smoke: Smoke = False,
    payments: Annotated[
        int, typer.Option(min=6_000, help="Payments in each backlog; refunds come on top.")
    ] = 20_000,
    rounds: Rounds = 1,
    rate: Annotated[int, typer.Option(min=1, help="Payments per second at a steady rate.")] = 100,
    seconds: Annotated[float, typer.Option(help="Length of the turn at a steady rate.")] = 20.0,
    output: Output = None,
) -> None:
    from orderflow.bench.copies.bench import SMOKE, Plan, run  # noqa: PLC0415 - heavy, as above
    from orderflow.bench.copies.report import print_report  # noqa: PLC0415 - the same

    plan = Plan(payments=payments, rounds=rounds, rate_per_s=rate, paced_s=seconds)
    report = run(SMOKE if smoke else plan)
    if not _written_as_json(report, as_json=as_json, output=output):
        print_report(report)


@app.command(
    help="Orders through the whole flow at constant rates: how many are sustained, how long one "
    "takes from POST to stock and mail, and what it costs, beside a naive flow; or with "
    "`--against URL` those of another implementation. Six minutes. Examples: "
    "`orderflow bench flow`, `orderflow bench flow --rate 200 --rate 500 --seconds 30 --poisson`."
)
def flow(  # noqa: PLR0913 - a command has as many options as it has
    *,
    as_json: Json = False,
    smoke: Smoke = False,
    rate: Annotated[
        list[int], typer.Option(min=1, help="Orders per second of a step; may be repeated.")
    ] = [100, 200, 500, 1_000],  # noqa: B006
    seconds: Annotated[float, typer.Option(help="Length of a step.")] = 20.0,
    poisson: Annotated[
        bool, typer.Option("--poisson", help="Orders at random moments, not at equal distances.")
    ] = False,
    all_steps: Annotated[
        bool, typer.Option("--all-steps", help="Go on after a step that is not sustained.")
    ] = False,
    all_services: Annotated[
        bool, typer.Option("--all-services", help="Also those that no order waits for.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes of each service.")] = 1,
    partitions: Annotated[int, typer.Option(min=1, help="Of each topic.")] = 3,
    naive: Annotated[bool, typer.Option(help="Then the baseline, on the same servers.")] = True,
    profile: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Flame graphs of one more step go there.")
    ] = None,
    against: Annotated[
        str, typer.Option(metavar="URL", help="Measure what takes orders at URL/orders instead.")
    ] = "",
    bootstrap: Annotated[
        str, typer.Option(help="With --against: the Kafka on which it tells of them.")
    ] = "localhost:9092",
    topics: Annotated[
        str,
        typer.Option(help="With --against: where orders, payments, stock and mails are told."),
    ] = "orders,payments,inventory,notifications",
    payment_mail: Annotated[
        int, typer.Option(min=1, help="With --against: which of an order's mails is of payment.")
    ] = 2,
    sku: Annotated[
        list[str], typer.Option(help="With --against: what to order; may be repeated.")
    ] = ["KEYBOARD-01", "MOUSE-01"],  # noqa: B006
    output: Output = None,
) -> None:
    from orderflow.bench.flow import bench  # noqa: PLC0415 - heavy, as above
    from orderflow.bench.flow.report import print_report  # noqa: PLC0415 - the same
    from orderflow.bench.flow.step import Clients  # noqa: PLC0415 - the same

    plan = bench.Plan(
        rates_per_s=tuple(rate),
        seconds=seconds,
        clients=Clients(is_poisson=poisson),
        goes_on=all_steps,
        has_all=all_services,
    )
    plan = msgspec.structs.replace(
        bench.SMOKE if smoke else plan,
        has_naive=naive,
        workers=workers,
        partitions=partitions,
        profile="" if profile is None else str(profile),
    )

    def progress(line: str) -> None:
        say(line, to_stderr=True)

    if against:
        other = bench.Other(
            url=against,
            bootstrap_servers=bootstrap,
            flow=bench.flow_of(topics.split(","), payment_mail=payment_mail),
            skus=tuple(sku),
        )
        report = bench.run_against(other, plan, progress)
    else:
        report = bench.run(plan, progress)
    if not _written_as_json(report, as_json=as_json, output=output):
        print_report(report)


@app.command(
    help="Years of orders: every listed query over HTTP under live orders, on an empty house and "
    "after so many generated orders; and the purges. Example: `orderflow bench years --orders "
    "1000000 --seconds 60`."
)
def years(
    as_json: Json = False,
    smoke: Smoke = False,
    orders: Annotated[int, typer.Option(min=2_000, help="Orders to generate.")] = 5_000_000,
    rate: Annotated[float, typer.Option(min=1, help="Live orders a second.")] = 200.0,
    seconds: Annotated[float, typer.Option(help="Length of a turn.")] = 120.0,
    output: Output = None,
) -> None:
    from orderflow.bench.years.bench import SMOKE, Plan, run  # noqa: PLC0415 - heavy, as above
    from orderflow.bench.years.report import print_report  # noqa: PLC0415 - the same

    plan = Plan(orders=orders, rate_per_s=rate, seconds=seconds)
    report = run(SMOKE if smoke else plan, lambda line: say(line, to_stderr=True))
    if not _written_as_json(report, as_json=as_json, output=output):
        print_report(report)


@app.command(
    help="Orders per second over many orders in the tables, from a backlog, and the memory of each "
    "process. A quarter of an hour; the full sizes take two. Examples: `orderflow bench growth`, "
    "`orderflow bench growth --generated 2000000 --backlog 200000 --minutes 30`."
)
def growth(
    as_json: Json = False,
    smoke: Smoke = False,
    generated: Annotated[
        int, typer.Option(min=1_000, help="Orders in the tables, the second time.")
    ] = 200_000,
    backlog: Annotated[int, typer.Option(min=1_000, help="Orders that wait.")] = 20_000,
    minutes: Annotated[float, typer.Option(help="How long memory is looked at.")] = 4.0,
    rate: Annotated[int, typer.Option(min=1, help="Orders per second: more than pass.")] = 1_500,
    seconds: Annotated[float, typer.Option(help="For so long.")] = 15.0,
    output: Output = None,
) -> None:
    from orderflow.bench.growth.bench import SMOKE, Plan, run  # noqa: PLC0415 - heavy, as above
    from orderflow.bench.growth.report import print_report  # noqa: PLC0415 - the same

    plan = Plan(
        generated=generated,
        backlog=backlog,
        minutes=minutes,
        offered_per_s=rate,
        seconds=seconds,
    )
    report = run(SMOKE if smoke else plan, lambda line: say(line, to_stderr=True))
    if not _written_as_json(report, as_json=as_json, output=output):
        print_report(report)


@app.callback()
def root() -> None:
    if "--help" in sys.argv or "-h" in sys.argv:
        return
    all_as_ctrl_c()
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"{', '.join(missing)} not installed: `make bench` installs what benchmarks need"
        )


def _written_as_json(report: msgspec.Struct, *, as_json: bool, output: Path | None) -> bool:
    """Write the report where JSON is wanted; returns whether standard output has got it."""
    text = msgspec.json.format(msgspec.json.encode(report)).decode()
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")
    if as_json:
        write_json(report)
    return as_json
