"""
`orderflow demo`, twice, on an instance of its own: everything arrives and ends well, each run
shows its own.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, CompletedProcess, Popen
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from tests.support.alert_rules import rule_queries, scrape_targets
from tests.support.metric_names import observed, sample_names
from tests.support.printed_commands import commands_shown
from tests.support.promql import metric_names
from tests.support.recorded_metrics import scraped
from tests.support.runbooks import reading_lines
from tests.support.stack import temporary_home
from tests.support.whole_stack import WholeStack, free_offset

from orderflow.contracts.roster import ALL_GROUPS, ROSTER, subscribed
from orderflow.messaging.testing.eventually import eventually
from orderflow.services.metrics import exported_by, metrics

END_OF_A_HISTOGRAMS_NAME = r"_(bucket|sum|count)$"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-"


def order_ids(output: str) -> set[str]:
    return set(re.findall(r"201 .* ([0-9a-f-]{36})$", output, re.MULTILINE))


def count(pattern: str, output: str) -> int:
    return len(re.findall(pattern, output, re.MULTILINE))


RECORDS = {
    "ada": (
        *("OrderCreated", "OrderEvent", "PaymentRequested", "PaymentSucceeded", "OrderEvent"),
        *("StockReserved", "OrderShipped", "OrderEvent", "OrderEvent"),
    ),
    "barbara": (
        *("OrderCreated", "OrderEvent", "PaymentRequested", "PaymentSucceeded", "OrderEvent"),
        *("StockReserved", "OrderCancelled", "OrderEvent", "PaymentRefunded", "StockReleased"),
    ),
    "grace": ("OrderCreated", "OrderEvent", "PaymentFailed"),
    "linus": (
        *("OrderCreated", "OrderEvent", "PaymentSucceeded", "OrderEvent"),
        *("StockRejected", "OrderCancelled", "OrderEvent", "PaymentRefunded"),
    ),
    "margaret": ("OrderCreated", "OrderEvent", "PaymentSucceeded", "OrderEvent", "StockReserved"),
}
ENDS = {
    "ada": r"DELIVERED +SUCCEEDED +RESERVED +179.80 EUR captured once",
    "barbara": r"CANCELLED +REFUNDED +RELEASED +34.90 EUR captured once, 34.90 EUR refunded",
    "grace": r"CREATED +FAILED +NONE +nothing captured",
    "linus": r"CANCELLED +REFUNDED +REJECTED +499.00 EUR captured once, 499.00 EUR refunded",
    "margaret": r"PAID +SUCCEEDED +RESERVED +237.00 EUR captured once",
}
FOLLOWED = {
    "ada": ("CLOSED", 4),
    "barbara": ("CALLED_OFF", 4),
    "grace": ("none", 2),
    "linus": ("CALLED_OFF", 5),
    "margaret": ("PREPARED", 2),
}
REVENUE = {
    "ada": r"179.80 EUR +0.00 EUR +0.00 EUR +179.80 EUR +1 +0",
    "barbara": r"34.90 EUR +34.90 EUR +0.00 EUR +0.00 EUR +1 +1",
    "grace": r"0.00 EUR +0.00 EUR +0.00 EUR +0.00 EUR +0 +0",
    "linus": r"499.00 EUR +499.00 EUR +0.00 EUR +0.00 EUR +1 +1",
    "margaret": r"237.00 EUR +0.00 EUR +0.00 EUR +237.00 EUR +1 +0",
}
"""Of the first run; the second adds to it."""

COMMANDS = {
    "ada": (("pay", "PAID"), ("ship", "SHIPPED"), ("deliver", "DELIVERED")),
    "barbara": (("pay", "PAID"), ("cancel", "CANCELLED")),
}


NOT_EXPORTED = {"up", "orderflow_spans_total", "orderflow_listener_gate_closed"}
"""Prometheus' own; without a back end for spans; before a resource was away."""


@dataclass(frozen=True)
class Ran:
    """The demo, then once more with Connect, on a stack that is still up."""

    stack: WholeStack
    first: CompletedProcess[str]
    second: CompletedProcess[str]


@pytest.fixture(scope="module")
def tool() -> Iterator[Path]:
    """The command, at a place that no shell looks at and that has to be quoted."""
    with temporary_home() as home:
        script = home.parent / "my tools" / "orderflow"
        script.parent.mkdir()
        script.write_text(f"#!{sys.executable}\nfrom orderflow.cli.main import main\nmain()\n")
        script.chmod(0o755)
        yield script


@pytest.fixture(scope="module")
def ran() -> Iterator[Ran]:
    with temporary_home() as state, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORDERFLOW_OPERATIONS__AUDITOR__EVERY_S", "5")
        stack = WholeStack(state, free_offset())
        try:
            first = stack.orderflow("demo")
            assert first.returncode == 0, first.stdout + first.stderr
            second = stack.orderflow("demo", "--with", "connect")
            assert second.returncode == 0, second.stdout + second.stderr
            yield Ran(stack, first, second)
        finally:
            stack.orderflow("down")


@pytest.mark.timeout(700)
def test_the_demo_follows_five_kinds_of_order_to_their_ends(ran: Ran) -> None:
    """Record by record, and its own orders only."""
    stack, first, second = ran.stack, ran.first, ran.second
    status = stack.orderflow("status", "--json")
    for process in json.loads(status.stdout)["processes"]:
        if process["service"] in {member.name for member in ROSTER}:
            assert_exports_what_it_does(process)
    for output in (first.stdout, second.stdout):
        for customer, names in RECORDS.items():
            for name in names:
                assert count(rf"^{customer} +{name} +[a-z-]+-\d@\d+ +", output) == names.count(
                    name
                ), (customer, name)
            assert count(rf"^{customer} +{ENDS[customer]}", output) == 1, customer
        for customer, (shipment, mails) in FOLLOWED.items():
            [row] = re.findall(rf"^{customer} +{shipment} +(\S.*)$", output, re.MULTILINE)
            assert row.count(" · ") == mails - 1, customer
        for customer, steps in COMMANDS.items():
            for step, became in steps:
                assert count(rf"^{customer} +POST …/{step} +200 {became} ", output) == 1, (
                    customer,
                    step,
                )
        assert count(r"^margaret +payment UNKNOWN", output) == 1
        assert (
            f"all {sum(map(len, RECORDS.values()))} seen by Kafka's console consumer too" in output
        )
        assert count(r"Java saw +Partition:\d +Offset:\d+ +[0-9a-f-]{36}", output) == 1
        assert re.search(r"^  \S+ down$", output, re.MULTILINE)
        assert f":{8080 + stack.offset}/docs" in output
    for customer, moved in REVENUE.items():
        assert count(rf"^{customer} +{moved} *$", first.stdout) == 1, customer
    assert count(r"^ada +359.60 EUR +0.00 EUR +179.80 EUR +359.60 EUR +2 +0 *$", second.stdout) == 1
    assert len(order_ids(first.stdout)) == len(order_ids(second.stdout)) == 5
    assert not order_ids(first.stdout) & order_ids(second.stdout)
    assert "already running" in second.stderr
    report = json.loads(status.stdout)
    assert {process["health"] for process in report["processes"]} == {"ok"}
    assert {group["group"]: group["waiting"] for group in report["groups"]} == dict.fromkeys(
        ALL_GROUPS, 0
    )
    assert all(
        set(group["topics"]) == set(subscribed(group["group"])) for group in report["groups"]
    )


def test_what_goes_on_by_connect_is_shown_only_where_it_does(ran: Ran) -> None:
    """The warehouse's row of the order just paid, and one sum three times."""
    heading = "where payments go on to"
    assert heading not in ran.first.stdout
    assert heading in ran.second.stdout
    assert count(r"^ada +in the warehouse's table payments", ran.second.stdout) == 1
    assert count(r"^ +[0-9a-f-]{36} +SUCCEEDED +179.80 EUR *$", ran.second.stdout) == 1
    [sums] = re.findall(
        r"^EUR +(\S+) EUR +(\S+) EUR +(\S+) EUR *$", ran.second.stdout, re.MULTILINE
    )
    assert len(set(sums)) == 1
    books = re.findall(r"^(warehouse|lake) ", ran.second.stdout, re.MULTILINE)
    assert set(books) == {"warehouse", "lake"}


def assert_exports_what_it_does(process: dict[str, Any]) -> None:
    """Its metrics are those that the table names for its service and its roles, and no others."""
    found = samples(process["address"])
    roles = process["role"].split(",")
    listens = bool({"listener", "exporter"} & set(roles))
    for prefix, is_expected in (
        ("http_server_request_duration_seconds", True),
        ("orderflow_relay_", "relay" in roles),
        ("orderflow_listener_records_total", listens),
        ("orderflow_listener_waiting_oldest_seconds", listens),
        ("messaging_process_duration_seconds", listens),
        ("orderflow_group_commit_", process["name"] == "order-api"),
    ):
        is_there = any(sample.name.startswith(prefix) for sample in found)
        assert is_there == is_expected, (process["name"], prefix)

    by_name = {metric.name: metric for metric in metrics()}
    by_observer = observed()
    for sample in found:
        if sample.name in by_observer:
            assert process["service"] == "operations"
            assert sample.labels.keys() == by_observer[sample.name], sample
            continue
        if not sample.name.startswith(("orderflow_", "messaging_", "http_")):
            continue
        metric = (
            by_name.get(sample.name) or by_name[re.sub(END_OF_A_HISTOGRAMS_NAME, "", sample.name)]
        )
        assert sample.labels.keys() - {"le"} == set(metric.labels), sample
        if metric.module.startswith("orderflow.services."):
            assert exported_by(metric) == process["service"], sample
        if "relay" in sample.labels:
            assert sample.labels["relay"] == process["service"]
        assert not re.search(UUID, str(sample.labels)), "no ids"


def samples(address: str) -> list[Sample]:
    """What a process exports."""
    text = httpx2.get(f"{address}/metrics", trust_env=False).text
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def test_what_processes_export_is_what_alerts_and_dashboards_ask_for(ran: Ran) -> None:
    """Each at the port where Prometheus would ask; names and labels are those of the source."""
    measured = sample_names()
    exported: set[str] = set()
    for process, port in scrape_targets().items():
        address = f"http://127.0.0.1:{port + ran.stack.offset}"
        with httpx2.Client(base_url=address, timeout=30, trust_env=False) as client:
            samples = scraped(client)
        ours = {of for of in samples if not of[0].startswith(("process_", "python_"))}
        assert ours, process
        assert {name for name, _ in ours} <= measured.keys(), process
        for name, labels in ours:
            assert {label for label, _ in labels} == measured[name], name
        exported |= {name for name, _ in samples}

    asked_for = {name for query in rule_queries() for name in metric_names(query)}
    assert asked_for & measured.keys() - exported <= NOT_EXPORTED


def test_what_runbooks_tell_to_look_at_can_be_looked_at(ran: Ran, tool: Path) -> None:
    lines = reading_lines(min(order_ids(ran.first.stdout)))
    assert len(lines) > 30
    on_path = {"PATH": f"{tool.parent}{os.pathsep}{os.environ['PATH']}"}
    done = typed(ran.stack, lines, **on_path)
    assert {line: each.stderr for line, each in done.items() if each.returncode != 0} == {}


def typed(
    stack: WholeStack, lines: Sequence[str], **environment: str
) -> dict[str, CompletedProcess[str]]:
    """Each line in a shell, some at a time."""
    with ThreadPoolExecutor(4) as several:
        done = several.map(lambda line: stack.shell(line, **environment), lines)
        return dict(zip(lines, done, strict=True))


def test_the_books_of_both_runs_balance_and_operations_says_so_over_http(ran: Ran) -> None:
    placed = order_ids(ran.first.stdout) | order_ids(ran.second.stdout)
    with ran.stack.api("operations") as api:

        def balanced() -> dict[str, Any] | None:
            books: dict[str, Any] = api.get("/books").raise_for_status().json()
            return books if books["verdict"] == "BALANCED" and not books["missing"] else None

        books = eventually(balanced, within_s=120, every_s=1, why="the books balance") or {}
        differences = scraped(api)
        assert api.get("/orders/stuck").json() == {"items": [], "nextCursor": None}
        assert api.get("/dead-letters").json() == {"items": [], "nextCursor": None}
    assert books["orders"] == len(placed)
    assert books["differences"] == books["inFlight"] == []
    checked = {row["check"]: row["checked"] for row in books["checks"]}
    assert checked["stock"] > 0
    exported = {
        dict(labels)["check"]: number
        for (name, labels), number in differences.items()
        if name == "orderflow_books_differences"
    }
    assert exported == dict.fromkeys(checked, 0)


LOOKED_AT = (
    *("books", "dlt list", "dlt list --each", "lag", "mail", "orders", "relay held list"),
    *("status", "stuck", "up"),
)
ENDED_BY_ITSELF = re.compile(
    r"(books|dlt (list|show)|lag|logs|mail|order|orders|relay held|revenue|status|trace)\b"
)
CODES = {0, 1, 3}
"""Of docs/exit-codes.md; 2 is wrong usage, which nobody prints."""


def test_what_the_commands_print_can_be_typed_as_it_stands_up_and_down(
    ran: Ran, tool: Path
) -> None:
    """
    Method: a record that nobody can read becomes dead letters, an order gets late, and whoever
    looks around types what he is shown, and what that shows. Then once more without a stack.
    """
    stack, called = ran.stack, shlex.quote(str(tool))
    order = min(order_ids(ran.first.stdout))
    nonsense = f"echo nonsense | {called} kafka console-producer --topic orders"
    assert stack.shell(nonsense).returncode == 0
    late = f"ORDERFLOW_ORDER__DEADLINES__SHIP_S=0.001 {called} restart order-api"
    assert stack.shell(late).returncode == 0
    eventually(
        lambda: (
            "`" in stack.shell(f"{called} stuck").stdout
            and "dlt/" in stack.shell(f"{called} dlt list --each").stdout
        ),
        within_s=60,
        every_s=1,
        why="there is something to look at",
    )

    seen = shown_by(stack, called, [*LOOKED_AT, f"order {order}", f"trace {order}"])
    for verb in ("dlt show", "dlt list", "down", "status", "stuck cancel", "tail orders", "trace"):
        assert any(line.startswith(f"{called} {verb}") for line in seen), verb
    for verb in ("dlt discard", "stuck cancel"):
        done = stack.shell(min(line for line in seen if line.startswith(f"{called} {verb}")))
        assert done.returncode == 0, done.stderr
    assert_follows_until_ctrl_c(stack, f"{called} tail orders")

    assert stack.shell(f"{called} down").returncode == 0
    afterwards = shown_by(stack, called, [*LOOKED_AT[:2], "status", "stuck", f"trace {order}"])
    assert f"{called} up" in afterwards


def assert_follows_until_ctrl_c(stack: WholeStack, line: str) -> None:
    command = ["bash", "-c", f"exec {line}"]
    with Popen(command, env=stack.environment, stdout=DEVNULL, stderr=PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "waiting for more; Ctrl-C ends\n"
        process.send_signal(signal.SIGINT)
        assert (process.stderr.read(), process.wait(30)) == ("ended\n", 0)


def shown_by(stack: WholeStack, called: str, commands: Sequence[str]) -> set[str]:
    """What commands print to be typed, and what that prints; each ends as it is documented."""
    seen: set[str] = set()
    lines = [f"{called} {command}" for command in commands]
    for _ in range(2):
        seen |= set(lines)
        done = typed(stack, lines)
        for line, each in done.items():
            assert each.returncode in CODES, (line, each.stderr)
            assert "Traceback" not in each.stderr, (line, each.stderr)
            said = each.stdout + each.stderr
            assert not re.search(r"(?<![\w./-])orderflow (?!demo)[a-z]", said), (line, said)
        shown = {
            command
            for each in done.values()
            for command in commands_shown(each.stdout + each.stderr, called)
        }
        # One of each kind: CI's time is short.
        matches = (ENDED_BY_ITSELF.match(line, len(called) + 1) for line in sorted(shown - seen))
        lines = list({each[0]: each.string for each in matches if each}.values())
        seen |= shown
    return seen
