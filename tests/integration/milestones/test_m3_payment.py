"""
Milestone 3: payments through Kafka transactions. Whoever is killed when, each attempt is announced
once, and the provider's own ledger and call log show one capture and one key for each payment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.support.builders import an_order, cancelled, payment_requested
from tests.support.payment_service import (
    FAILED,
    REFUNDED,
    SUCCEEDED,
    PaymentService,
    payment_deployed,
)
from tests.support.stack import Stack

from orderflow.contracts.ids import payment_id
from orderflow.messaging.testing.eventually import eventually

POINTS = (
    "payment.after_intent",
    "payment.after_provider_call",
    "payment.after_outcome",
    "listener.before_send_offsets",
    "listener.before_commit",
    "listener.after_commit",
)
KILLS = [1, pytest.param(10, marks=pytest.mark.long), pytest.param(100, marks=pytest.mark.soak)]
TOKENS = ("pm_ok", "pm_ok", "pm_declined")
ORDERS_AT_A_TIME = 12
WINDOW, NO_WINDOW = "key window of a day", "no key window"
NO_PROVIDER_WINDOW = {"ORDERFLOW_PSP__KEY_WINDOW_S": "0"}
NO_OWN_WINDOW = {"ORDERFLOW_PAYMENT__PSP__KEY_WINDOW_S": "0"}

pytestmark = pytest.mark.timeout(1800)


CASES = [
    # What the window changes happens before the transaction; the rest of its points can wait for
    # the longer run.
    pytest.param(
        window,
        point,
        marks=pytest.mark.long if window == NO_WINDOW and point.startswith("listener") else (),
    )
    for window in (WINDOW, NO_WINDOW)
    for point in POINTS
]


@pytest.fixture(scope="module")
def deployed(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], PaymentService]]:
    """
    The service with this key window and a worker in slot 1 that is never killed.

    One deployment serves all tests with the same window: joining a group after a kill takes a
    session time-out.
    """
    with ExitStack() as running:
        current: dict[str, PaymentService] = {}

        def deploy(window: str) -> PaymentService:
            if window not in current:
                running.close()
                current.clear()
                home = tmp_path_factory.mktemp("payment")
                settings = NO_PROVIDER_WINDOW if window == NO_WINDOW else {}
                service = running.enter_context(payment_deployed(stack, home, **settings))
                service.environment = NO_OWN_WINDOW if window == NO_WINDOW else {}
                service.start(slot=1, wait=False)
                current[window] = service
            return current[window]

        yield deploy


@pytest.fixture
def payment(
    request: pytest.FixtureRequest, deployed: Callable[[str], PaymentService]
) -> PaymentService:
    return deployed(request.param)


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.parametrize(("payment", "point"), CASES, indirect=["payment"])
def test_killing_one_of_two_workers_at_any_line_charges_once_and_announces_once(
    payment: PaymentService, point: str, kills: int
) -> None:
    payment.orders.clear()
    for round_ in range(kills):
        doomed = payment.start(
            slot=0, wait=False, ORDERFLOW_FAILPOINTS=f"{point}=kill@{1 + round_ % 3}"
        )

        def feed() -> bool:
            payment.place(ORDERS_AT_A_TIME, tokens=TOKENS)
            return doomed.popen.poll() is not None  # noqa: B023 - asked for in this round only

        assert eventually(feed, within_s=60, every_s=0.3, why=f"the worker dies at {point}")
        doomed.assert_killed()
    last = payment.start(slot=0)
    announced = payment.eventually_published(within_s=60)
    declined = {order for number, order in enumerate(payment.orders) if number % len(TOKENS) == 2}
    assert announced == {
        order: [FAILED if order in declined else SUCCEEDED] for order in payment.orders
    }
    payment.assert_each_published_once()
    payment.assert_ledgers_agree()
    payment.assert_one_key_for_each_payment()
    assert last.terminate() == 0, last.log.read_text()
    captures = payment.psp.captures()
    assert {order: captures[payment_id(order, 1)] for order in payment.orders} == {
        order: int(order not in declined) for order in payment.orders
    }


@pytest.mark.parametrize("payment", [NO_WINDOW], indirect=True)
def test_a_repeated_key_really_charges_twice_where_there_is_no_window(
    payment: PaymentService,
) -> None:
    """Else those kills prove nothing more."""
    assert {payment.psp.charge("probe", currency="USD").status_code for _ in range(2)} == {201}
    assert payment.psp.captures()["probe"] == 2


@pytest.mark.parametrize("payment", [NO_WINDOW], indirect=True)
def test_an_order_is_charged_again_after_a_decline_and_refunded_when_it_is_cancelled(
    payment: PaymentService,
) -> None:
    payment.orders.clear()
    worker = payment.start(slot=0)
    orders = payment.place(20, tokens=("pm_declined",))
    payment.eventually_published()
    for order_id in orders:
        payment.send(payment_requested(an_order(order_id), 2))
    payment.service.flush()
    payment.eventually_published(40)
    for order_id in orders:
        payment.send(cancelled(an_order(order_id)))
    payment.service.flush()
    assert payment.eventually_published(60) == {
        order: [FAILED, SUCCEEDED, REFUNDED] for order in orders
    }
    payment.assert_each_published_once()
    assert worker.terminate() == 0
