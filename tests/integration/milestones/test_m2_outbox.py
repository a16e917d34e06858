"""
Milestone 2: outbox row and order in one database transaction, relayed to Kafka. "Killing the app
between DB commit and publish never loses or double-commits an event."
"""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.order_service import OrderService, order_deployed
from tests.support.outbox_load import (
    ORDER,
    Load,
    assert_nothing_lost_nothing_repeated,
    late_writers,
    outbox_at,
)
from tests.support.outbox_probe import (
    Probe,
    drop_slot,
    forget_position,
    other_database,
    probe_service,
)
from tests.support.service import is_stopped
from tests.support.stack import Stack

from orderflow.cli.outboxes import Outbox
from orderflow.messaging.testing.eventually import eventually

RELAY_POINTS = ("relay.after_produce", "relay.after_send_offsets", "relay.after_kafka_commit")
KILLS = [1, pytest.param(10, marks=pytest.mark.long), pytest.param(100, marks=pytest.mark.soak)]
KILLED = -signal.SIGKILL

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrderService]:
    with order_deployed(stack, tmp_path_factory.mktemp("order")) as deployed:
        yield deployed


@pytest.fixture
def probe(stack: Stack, tmp_path: Path) -> Iterator[Probe]:
    with probe_service(stack, tmp_path) as deployed:
        yield deployed


@pytest.mark.parametrize("kills", KILLS)
def test_killing_the_api_after_the_database_commit_loses_nothing_and_repeats_nothing(
    service: OrderService, kills: int
) -> None:
    relay = service.start("relay")
    api = service.start("api")
    load = Load(api.url)
    with load.running():
        api.popen.kill()
        for kill in range(kills):
            doomed = service.start(
                "api",
                wait=False,
                ORDERFLOW_FAILPOINTS=f"api.after_db_commit=kill@{random.randint(1, 20)}",
            )
            load.url = doomed.url
            assert doomed.popen.wait(60) == KILLED, (
                f"kill {kill} was not reached:\n{doomed.log.read_text()}"
            )
        load.url = service.start("api").url
    assert_nothing_lost_nothing_repeated(service, load)
    assert relay.terminate() == 0


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.parametrize("point", RELAY_POINTS)
def test_killing_the_relay_at_any_line_loses_nothing_and_repeats_nothing(
    service: OrderService, point: str, kills: int
) -> None:
    first = service.start("relay")
    api = service.start("api")
    first.popen.kill()
    load = Load(api.url)
    with load.running():
        for kill in range(kills):
            failpoints = f"{point}=kill@{random.randint(1, 12)}"
            doomed = service.start("relay", wait=False, ORDERFLOW_FAILPOINTS=failpoints)
            assert doomed.popen.wait(60) == KILLED, (
                f"kill {kill} was not reached:\n{doomed.log.read_text()}"
            )
        relay = service.start("relay")
    assert_nothing_lost_nothing_repeated(service, load)
    assert relay.terminate() == 0
    assert api.terminate() == 0


def test_while_no_relay_runs_the_api_counts_what_waits_and_status_blames_the_relay(
    service: OrderService,
) -> None:
    """And none waits when it runs again: rows that a killed relay had not noted are corrected."""
    relay = service.start("relay")
    api = service.start("api", ORDERFLOW_TELEMETRY__MEASURE_EVERY_S="0.2")

    def outbox() -> Outbox:
        return outbox_at(api.url)

    eventually(lambda: outbox().slot_active and outbox().pending == 0, within_s=20)
    for _ in range(5):
        assert api.client.post("/orders", json=ORDER).status_code == 201
    relay.popen.kill()
    relay.popen.wait(10)
    for _ in range(3):
        assert api.client.post("/orders", json=ORDER).status_code == 201

    eventually(lambda: outbox().slot_active is False and (outbox().pending or 0) >= 6, within_s=10)
    waiting = outbox()
    assert waiting.pending in range(6, 17), "two rows of each order"
    assert (waiting.slot_lag_bytes or 0) > 0
    assert "wait to be published" in waiting.sentence
    assert waiting.sentence.endswith("is order-relay running?")

    relay = service.start("relay")
    eventually(lambda: outbox().slot_active and outbox().pending == 0, within_s=20)
    assert (outbox().oldest_s, outbox().sentence) == (0, "")
    assert relay.terminate() == 0
    assert api.terminate() == 0


def test_events_of_a_key_arrive_once_and_in_order_while_relays_are_killed(probe: Probe) -> None:
    keys = [f"key-{number:03d}" for number in range(200)]
    relay = probe.relay()
    relay.popen.kill()
    with ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(probe.write_all, keys[number::8], each=20) for number in range(8)]
        for point in (*RELAY_POINTS, *RELAY_POINTS):
            doomed = probe.relay(failpoints=f"{point}=kill@{random.randint(1, 4)}", wait=False)
            eventually(lambda: doomed.popen.poll() is not None or _done(writers), within_s=60)  # noqa: B023
            if doomed.popen.poll() is None:
                doomed.popen.kill()
        for writer in writers:
            writer.result()
    probe.relay()
    assert sum(probe.expected().values()) == 4_000
    probe.assert_each_once_in_order()


def test_a_late_transaction_is_published_exactly_if_it_commits(
    probe: Probe,
) -> None:
    probe.relay()
    late_writers(probe)
    probe.assert_each_once_in_order()


def test_a_poller_on_id_greater_than_last_would_lose_rows(probe: Probe) -> None:
    """The test above can fail: the same writers, followed the naive way."""
    seen: set[str] = set()
    stop = threading.Event()

    def poll() -> None:
        last = None
        with probe.connection() as connection:
            while not stop.wait(0.02):
                rows = connection.execute(
                    "SELECT created_at, id::text FROM outbox WHERE %s::timestamptz IS NULL OR"
                    " created_at > %s "
                    "ORDER BY created_at",
                    (last, last),
                ).fetchall()
                connection.rollback()
                seen.update(row[1] for row in rows)
                last = rows[-1][0] if rows else last

    with ThreadPoolExecutor(1) as pool:
        poller = pool.submit(poll)
        late_writers(probe)
        stop.set()
        poller.result()
    assert set(probe.expected()) - seen, "the writers are too tame: nobody committed late"


def test_a_relay_stopped_inside_a_transaction_is_fenced_by_its_successor(
    probe: Probe,
) -> None:
    """It publishes nothing when it continues."""
    probe.relay().popen.terminate()
    zombie = probe.relay(failpoints="relay.after_send_offsets=stop@1", wait=False)
    probe.write_all(["a", "b", "c"], each=5)
    eventually(
        lambda: is_stopped(zombie.popen.pid),
        within_s=30,
        why="the zombie stopped inside its transaction",
    )
    probe.relay()
    probe.write_all(["a", "b", "c"], each=5)
    probe.assert_each_once_in_order(within_s=60)
    zombie.popen.send_signal(signal.SIGCONT)
    assert zombie.wait() == 3
    assert zombie.logged("_FENCED")
    assert zombie.logged("runs elsewhere")
    probe.write_all(["a", "b", "c"], each=5)
    probe.assert_each_once_in_order()


def test_a_relay_refuses_to_start_when_its_slot_was_dropped(probe: Probe) -> None:
    published(probe)
    drop_slot(probe.stack, probe.name)
    assert_refuses(probe, "was dropped")


def test_a_relay_refuses_to_start_without_a_position_on_an_advanced_slot(
    probe: Probe,
) -> None:
    published(probe)
    eventually(
        lambda: forget_position(probe), within_s=30, why="the group is empty and can be deleted"
    )
    assert_refuses(probe, "the position is missing")


def test_a_relay_refuses_to_start_on_another_database_of_the_same_name(probe: Probe) -> None:
    published(probe)
    drop_slot(probe.stack, probe.name)
    assert_refuses(probe, "another database", database_url=other_database(probe))


def published(probe: Probe) -> None:
    """Some rows are on Kafka, and the relay has stopped."""
    relay = probe.relay()
    probe.write_all(["a"], each=3)
    probe.assert_each_once_in_order()
    relay.popen.terminate()
    assert relay.wait() == 0


def assert_refuses(probe: Probe, reason: str, *, database_url: str | None = None) -> None:
    relay = probe.relay(wait=False, database_url=database_url)
    assert relay.wait() == 3, relay.log.read_text()
    assert relay.logged(reason), relay.log.read_text()
    assert relay.logged("orderflow relay resync")


def _done(writers: list[Future[None]]) -> bool:
    return all(writer.done() for writer in writers)
