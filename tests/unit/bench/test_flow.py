"""The benchmark of the whole flow: what it makes of what was posted and seen; its tables."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.bench.test_revenue import MACHINE

from orderflow.bench.flow.bench import Plan, Report, flow_of, sustained
from orderflow.bench.flow.load import OURS, POST, Flow, Way, the_way
from orderflow.bench.flow.poster import Posted
from orderflow.bench.flow.report import print_report
from orderflow.bench.flow.step import Step
from orderflow.bench.flow.usage import Used
from orderflow.bench.flow.watcher import Notes, Seen, WatchTask, order_in
from orderflow.bench.flow.work_done import WorkDone
from orderflow.messaging.errors import ConfigurationError, OrderflowError

MS = 1_000_000
S = 1_000 * MS


def posted(order_id: str, *, due: int = 0, status: int = 201) -> Posted:
    return Posted(order_id, status, due, due + MS, due + 5 * MS)


def seen(
    *orders: str,
    inventory: int = 40 * MS,
    mails: tuple[int, ...] = (20 * MS, 50 * MS),
    repeated: int = 0,
) -> Seen:
    """All events of orders that were due at 0, at these moments."""
    at_ns = {
        "orders": {order: [10 * MS] for order in orders},
        "payments": {order: [30 * MS] for order in orders},
        "inventory": {order: [inventory] for order in orders},
        "notifications": {order: list(mails) for order in orders},
    }
    return Seen(at_ns=at_ns, repeated={"orders": repeated, "payments": 0})


def way(orders: list[Posted], what: Seen) -> Way:
    return the_way(orders, what, flow=OURS, seconds=0.001)


def test_an_order_is_through_with_its_stock_and_the_second_mail_from_when_it_was_due() -> None:
    result = way([posted("a")], seen("a"))
    assert result.whole.max_ms == pytest.approx(50, rel=0.01)
    assert {name: round(hop.p50_ms) for name, hop in result.hops.items()} == {
        POST: 5,
        "201 → orders": 5,
        "orders → payments": 20,
        "payments → inventory": 10,
        "payments → notifications": 20,
    }
    assert result.generator_lag.max_ms == pytest.approx(1, rel=0.01)
    assert (result.posted, result.refused, result.missing, result.late) == (1, 0, 0, 0)
    assert result.is_sustained


def test_the_slower_of_the_two_ends_counts() -> None:
    assert way([posted("a")], seen("a", inventory=90 * MS)).whole.max_ms == pytest.approx(
        90, rel=0.01
    )


def test_a_step_with_a_late_a_missing_a_repeated_or_a_refused_order_is_not_sustained() -> None:
    assert way([posted("a")], seen("a")).is_sustained
    late = way([posted("a")], seen("a", inventory=2 * S + 6 * MS))
    assert (late.late, late.is_sustained) == (1, False)
    assert late.last_after_s == pytest.approx(2.001)

    missing = way([posted("a"), posted("b")], seen("a"))
    assert (missing.missing, missing.whole.count, missing.is_sustained) == (1, 1, False)
    unmailed = way([posted("a")], seen("a", mails=(20 * MS,)))
    assert (unmailed.missing, unmailed.is_sustained) == (1, False)

    repeated = way([posted("a")], seen("a", repeated=1))
    assert (repeated.repeated, repeated.is_sustained) == (1, False)
    refused = way([posted("a"), posted("", status=503)], seen("a"))
    assert (refused.posted, refused.refused, refused.is_sustained) == (2, 1, False)


def test_what_was_through_within_two_seconds_of_the_last_answer_is_not_late() -> None:
    assert way([posted("a")], seen("a", inventory=2 * S + 5 * MS)).is_sustained
    after = [posted("a"), posted("b", due=2 * S)]
    assert way(after, seen("a", "b", inventory=4 * S)).is_sustained


def test_only_what_came_while_others_were_posted_makes_the_rate() -> None:
    orders = [posted("a"), posted("b", due=S)]
    what = seen("a", "b", inventory=S)
    what.at_ns["inventory"]["b"] = [S + 500 * MS]
    assert way(orders, what).through_per_s == pytest.approx(1 / 1.005)
    assert way(orders, what).overall_per_s == pytest.approx(2 / 1.5)


def test_a_step_of_which_nothing_was_accepted_has_no_figures() -> None:
    with pytest.raises(OrderflowError, match="no order was accepted"):
        way([posted("", status=503)], seen())


def test_a_flow_without_mails_ends_with_the_stock() -> None:
    flow = Flow(orders="o", payments="p", inventory="i", notifications="")
    what = Seen(at_ns={"o": {"a": [10 * MS]}, "p": {"a": [20 * MS]}, "i": {"a": [30 * MS]}},
                repeated={})  # fmt: skip
    result = the_way([posted("a")], what, flow=flow, seconds=1)
    assert flow.topics == ("o", "p", "i")
    assert result.whole.max_ms == pytest.approx(30, rel=0.01)
    assert "payments → notifications" not in result.hops
    assert result.is_sustained


def test_a_record_without_headers_tells_its_order_in_its_value_or_by_its_key() -> None:
    assert order_in(b"customer-1", b'{"orderId": "a", "n": 1}') == "a"
    assert order_in(b"a", b"\x00avro") == "a"
    assert order_in(b"a", b'{"id": 3}') == "a"
    assert order_in(None, None) == ""


class _Record:
    """As much of a consumed record as the watcher reads."""

    def __init__(self, topic: str, order: str, event_id: bytes | None) -> None:
        self._topic, self._order = topic, order
        named = [] if event_id is None else [("ce_id", event_id)]
        self._headers = [*named, ("ce_correlationid", order.encode())]

    def topic(self) -> str:
        return self._topic

    def headers(self) -> list[tuple[str, bytes]]:
        return self._headers


def test_the_watcher_counts_orders_that_have_all_their_events_and_what_came_twice() -> None:
    task = WatchTask(bootstrap_servers="", topics=["i", "n"], wanted={"i": 1, "n": 2}, progress="")
    notes = Notes(task)
    for topic, event_id in (("i", b"1"), ("n", b"2"), ("n", b"2")):
        notes.add(_Record(topic, "a", event_id), 5)
    assert (notes.through, notes.seen.repeated) == (0, {"i": 0, "n": 1})
    notes.add(_Record("n", "a", b"3"), 7)
    assert notes.through == 1
    assert notes.seen.at_ns == {"i": {"a": [5]}, "n": {"a": [5, 7]}}

    notes.add(_Record("i", "b", None), 8)
    notes.add(_Record("i", "b", None), 9)
    assert notes.seen.at_ns["i"]["b"] == [8, 9]
    assert notes.seen.repeated["i"] == 0


def step(rate: int, *, foreign_cores: float = 0.0) -> Step:
    components = ("order-api", "order-relay", "payment", "inventory", "notification", "postgres")
    work = WorkDone(
        commits=rate * 20,
        inserted=rate * 600,
        updated=rate * 200,
        wal_bytes=rate * 400_000,
        requests={"AddPartitionsToTxnVerification": rate * 40},
    )

    return Step(
        rate_per_s=rate,
        way=way([posted(f"{number}") for number in range(10)], seen(*map(str, range(10)))),
        used={name: Used(cpu_s=0.01, switches=123_456, memory_mib=1_234) for name in components},
        work=work,
        generator_cores=0.1,
        foreign_cores=foreign_cores,
        elapsed_s=20,
    )


def test_a_step_is_void_when_something_else_took_the_cores() -> None:
    assert step(100).why_void == ""
    assert step(100, foreign_cores=0.2).why_void == "something else took 0.20 cores"
    assert step(100).cpu_ms_per_order == pytest.approx(6.0)


def test_the_report_fits_80_columns_and_survives_json(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [step(rate) for rate in (100, 200, 500, 1_000)]
    report = Report(
        machine=MACHINE,
        plan=Plan(),
        steps=steps,
        orders=36_000,
        wrong=("a difference",),
        naive=[step(50), step(75)],
        beside_naive=step(75),
    )
    print_report(report)
    shown = capsys.readouterr().out
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "sustained: 1,000 orders/s" in shown
    assert "13.3 times the naive flow's 75" in shown
    assert "at 75/s p99 is 50 ms, the naive flow's 50 ms" in shown
    assert "the books DIFFER" in shown
    assert "a difference" in shown
    assert "payment" in shown
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def test_a_report_of_another_implementation_tells_no_cpu_and_no_books(
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = msgspec.structs.replace(step(100, foreign_cores=1.5), used={}, work=None)
    assert other.cpu_ms_per_order is None
    assert other.why_void == ""
    print_report(Report(machine=MACHINE, plan=Plan(), steps=[other]))
    shown = capsys.readouterr().out
    assert "sustained: 100 orders/s" in shown
    assert "books" not in shown


def test_three_or_four_topics_make_a_flow() -> None:
    assert flow_of(("o", "p", "i", "n"), payment_mail=1).topics == ("o", "p", "i", "n")
    assert flow_of(("o", "p", "i"), payment_mail=1).topics == ("o", "p", "i")
    for topics in (("o", "p"), ("o", "p", ""), ("o", "p", "i", "n", "x")):
        with pytest.raises(ConfigurationError, match="three or four"):
            flow_of(topics, payment_mail=1)


def test_the_highest_sustained_rate_counts_wherever_it_was_measured() -> None:
    failed = way([posted("a"), posted("b")], seen("a"))
    steps = [step(50), msgspec.structs.replace(step(100), way=failed), step(25)]
    assert sustained(steps) == 50
    assert sustained(steps[1:2]) == 0
