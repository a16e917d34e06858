"""
Milestone 3, the way to the provider: replies that get lost, requests that get lost, errors after
the fact, answers that come too late, a provider that is off. Judged by its own ledger against
ours, to the minor unit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.builders import an_order, cancelled
from tests.support.payment_service import (
    FAILED,
    REFUNDED,
    SUCCEEDED,
    PaymentService,
    payment_deployed,
)
from tests.support.service import Process
from tests.support.stack import Stack

from orderflow.contracts.ids import payment_id
from orderflow.messaging.testing.eventually import eventually

TROUBLE = {"replyLost": 0.1, "dropped": 0.1, "errorAfterCommit": 0.05, "slow": 0.05, "slowS": 1.0}
READ_TIMEOUT_S = 0.5
IMPATIENT = {"ORDERFLOW_PAYMENT__PSP__READ_TIMEOUT_S": str(READ_TIMEOUT_S)}
ORDERS = [
    200,
    pytest.param(2_000, marks=pytest.mark.long),
    pytest.param(20_000, marks=pytest.mark.soak),
]
TOKENS = ("pm_ok", "pm_ok", "pm_ok", "pm_declined")
WINDOW_S, NO_WINDOW = "86400", "0"
OFF_S = 12
CALLS_WHILE_OFF = 1.2

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module", params=[WINDOW_S])
def deployed(
    request: pytest.FixtureRequest, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[PaymentService, Process]]:
    """
    One worker for all tests of this module: joining a group takes its time. The parameter is the
    key window.
    """
    with payment_deployed(
        stack, tmp_path_factory.mktemp("paying"), ORDERFLOW_PSP__KEY_WINDOW_S=request.param
    ) as payment:
        payment.environment = {**IMPATIENT, "ORDERFLOW_PAYMENT__PSP__KEY_WINDOW_S": request.param}
        worker = payment.start()
        yield payment, worker
        assert worker.terminate() == 0


@pytest.fixture
def payment(deployed: tuple[PaymentService, Process]) -> PaymentService:
    payment, worker = deployed
    payment.orders.clear()
    payment.psp.faults()
    eventually(worker.ready, within_s=30, why="the worker is ready")
    return payment


@pytest.mark.parametrize("orders", ORDERS)
@pytest.mark.parametrize(
    "deployed", [WINDOW_S, pytest.param(NO_WINDOW, marks=pytest.mark.long)], indirect=True
)
def test_whatever_the_network_does_every_order_ends_right_and_both_ledgers_agree(
    payment: PaymentService, deployed: tuple[PaymentService, Process], orders: int
) -> None:
    _, worker = deployed
    _assert_all_ends_right(payment, worker, orders)


@pytest.mark.parametrize(
    "token", ["pm_slow", "pm_reply_lost", "pm_dropped", "pm_error_after_commit"]
)
def test_an_unknown_outcome_is_resolved_and_never_published_as_a_failure(
    payment: PaymentService, token: str
) -> None:
    payment.psp.faults(slowS=2)
    (order_id,) = payment.place(1, tokens=(token,))
    unknown = "SELECT FROM payment WHERE state = 'UNKNOWN'"
    eventually(lambda: payment.service.rows(unknown), within_s=20, why="the outcome is unknown")
    assert payment.published_types() == {}
    assert payment.eventually_published() == {order_id: [SUCCEEDED]}
    assert payment.psp.captures()[payment_id(order_id, 1)] == 1
    payment.assert_ledgers_agree()


def test_a_charge_that_is_pending_is_no_decline_and_is_paid_when_the_provider_says_so(
    payment: PaymentService,
) -> None:
    (order_id,) = payment.place(1, tokens=("pm_pending",))
    assert payment.eventually_published() == {order_id: [SUCCEEDED]}
    assert payment.psp.captures()[payment_id(order_id, 1)] == 1
    payment.assert_ledgers_agree()


def test_a_charge_whose_look_ups_answer_nonsense_waits_for_the_provider_and_is_no_dead_letter(
    payment: PaymentService, deployed: tuple[PaymentService, Process]
) -> None:
    _, worker = deployed
    payment.psp.faults(
        {"fault": "504", "operations": ["charge"], "first": 1, "done": True},
        {"fault": "nonsense", "operations": ["find"], "forS": 6},
    )
    (order_id,) = payment.place(1)
    eventually(lambda: "look-up" in " ".join(worker.reasons), within_s=20, why="the gate says so")
    assert payment.published_types() == {}
    assert payment.eventually_published() == {order_id: [SUCCEEDED]}
    assert payment.psp.captures()[payment_id(order_id, 1)] == 1
    eventually(worker.ready, within_s=20, why="the worker is ready again")
    payment.assert_ledgers_agree()


def test_a_payment_method_that_the_provider_refuses_outright_is_declined_at_once_and_for_good(
    payment: PaymentService,
) -> None:
    payment.psp.faults({"fault": "422", "operations": ["charge"], "first": 1})
    (order_id,) = payment.place(1)
    assert payment.eventually_published(within_s=20) == {order_id: [FAILED]}
    assert payment.psp.captures()[payment_id(order_id, 1)] == 0
    payment.assert_ledgers_agree()


@pytest.mark.parametrize("latency_s", [0.3, 1.5], ids=["answered", "given up"])
def test_an_order_that_is_cancelled_while_its_charge_is_in_flight_ends_refunded(
    payment: PaymentService, latency_s: float
) -> None:
    payment.psp.faults(latencyS=latency_s)
    (order_id,) = payment.place(1)
    reference = payment_id(order_id, 1)
    eventually(
        lambda: any(call["reference"] == reference for call in payment.psp.calls()),
        within_s=20,
        why="the charge is in flight",
    )
    payment.send(cancelled(an_order(order_id)))
    payment.service.flush()
    assert payment.psp.captures()[reference] == 0, "the charge is in flight still"
    if latency_s > READ_TIMEOUT_S:
        eventually(lambda: payment.psp.captures()[reference], within_s=20)
        payment.psp.faults()
    assert payment.eventually_published(2) == {order_id: [SUCCEEDED, REFUNDED]}
    account = payment.psp.client.get("/charges", params={"reference": reference}).json()
    assert [charge["amountMinor"] for charge in account["charges"]] == [
        refund["amountMinor"] for refund in account["refunds"]
    ]
    payment.assert_ledgers_agree()


def test_payments_wait_while_the_provider_is_off_and_then_all_is_well(
    payment: PaymentService, deployed: tuple[PaymentService, Process]
) -> None:
    _, worker = deployed
    normal = _calls_during(worker, _fed(payment, OFF_S / 3)) * 3
    payment.psp.kill()
    off = _calls_during(worker, _fed(payment, OFF_S))
    states = {
        state
        for (state,) in payment.service.rows(
            "SELECT DISTINCT state FROM payment WHERE reason IS NULL"
        )
    }
    assert states <= {"SUCCEEDED", "REQUESTED", "UNKNOWN"}, (
        "nothing failed because the provider was off"
    )
    assert worker.client.get("/readyz").status_code == 503
    assert "provider" in " ".join(worker.reasons)
    payment.psp.start()
    announced = payment.eventually_published(within_s=60)
    assert announced == {order: [SUCCEEDED] for order in payment.orders}
    eventually(worker.ready, within_s=20, why="the worker is ready again")
    assert off <= CALLS_WHILE_OFF * normal, (
        f"{off} calls while it was off, {normal} in the same time before"
    )
    payment.assert_each_published_once()
    payment.assert_ledgers_agree()


def _assert_all_ends_right(payment: PaymentService, worker: Process, orders: int) -> None:
    """
    Of these orders under trouble, one in four is declined, and one in five is cancelled while it
    is charged.
    """
    payment.psp.faults(**TROUBLE)
    placed = payment.place(orders, tokens=TOKENS)
    called_off = placed[::5]
    for order_id in called_off:
        payment.send(cancelled(an_order(order_id)))
    payment.service.flush()
    endings: dict[str, list[list[str]]] = {order: [[SUCCEEDED]] for order in placed}
    # Whoever is cancelled before the charge was begun, or while it is unknown and never arrived, is
    # not charged.
    endings |= {order: [[SUCCEEDED, REFUNDED], [FAILED]] for order in called_off}
    endings |= {order: [[FAILED]] for order in placed[3::4]}
    # Look-ups are 1 s, 2 s, … 30 s apart, and three calls in ten go wrong: one order in hundreds
    # needs six of them.
    eventually(
        lambda: _assert_ended(payment, worker, endings),
        within_s=180 + orders / 20,
        every_s=0.5,
        why="every order has one of its endings",
    )
    payment.assert_each_published_once()
    payment.assert_ledgers_agree()
    payment.assert_one_key_for_each_payment()
    faults = {call["fault"] for call in payment.psp.calls()}
    assert faults == {"", "reply_lost", "dropped", "error_after_commit", "slow"}, (
        "not all of the trouble came"
    )


def _assert_ended(
    payment: PaymentService, worker: Process, endings: dict[str, list[list[str]]]
) -> bool:
    types = payment.published_types()
    open_ = {order: types.get(order) for order in endings if types.get(order) not in endings[order]}
    assert not open_, (
        f"{len(open_)} are not, among them {dict(list(open_.items())[:5])};"
        f" the worker: {worker.reasons or 'ready'}, {worker.outcomes};"
        f" unfinished records: {payment.service.lags()}"
    )
    return True


def _fed(payment: PaymentService, for_s: float) -> Iterator[None]:
    """Ten orders a second for so long."""
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        payment.place(2)
        yield


def _calls_during(worker: Process, load: Iterator[None]) -> float:
    before = _calls(worker)

    def over() -> bool:
        return next(load, "over") == "over"

    eventually(over, within_s=OFF_S + 20, every_s=0.2, why="the load is over")
    return _calls(worker) - before


def _calls(worker: Process) -> float:
    """Connections that were tried, whatever became of them."""
    families = text_string_to_metric_families(worker.client.get("/metrics").text)
    name = "orderflow_payment_provider_calls"
    return sum(
        sample.value for family in families if family.name == name for sample in family.samples
    )
