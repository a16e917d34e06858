"""The benchmarks run to their end and count right. Never a timing: that is for people to read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from tests.support.stack import RUNNING_STACK


def report(command: str, directory: Path) -> dict[str, Any]:
    file = directory / "report.json"
    environment = {name: value for name, value in os.environ.items() if name != RUNNING_STACK}
    subprocess.run(
        (
            sys.executable,
            "-m",
            "orderflow.cli.main",
            "bench",
            command,
            "--smoke",
            "--output",
            str(file),
        ),
        check=True,
        timeout=280,
        env=environment,
    )
    found: dict[str, Any] = msgspec.json.decode(file.read_bytes())
    return found


def test_the_post_benchmark_finds_every_answered_order_in_the_database(
    tmp_path: Path,
) -> None:
    """And reports both sides."""
    found = report("post", tmp_path)
    assert found["machine"]["cores"] >= 1
    assert len({turn["target"] for turn in found["turns"]}) == 2
    assert all(turn["per_s"] > 0 and turn["api_cpu_us"] >= 0 for turn in found["turns"])
    assert found["orders_verified"] > 0
    assert found["drain"]["records"] > 0


def test_a_relay_benchmark_finds_every_row_once_on_both_sides(tmp_path: Path) -> None:
    found = report("relay", tmp_path)
    assert len({drain["target"] for drain in found["drains"]}) == 2
    assert {drain["rows"] for drain in found["drains"]} == {found["plan"]["rows"]}
    assert len({turn["target"] for turn in found["paced"]}) == 2
    assert all(turn["from_commit"]["count"] > 100 for turn in found["paced"])
    assert [
        (turn["duplicates"], turn["missing"]) for turn in (*found["drains"], *found["paced"])
    ] == [(0, 0)] * 4


def test_a_payment_benchmark_pays_every_order_once_on_every_side(tmp_path: Path) -> None:
    found = report("payment", tmp_path)
    assert len({turn["target"] for turn in found["turns"]}) == 6
    assert all(turn["per_s"] > 0 for turn in found["turns"])
    assert [(turn["duplicates"], turn["missing"]) for turn in found["turns"]] == [(0, 0)] * 6
    assert set(found["ratios"]) == {"one transaction each", "no transactions"}


def test_the_inventory_benchmark_keeps_the_stock_right_for_every_order(
    tmp_path: Path,
) -> None:
    found = report("inventory", tmp_path)
    assert {turn["target"] for turn in found["turns"]} == {
        "orderflow inventory",
        "a transaction for each event",
    }
    assert all(turn["per_s"] > 0 and turn["reserved"] > 0 for turn in found["turns"])
    (way,) = found["flows"]
    assert (way["duplicates"], way["missing"]) == (0, 0)
    assert way["whole"]["count"] > 400
    assert all(hop["count"] == way["whole"]["count"] for hop in way["hops"].values())


def test_a_revenue_benchmark_counts_every_payment_once_on_every_side(tmp_path: Path) -> None:
    """And ours has every customer's totals right: a turn whose totals are wrong gives no figure."""
    found = report("revenue", tmp_path)
    turns = {turn["target"]: turn for turn in found["turns"]}
    assert len(turns) == 3
    assert all(turn["per_s"] > 0 for turn in turns.values())
    assert [(turn["duplicates"], turn["missing"]) for turn in turns.values()] == [(0, 0)] * 3
    assert set(found["ratios"]) == {"without state", "one transaction each"}
    assert turns["orderflow revenue"]["customers"] > 400


def test_a_tracing_benchmark_pays_every_order_once_and_its_spans_arrive(tmp_path: Path) -> None:
    found = report("tracing", tmp_path)
    assert [(turn["duplicates"], turn["missing"]) for turn in found["turns"]] == [(0, 0)] * 3
    # Of each order the processing and the sending, and some batches.
    assert found["spans"] >= 2 * found["plan"]["records"]
