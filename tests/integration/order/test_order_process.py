"""The order service's processes: how they start, refuse to start, get ready and end."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.support.order_service import OrderProcess, OrderService, command, order_deployed
from tests.support.stack import Stack

from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.ports import HOST, is_open

ORDER = {"customerId": "customer-123"}
STOPPED_WITHIN_S = 10


@pytest.fixture(scope="module")
def idle(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrderService]:
    """For processes that are refused, or end by themselves."""
    with order_deployed(stack, tmp_path_factory.mktemp("order")) as deployed:
        yield deployed


@pytest.fixture
def service(stack: Stack, tmp_path: Path) -> Iterator[OrderService]:
    with order_deployed(stack, tmp_path) as deployed:
        yield deployed


def end_of(
    service: OrderService, roles: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(roles),
        env={**service.environment, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_one_line(ended: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert ended.returncode == code, ended.stderr
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    for text in words:
        assert text in ended.stderr


def test_an_unknown_role_is_refused_by_name(idle: OrderService) -> None:
    assert_one_line(end_of(idle, "api,cook"), 2, "cook", "migrate, api, relay, listener")


def test_a_port_in_use_is_refused_with_its_number_and_starts_nothing(idle: OrderService) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = str(taken.getsockname()[1])
        for role, variable in (
            ("api", "ORDERFLOW_ORDER__API__PORT"),
            ("relay", "ORDERFLOW_ORDER__RELAY__PORT"),
        ):
            assert_one_line(
                end_of(idle, role, **{variable: port}), 2, f"order-{role}", port, "in use"
            )


def test_a_setting_that_does_not_exist_or_does_not_fit_is_refused_by_name(
    idle: OrderService,
) -> None:
    unknown = end_of(idle, "api", ORDERFLOW_ORDER__API__PROT="8080")
    assert unknown.returncode == 2
    assert "ORDERFLOW_ORDER__API__PROT" in unknown.stderr
    wrong = end_of(idle, "api", ORDERFLOW_ORDER__API__PORT="eighty")
    assert wrong.returncode == 2
    assert "ORDERFLOW_ORDER__API__PORT" in wrong.stderr
    assert "Traceback" not in unknown.stderr + wrong.stderr


def test_migrating_again_changes_nothing_and_ends_by_itself(idle: OrderService) -> None:
    before = idle.rows()
    again = end_of(idle, "migrate")
    assert again.returncode == 0, again.stderr
    assert idle.rows() == before


def test_api_and_relay_run_in_one_process_and_an_order_arrives(service: OrderService) -> None:
    both = service.start("api,relay")
    order_id = both.client.post("/api/orders", json=ORDER).json()["orderId"]
    eventually(lambda: service.keys("orders")[order_id] == 1, within_s=60)
    assert both.terminate(within_s=STOPPED_WITHIN_S) == 0


def test_all_roles_run_behind_one_port_whose_readiness_speaks_for_all(
    service: OrderService,
) -> None:
    all_of_them = service.start("api,relay,listener", wait=False)
    eventually(lambda: "relay" in reasons(all_of_them), within_s=60)
    eventually(all_of_them.ready, within_s=60)
    order_id = all_of_them.client.post("/api/orders", json=ORDER).json()["orderId"]
    assert all_of_them.client.post(f"/orders/{order_id}/cancel").status_code == 200
    eventually(lambda: service.keys("orders")[order_id] == 2, within_s=60)
    assert all_of_them.terminate(within_s=STOPPED_WITHIN_S) == 0


def test_a_slot_that_is_none_is_refused(idle: OrderService) -> None:
    ended = subprocess.run(
        [*command("listener"), "--slot", "-1"],
        env=idle.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert_one_line(ended, 2, "--slot", "-1")


def test_no_order_is_taken_before_the_relays_first_position(service: OrderService) -> None:
    api = service.start("api", wait=False)
    eventually(lambda: "first position" in reasons(api), within_s=60)
    assert_unavailable(api)
    assert service.rows()["orders"] == 0
    assert api.client.get("/livez").status_code == 200
    service.start("relay")
    eventually(api.ready, within_s=60)
    assert api.client.post("/api/orders", json=ORDER).status_code == 201


def test_readiness_names_what_is_missing(stack: Stack, tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9/apis/ccompat/v7"
    with order_deployed(stack, tmp_path, migrated=False) as service:
        api = service.start("api", wait=False, ORDERFLOW_REGISTRY__URL=nowhere)
        eventually(lambda: "not migrated" in reasons(api), within_s=60)
        eventually(lambda: "registry" in reasons(api), within_s=60)
        assert_unavailable(api)
        away = service.start(
            "api", wait=False, ORDERFLOW_ORDER__DATABASE__DSN=stack.postgres_url("no_such_database")
        )
        eventually(lambda: "database" in reasons(away), within_s=60)
        assert_unavailable(away)
        assert away.terminate(within_s=STOPPED_WITHIN_S) == 0


def test_requests_in_flight_are_answered_before_the_process_ends_with_0(
    service: OrderService,
) -> None:
    service.start("relay")
    api = service.start("api")
    with ThreadPoolExecutor(8) as clients:
        with service.connection() as locking:
            locking.execute("LOCK TABLE orders IN EXCLUSIVE MODE")
            answers = [clients.submit(api.client.post, "/api/orders", json=ORDER) for _ in range(8)]
            eventually(lambda: waiting_for_locks(service), within_s=60)
            signalled_at = time.monotonic()
            api.popen.terminate()
            eventually(
                lambda: not is_open(urlsplit(api.url).port or 0),
                within_s=5,
                why="no new connection",
            )
            eventually(
                lambda: time.monotonic() - signalled_at > 1,
                within_s=3,
                why="they really have to be waited for",
            )
        assert [answer.result(20).status_code for answer in answers] == [201] * 8
        assert api.popen.wait(STOPPED_WITHIN_S) == 0
    assert time.monotonic() - signalled_at < STOPPED_WITHIN_S
    assert service.rows()["orders"] == 8


def test_whoever_waits_for_a_payment_is_answered_at_once_when_the_process_is_to_end(
    service: OrderService,
) -> None:
    """Nobody pays here: there is no payment service."""
    service.start("relay")
    api = service.start("api")
    order_id = api.client.post("/api/orders", json=ORDER).json()["orderId"]
    with ThreadPoolExecutor(1) as clients:
        waiting = clients.submit(api.client.post, f"/orders/{order_id}/pay")
        eventually(
            lambda: api.client.get(f"/orders/{order_id}").json()["payment"]["state"] == "REQUESTED",
            within_s=10,
        )
        began = time.monotonic()
        assert api.terminate(within_s=STOPPED_WITHIN_S) == 0
        answer = waiting.result(1)
    assert time.monotonic() - began < 4, "it did not wait until it was cut off"
    assert (answer.status_code, answer.headers["location"]) == (202, f"/orders/{order_id}")


@pytest.mark.parametrize("roles", ["api", "api,relay"])
def test_a_request_that_never_gets_done_holds_the_end_up_for_10_seconds_at_most(
    service: OrderService, roles: str
) -> None:
    if roles == "api":
        service.start("relay")
    api = service.start(roles)
    with ThreadPoolExecutor(1) as clients, service.connection() as locking:
        locking.execute("LOCK TABLE orders IN EXCLUSIVE MODE")
        locking.execute("SET idle_in_transaction_session_timeout = 0")
        clients.submit(api.client.post, "/api/orders", json=ORDER)
        eventually(lambda: waiting_for_locks(service), within_s=60)
        assert api.terminate(within_s=STOPPED_WITHIN_S) == 0
    assert service.rows()["orders"] == 0


def test_an_idle_keep_alive_connection_does_not_hold_the_end_up(service: OrderService) -> None:
    relay = service.start("relay")
    api = service.start("api")
    assert api.client.get("/livez").status_code == 200
    assert relay.client.get("/metrics").status_code == 200
    assert (
        api.terminate(within_s=STOPPED_WITHIN_S),
        relay.terminate(within_s=STOPPED_WITHIN_S),
    ) == (0, 0)


def reasons(api: OrderProcess) -> str:
    answer = api.client.get("/readyz")
    assert answer.status_code == 503
    return " ".join(answer.json()["reasons"])


def assert_unavailable(api: OrderProcess) -> None:
    answer = api.client.post("/api/orders", json=ORDER)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert int(answer.headers["retry-after"]) > 0


def waiting_for_locks(service: OrderService) -> bool:
    with service.connection() as connection:
        waits = connection.execute(
            "SELECT EXISTS (SELECT FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND datname = current_database())"
        ).fetchone()
    return waits == (True,)
