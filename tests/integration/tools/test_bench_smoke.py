"""
The benchmarks run to their end and count right. Never a timing: that is for people to read.

Those that may share a stack do, and it is brought to where each begins; the others run as commands,
on stacks of their own: they count all that there is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.stack import RUNNING_STACK
from typer.testing import CliRunner

from orderflow.bench.cli import app
from orderflow.bench.years.questions import QUESTIONS
from orderflow.contracts.roster import ALWAYS_RUN
from orderflow.stack.addresses import api_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.settings import ALL
from orderflow.stack.temporary_stack import temporary_stack
from orderflow.trials.harness import access

OURS = tuple(process.name for member in ALWAYS_RUN for process in member.runs)
WITH_PROVIDER = (*OURS, "psp")
ORDER = ("order-api", "order-relay")
Report = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with temporary_stack(ALL) as stack:
        yield stack


@pytest.fixture
def report(stack: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    def run(command: str, *, beside: tuple[str, ...] = ()) -> dict[str, Any]:
        """What `bench COMMAND` reports, with these processes of ours and no others."""
        keep_only(stack, beside)
        bench = import_module(f"orderflow.bench.{command}.bench")
        monkeypatch.setattr(bench, "temporary_stack", lambda *_, **__: nullcontext(stack))
        file = tmp_path / "report.json"
        done = CliRunner().invoke(app, [command, "--smoke", "--output", str(file)])
        if done.exception is not None:
            raise done.exception
        found: dict[str, Any] = msgspec.json.decode(file.read_bytes())
        return found

    return run


def keep_only(stack: LocalStack, names: tuple[str, ...]) -> None:
    """
    Of our processes and the provider these run; servers, and the mail sink, stay.

    A benchmark may start a provider of its own, at the same address.
    """
    for name in WITH_PROVIDER:
        if stack.find(name).is_up and name not in names:
            stack.stop_process(name)
    for name in names:
        if not stack.find(name).is_up:
            stack.start_process(name)


def report_of_command(command: str, directory: Path) -> dict[str, Any]:
    file = directory / "report.json"
    environment = {name: value for name, value in os.environ.items() if name != RUNNING_STACK}
    words = ("bench", command, "--smoke", "--output", str(file))
    subprocess.run(
        (sys.executable, "-m", "orderflow.cli.main", *words),
        check=True,
        timeout=280,
        env=environment,
    )
    found: dict[str, Any] = msgspec.json.decode(file.read_bytes())
    return found


@pytest.mark.long  # On a stack of its own; the flow's smoke posts, too.
def test_the_post_benchmark_finds_every_answered_order_in_the_database(tmp_path: Path) -> None:
    """And reports both sides."""
    found = report_of_command("post", tmp_path)
    assert found["machine"]["cores"] >= 1
    assert len({turn["target"] for turn in found["turns"]}) == 2
    assert all(turn["per_s"] > 0 and turn["api_cpu_us"] >= 0 for turn in found["turns"])
    assert found["orders_verified"] > 0
    assert found["drain"]["records"] > 0


def test_a_flow_benchmark_brings_every_order_through_once_and_the_books_balance(
    report: Report,
) -> None:
    """Before the others that share the stack: its books count all that there is."""
    found = report("flow", beside=WITH_PROVIDER)
    assert found["wrong"] == []
    (step,) = found["steps"]
    way = step["way"]
    assert (way["refused"], way["missing"], way["repeated"]) == (0, 0, 0)
    assert way["posted"] == way["whole"]["count"] == 40
    assert {hop["count"] for hop in way["hops"].values()} == {40}
    # Those of the warm-up too.
    assert found["orders"] == 60

    assert {"order-api", "payment", "kafka", "postgres"} <= set(step["used"])
    assert all(used["cpu_s"] >= 0 and used["memory_mib"] > 1 for used in step["used"].values())
    assert step["work"]["inserted"] > 40
    assert step["work"]["requests"]["Produce"] > 0

    (naive,) = found["naive"]
    assert naive["way"]["posted"] == naive["way"]["whole"]["count"] == 20
    assert (naive["way"]["refused"], naive["way"]["repeated"]) == (0, 0)
    parts = {"naive-api", "naive-payment-0", "naive-inventory-2", "naive-order-poller"}
    assert parts <= set(naive["used"])
    assert not set(OURS) & set(naive["used"])


@pytest.mark.long  # Load, watcher and report are those of our own flow.
def test_another_implementation_is_measured_by_what_it_takes_and_tells(
    stack: LocalStack, tmp_path: Path
) -> None:
    """Ours, as one that somebody else runs: no CPU, no books."""
    keep_only(stack, WITH_PROVIDER)
    file = tmp_path / "report.json"
    servers = access(stack).kafka.bootstrap_servers
    place = ("--against", api_url(stack.settings, "order"), "--bootstrap", servers)
    done = CliRunner().invoke(app, ["flow", "--smoke", *place, "--output", str(file)])
    if done.exception is not None:
        raise done.exception

    found = msgspec.json.decode(file.read_bytes())
    (step,) = found["steps"]
    way = step["way"]
    assert (way["refused"], way["missing"], way["repeated"]) == (0, 0, 0)
    assert way["whole"]["count"] == 40
    assert (step["used"], step["work"], found["orders"], found["naive"]) == ({}, None, None, [])


def test_the_inventory_benchmark_keeps_the_stock_right_for_every_order(report: Report) -> None:
    found = report("inventory", beside=WITH_PROVIDER)
    assert {turn["target"] for turn in found["turns"]} == {
        "orderflow inventory",
        "a transaction for each event",
    }
    assert all(turn["per_s"] > 0 and turn["reserved"] > 0 for turn in found["turns"])
    (way,) = found["flows"]
    assert (way["duplicates"], way["missing"]) == (0, 0)
    assert way["whole"]["count"] > 400
    assert all(hop["count"] == way["whole"]["count"] for hop in way["hops"].values())


def test_a_relay_benchmark_finds_every_row_once_on_both_sides(report: Report) -> None:
    found = report("relay", beside=ORDER)
    assert len({drain["target"] for drain in found["drains"]}) == 2
    assert {drain["rows"] for drain in found["drains"]} == {found["plan"]["rows"]}
    assert len({turn["target"] for turn in found["paced"]}) == 2
    assert all(turn["from_commit"]["count"] > 100 for turn in found["paced"])
    assert [
        (turn["duplicates"], turn["missing"]) for turn in (*found["drains"], *found["paced"])
    ] == [(0, 0)] * 4


def test_a_payment_benchmark_pays_every_order_once_on_every_side(report: Report) -> None:
    found = report("payment")
    assert len({turn["target"] for turn in found["turns"]}) == 7
    assert all(turn["per_s"] > 0 for turn in found["turns"])
    assert [(turn["duplicates"], turn["missing"]) for turn in found["turns"]] == [(0, 0)] * 7
    assert set(found["ratios"]) == {"one transaction each", "no transactions"}


@pytest.mark.long  # Mails go out, and are counted, in the flow's smoke.
def test_a_notification_benchmark_sends_every_mail_once_under_its_number(report: Report) -> None:
    found = report("notification")
    assert {turn["target"] for turn in found["turns"]} == {
        "orderflow listener",
        "orderflow sender",
        "a mail for each event",
    }
    assert all(turn["per_s"] > 0 and turn["cpu_us"] > 0 for turn in found["turns"])
    assert found["mails"] == 2 * found["plan"]["orders"]


@pytest.mark.long  # On a stack of its own.
def test_a_revenue_benchmark_counts_every_payment_once_on_every_side(tmp_path: Path) -> None:
    """And ours has every customer's totals right: a turn whose totals are wrong gives no figure."""
    found = report_of_command("revenue", tmp_path)
    turns = {turn["target"]: turn for turn in found["turns"]}
    assert len(turns) == 3
    assert all(turn["per_s"] > 0 for turn in turns.values())
    assert [(turn["duplicates"], turn["missing"]) for turn in turns.values()] == [(0, 0)] * 3
    assert set(found["ratios"]) == {"without state", "one transaction each"}
    assert turns["orderflow revenue"]["customers"] > 400


@pytest.mark.long  # Its turns are those of the payment benchmark.
def test_a_tracing_benchmark_pays_every_order_once_and_its_spans_arrive(tmp_path: Path) -> None:
    found = report_of_command("tracing", tmp_path)
    assert [(turn["duplicates"], turn["missing"]) for turn in found["turns"]] == [(0, 0)] * 3
    # Of each order the processing and the sending, and some batches.
    assert found["spans"] >= 2 * found["plan"]["records"]


@pytest.mark.long  # On a stack of its own: it fills every database.
def test_a_years_benchmark_asks_every_question_and_purges_what_is_old(tmp_path: Path) -> None:
    found = report_of_command("years", tmp_path)
    empty, full = found["turns"]
    assert full["orders_before"] >= found["plan"]["orders"]
    assert empty["questions"].keys() == full["questions"].keys() == QUESTIONS.keys()
    assert all(turn["placed"] > 0 and turn["refused"] == {} for turn in found["turns"])
    # The payment API may have been faster than the question.
    assert all(purge["rows"] > 0 for purge in full["purges"] if "inbox" in purge["what"])
    (webhooks,) = [purge for purge in full["purges"] if "webhooks" in purge["what"]]
    assert webhooks["left"] == 0


@pytest.mark.long  # Connect has to be warm before it can be told from a loop.
def test_a_copies_benchmark_has_every_payment_in_both_copies(tmp_path: Path) -> None:
    """And the tables have every row: a turn whose sums are wrong gives no figure."""
    found = report_of_command("copies", tmp_path)
    assert len({turn["target"] for turn in found["turns"]}) == 5
    assert all(turn["per_s"] > 0 for turn in found["turns"])
    assert len(found["ratios"]) == 3
    paced = found["paced"]
    assert paced["payments"] > 100
    assert {paced[copy]["count"] for copy in ("warehouse", "lake")} == {paced["payments"]}


@pytest.mark.long  # A stack of its own, and generated rows.
def test_a_growth_benchmark_brings_every_order_through_before_and_over_generated_ones(
    tmp_path: Path,
) -> None:
    """And drains a backlog to its end; the books of what was placed before balance."""
    found = report_of_command("growth", tmp_path)
    assert found["wrong"] == []
    for name in ("empty", "steady", "full"):
        way = found[name]["way"]
        assert (way["refused"], way["missing"], way["repeated"]) == (0, 0, 0)
    backlog = found["backlog"]
    assert (backlog["orders"], backlog["missing"], backlog["repeated"]) == (1_200, 0, 0)
    assert backlog["per_s"] > 0

    before = [found[name]["way"]["posted"] for name in ("empty", "steady")]
    assert found["orders"] == sum(before) + 1_200 + 20
    assert {"payment", "kafka", "order-api"} <= set(found["memory"])
    assert all(each["first_mib"] > 1 for each in found["memory"].values())
