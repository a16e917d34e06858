"""The benchmark of growth: what a drain and a slope come to, its tables."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.bench.test_flow import MS, S, posted, seen, step
from tests.unit.bench.test_revenue import MACHINE

from orderflow.bench.flow.load import OURS
from orderflow.bench.growth.backlog import Drain, the_drain
from orderflow.bench.growth.bench import Plan, Report
from orderflow.bench.growth.memory import Memory, memory_of, slope
from orderflow.bench.growth.report import print_report
from orderflow.messaging.errors import OrderflowError


def test_a_drain_is_counted_from_the_first_that_is_done_to_the_last_order_through() -> None:
    orders = [posted(order) for order in "abcd"]
    what = seen(*"abcd")
    for number, order in enumerate("abcd"):
        what.at_ns["inventory"][order] = [10 * S + number * 500 * MS]
    drained = the_drain(orders, what, OURS, started_ns=8 * S)
    assert drained == Drain(orders=4, per_s=2.0, seconds=3.5, missing=0, repeated=0)


def test_mails_that_all_come_late_make_no_drain_faster() -> None:
    orders, what = [posted(order) for order in "abcd"], seen(*"abcd", inventory=10 * S)
    for number, order in enumerate("abcd"):
        what.at_ns["notifications"][order] = [9 * S, 20 * S + number * 500 * MS]
    drained = the_drain(orders, what, OURS, started_ns=8 * S)
    assert drained.per_s == pytest.approx(4 / 11.5)


def test_a_drain_says_what_is_missing_or_came_twice_and_is_none_without_a_backlog() -> None:
    orders = [posted(order) for order in "abc"]
    what = seen("a", "b", repeated=1)
    what.at_ns["inventory"]["b"] = [2 * S]
    drained = the_drain(orders, what, OURS, started_ns=0)
    assert (drained.missing, drained.repeated) == (1, 1)

    with pytest.raises(OrderflowError, match="1 of 2 orders were refused"):
        the_drain([posted("a"), posted("", status=503)], what, OURS, started_ns=0)
    with pytest.raises(OrderflowError, match="too few"):
        the_drain([posted("a")], seen("a"), OURS, started_ns=0)


def test_a_slope_is_that_of_the_line_through_the_points() -> None:
    assert slope([(0, 5.0), (10, 7.0), (20, 9.0)]) == pytest.approx(0.2)
    assert slope([(0, 1.0), (1, 3.0), (2, 1.0)]) == pytest.approx(0)
    assert slope([(3, 1.0)]) == 0


def test_what_fills_the_caches_at_first_is_no_growth() -> None:
    """The slope is that of the second half: the first one may rise."""
    filled = [(60.0 * minute, 100.0 + min(minute, 4) * 20) for minute in range(12)]
    memory = memory_of(filled)
    assert (memory.first_mib, memory.last_mib, memory.most_mib) == (100, 180, 180)
    assert memory.mib_per_minute == pytest.approx(0)
    leaking = [(60.0 * minute, 100.0 + 3 * minute) for minute in range(12)]
    assert memory_of(leaking).mib_per_minute == pytest.approx(3)


def test_the_report_fits_80_columns_and_survives_json(capsys: pytest.CaptureFixture[str]) -> None:
    full = step(1_500, foreign_cores=0.5)
    way = msgspec.structs.replace(full.way, overall_per_s=0.5 * full.way.overall_per_s)
    empty = step(1_500)
    report = Report(
        machine=MACHINE,
        plan=Plan(generated=2_000_000, backlog=200_000),
        empty=empty,
        backlog=Drain(
            orders=200_000,
            per_s=0.8 * empty.way.overall_per_s,
            seconds=400,
            missing=0,
            repeated=0,
        ),
        steady=step(500),
        memory={
            name: Memory(first_mib=60, last_mib=1_061, most_mib=1_062, mib_per_minute=growth)
            for name, growth in (("order-relay", 0.1), ("notification", 12.34))
        },
        full=msgspec.structs.replace(full, way=way),
        orders=230_000,
        wrong=(),
    )

    print_report(report)
    shown = capsys.readouterr().out
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "0.50 × the empty house's rate" in shown
    assert "0.80 × the live rate" in shown
    assert "2,000,000 generated orders: something else took 0.50 cores" in shown
    assert shown.index("+12.34") < shown.index("+0.10")
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
