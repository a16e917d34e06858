"""
`orderflow bench tracing`: the payment listener's throughput with spans and scrapes, and without.

The payment service's own listener, its database included, over a provider in its own process. In
turns: without tracing; with one trace in ten, exported to a back end, and all metrics written out
each second; and with every trace. The back end is a process of its own that takes what it gets, on
the same machine.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from orderflow.bench.payment.bench import PaymentTurns, Turn
from orderflow.bench.tracing import back_end
from orderflow.stack.ports import free_ports
from orderflow.stack.temporary_stack import INFRASTRUCTURE, temporary_stack
from orderflow.trials.harness import ratio, wait_for
from orderflow.trials.machine import Machine, this_machine
from orderflow.trials.processes import python_module, running

OFF, TENTH, ALL = "off", "1 in 10", "every"
SAMPLED: Mapping[str, float] = {OFF: 0.1, TENTH: 0.1, ALL: 1.0}
"""Of the records on the topic: while tracing is off, their flags change nothing."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Orders preloaded for each turn."""

    records: int = 20_000
    rounds: int = 5
    warm_up_records: int = 20_000


SMOKE = Plan(records=2_000, rounds=1, warm_up_records=0)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`ratios`: records per second against those without tracing, medians of the same run."""

    machine: Machine
    plan: Plan
    turns: list[Turn]
    ratios: dict[str, float]
    spans: int


def run(plan: Plan) -> Report:
    machine = this_machine()
    [port] = free_ports(1)
    on = {
        "ORDERFLOW_TELEMETRY__TRACES__EXPORTER": "zipkin",
        "ORDERFLOW_TELEMETRY__TRACES__ENDPOINT": f"http://127.0.0.1:{port}{back_end.PATH}",
    }
    inline: Mapping[str, object] = {"calls_max": 500, "inline": True}
    scraped = {**inline, "scraped": True}
    workers = {OFF: inline, TENTH: scraped, ALL: scraped}

    turns: list[Turn] = []
    with (
        temporary_stack(INFRASTRUCTURE) as stack,
        running(python_module("orderflow.bench.tracing.back_end", str(port))),
    ):
        wait_for(
            lambda: back_end.taken(port) is not None, within_s=30, what="the back end of spans"
        )
        bench = PaymentTurns(stack, workers, {TENTH: on, ALL: on})
        if plan.warm_up_records:
            bench.turn(OFF, plan.warm_up_records)
        for _ in range(plan.rounds):
            turns += [
                bench.turn(name, plan.records, sampled=SAMPLED[name]) for name in (OFF, TENTH, ALL)
            ]
        spans = back_end.taken(port) or 0

    return Report(
        machine=machine,
        plan=plan,
        turns=turns,
        ratios={name: ratio(turns, name, OFF) for name in (TENTH, ALL)},
        spans=spans,
    )
