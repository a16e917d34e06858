"""The benchmark of copies: its load, its baseline's rows, when it says a payment is there."""

from __future__ import annotations

import random
from collections.abc import Mapping

import msgspec
import pytest
from tests.unit.bench.test_revenue import MACHINE

from orderflow.bench.copies import load, naive, watch
from orderflow.bench.copies.bench import LAKE, NAIVE, ONE_FILE, READ, WAREHOUSE, Plan, Report, Turn
from orderflow.bench.copies.load import Written
from orderflow.bench.copies.paced import Cost, Paced, Rate
from orderflow.bench.copies.report import print_report
from orderflow.connect.warehouse import COLUMNS
from orderflow.contracts.events import PaymentRefunded, PaymentSucceeded
from orderflow.trials.latency import Percentiles


def test_every_twentieth_payment_is_refunded_whole_after_it_was_captured() -> None:
    events = load.with_refunds(100, draw=random.Random(1))
    captures = [event for event in events if isinstance(event, PaymentSucceeded)]
    refunds = [event for event in events if isinstance(event, PaymentRefunded)]
    assert (len(captures), len(refunds)) == (100, 5)

    of = {event.payment_id: event for event in captures}
    for refund in refunds:
        capture = of[refund.payment_id]
        assert refund.amount_minor == capture.amount_minor
        assert events.index(capture) < events.index(refund)


def test_the_loops_statement_gets_one_row_for_a_payment_and_its_refund() -> None:
    """PostgreSQL refuses a statement that would upsert a row twice."""
    events = load.with_refunds(20, draw=random.Random(1))
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in naive.rows_of(events)]
    assert len({row["payment_id"] for row in rows}) == len(rows) == 20
    (refunded,) = (row for row in rows if row["refund_id"] is not None)
    assert refunded["payment_method"] == "pm_ok"


class _Answers(watch.Committed):
    """A group that has committed these offsets, one answer after the other."""

    def __init__(self, *answers: Mapping[int, int]) -> None:
        self._answers = iter(answers)
        self._last = dict(answers[-1])

    def offsets(self) -> dict[int, int]:
        return dict(next(self._answers, self._last))


def test_a_record_is_committed_once_an_offset_behind_it_is() -> None:
    places = {0: [3, 4, 6], 1: [2]}
    assert _Answers({0: 4}).count(places) == 1
    assert _Answers({0: 7, 1: 2}).count(places) == 3
    assert _Answers({0: 7, 1: 3}).count(places) == 4


def test_a_step_passes_what_was_before_it_and_nothing_else() -> None:
    steps = watch.Steps(_Answers({0: 4}))
    steps.add({0: 4}, now_ns=100)
    steps.add({0: 4}, now_ns=200)
    steps.add({0: 6}, now_ns=300)
    assert [steps.passed_ns(0, offset) for offset in (3, 4, 5, 6)] == [100, 300, 300, None]
    assert steps.passed_ns(1, 0) is None
    assert steps.have_passed([Written(0, 0, 5, 0, 0, 0)])
    assert not steps.have_passed([Written(0, 0, 5, 0, 0, 0), Written(1, 0, 6, 0, 0, 0)])


def test_a_report_shows_each_copy_beside_its_baselines(capsys: pytest.CaptureFixture[str]) -> None:
    turns = [
        Turn(target=target, rows=21_000, per_s=per_s, cpu_us_per_row=25.0, memory_mb=200)
        for target, per_s in (
            (WAREHOUSE, 1_111),
            (NAIVE, 2_222),
            (LAKE, 3_333),
            (READ, 4_444),
            (ONE_FILE, 5_555),
        )
    ]
    latency = Percentiles(p50_ms=26, p99_ms=439, p999_ms=500, max_ms=571, count=2_000)
    paced = Paced(
        rate_per_s=100,
        payments=Rate(per_s=100, seconds=20).payments,
        seconds=26,
        warehouse=latency,
        lake=latency,
        generator_lag=latency,
        worker=Cost(cpu_s=3, memory_mb=440),
        exporter=Cost(cpu_s=1, memory_mb=168),
    )

    report = Report(machine=MACHINE, plan=Plan(), turns=turns, ratios={"a / b": 0.5}, paced=paced)
    print_report(report)
    shown = capsys.readouterr().out
    assert all(rate in shown for rate in ("1,111", "2,222", "3,333", "4,444", "5,555"))
    assert "0.50 × a / b" in shown
    assert "void" in shown
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
