"""
Milestone 2's promises with Debezium in the relay's place, on the same table, slot and publication:
"killing the app between DB commit and publish never loses or double-commits an event".
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.support.databases import database_settings
from tests.support.debezium import Debezium, debezium_stack
from tests.support.order_service import OrderService, order_deployed
from tests.support.outbox_load import (
    ORDER,
    Load,
    assert_nothing_lost_nothing_repeated,
    late_writers,
    outbox_at,
)
from tests.support.outbox_probe import Probe, probe_service
from tests.support.stack import OwnStack

from orderflow.cli.outboxes import Outbox
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.event import from_headers
from orderflow.messaging.kafka.reader import ConsumerRecord, read
from orderflow.messaging.postgres.outbox import TABLE
from orderflow.messaging.testing.eventually import eventually

WORKER_KILLS = [1, pytest.param(10, marks=pytest.mark.long)]
KEYS = [f"key-{number:02d}" for number in range(40)]

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def stack() -> Iterator[OwnStack]:
    with debezium_stack() as own:
        yield own


@contextmanager
def published_by_debezium(debezium: Debezium) -> Iterator[Debezium]:
    debezium.start()
    try:
        yield debezium
    finally:
        with suppress(OrderflowError):
            debezium.delete()


@pytest.fixture
def probe(stack: OwnStack, tmp_path: Path) -> Iterator[Probe]:
    with probe_service(stack, tmp_path) as deployed:
        yield deployed


def debezium_of(stack: OwnStack, probe: Probe) -> Debezium:
    return Debezium(stack, probe.name, database_settings(probe.database_url))


@pytest.mark.parametrize("kills", WORKER_KILLS)
def test_killing_the_api_and_the_worker_loses_nothing_and_repeats_nothing(
    stack: OwnStack, tmp_path: Path, kills: int
) -> None:
    """And what waits meanwhile is counted; `orderflow status` blames Connect."""
    with order_deployed(stack, tmp_path) as service:
        relay = service.start("relay", ORDERFLOW_ORDER__RELAY__PUBLISHER="debezium")
        api = service.start("api", ORDERFLOW_TELEMETRY__MEASURE_EVERY_S="0.2")
        database = database_settings(service.database_url)
        with published_by_debezium(Debezium(stack, "order", database)) as debezium:
            load = Load(api.url)
            with load.running():
                for _ in range(kills):
                    time_to_kill(load)
                    debezium.kill_worker()
                doomed = service.start(
                    "api", wait=False, ORDERFLOW_FAILPOINTS="api.after_db_commit=kill@5"
                )
                load.url = doomed.url
                assert doomed.popen.wait(60) < 0
                load.url = api.url
            all_is_published(api.url)
            assert_nothing_lost_nothing_repeated(service, load)

            stack.stop("connect")
            what_waits_is_said(service, api.url)
            stack.start("connect")
            all_is_published(api.url)
        assert relay.terminate() == 0
        assert api.terminate() == 0


def time_to_kill(load: Load) -> None:
    """Some more orders on their way, and then any moment."""
    before = len(load.accepted)
    eventually(lambda: len(load.accepted) > before + random.randint(10, 60), within_s=60)


def all_is_published(api_url: str) -> None:
    def outbox() -> Outbox:
        return outbox_at(api_url, publisher="debezium")

    eventually(lambda: outbox().slot_active and outbox().pending == 0, within_s=90)


def what_waits_is_said(service: OrderService, api_url: str) -> None:
    api = service.start("api")
    for _ in range(3):
        assert api.client.post("/orders", json=ORDER).status_code == 201

    def outbox() -> Outbox:
        return outbox_at(api_url, publisher="debezium")

    eventually(lambda: outbox().slot_active is False and (outbox().pending or 0) >= 6, within_s=30)
    assert outbox().sentence.endswith("is connect running?")
    assert api.terminate() == 0


def test_a_row_becomes_the_same_record_by_the_relay_and_by_debezium(
    stack: OwnStack, probe: Probe, tmp_path: Path
) -> None:
    """Key, value, partition and headers, to the byte; but a NULL is a header without a value."""
    with probe_service(stack, tmp_path) as other:
        relay = probe.relay()
        probe.write_all(KEYS, each=2)
        probe.assert_each_once_in_order()
        relay.popen.terminate()

        other.caretaker()
        with published_by_debezium(debezium_of(stack, other)):
            copy_rows(probe, other)
            eventually(lambda: len(records(other)) == 2 * len(KEYS), within_s=60)

        for ours, theirs in zip(records(probe), records(other), strict=True):
            assert (theirs.key, theirs.value) == (ours.key, ours.value)
            assert theirs.partition == ours.partition
            there = {name: value for name, value in theirs.headers if value is not None}
            assert there == dict(ours.headers)
            assert from_headers(theirs.headers) == from_headers(ours.headers)
            assert len(theirs.headers) == len({name for name, _ in theirs.headers})


def copy_rows(source: Probe, target: Probe) -> None:
    """The same rows, but for another topic."""
    columns = (
        "id, aggregateid, type, payload, ce_source, ce_time, ce_subject, ce_causationid,"
        " ce_correlationid, traceparent, tracestate"
    )
    with source.connection() as connection:
        rows = connection.execute(
            f"SELECT {columns} FROM {TABLE} ORDER BY sequence".encode()
        ).fetchall()
    with target.connection() as connection, connection.cursor() as cursor:
        places = ", ".join(["%s"] * len(rows[0]))
        cursor.executemany(
            f"INSERT INTO {TABLE} (aggregatetype, {columns}) VALUES ('{target.topic}', {places})",
            rows,
        )
        connection.commit()


def records(probe: Probe) -> list[ConsumerRecord]:
    """In the order of their ids, whatever their partitions."""
    found = [record for record in read(probe.kafka, probe.topic, follow=False) if record]
    return sorted(found, key=lambda record: dict(record.headers)["ce_id"] or b"")


def test_order_by_key_late_commits_and_a_row_that_is_too_large(
    stack: OwnStack, probe: Probe
) -> None:
    """Such a row stops all of them, not its key alone, until the topic takes it."""
    caretaker = probe.caretaker()
    with published_by_debezium(debezium_of(stack, probe)) as debezium:
        # What others write into the log is nobody's row.
        with probe.connection() as connection:
            connection.execute("SELECT pg_logical_emit_message(true, 'others', 'a message')")
            connection.commit()
        late_writers(probe)
        probe.assert_each_once_in_order()

        probe.set_record_bytes_max(2_000)
        with probe.connection() as connection:
            probe.write(connection, "large", size=5_000)
            probe.write(connection, "small")
        eventually(lambda: debezium.state().has_failed, within_s=60)
        assert "larger than the max message size" in debezium.state().reason
        eventually(lambda: caretaker.logged("nobody reads slot"), within_s=30)

        probe.set_record_bytes_max(1_000_000)
        debezium.restart()
        probe.assert_each_once_in_order()


def test_there_and_back_nothing_is_lost_and_repeats_keep_the_order(
    stack: OwnStack, probe: Probe
) -> None:
    """From relay to Debezium each row comes once; back, some that it had not confirmed again."""
    relay = probe.relay()
    with writing(probe):
        relay.popen.terminate()
        relay.wait()
        caretaker = probe.caretaker()
        debezium = debezium_of(stack, probe)
        debezium.start()
    probe.assert_each_once_in_order()

    with writing(probe):
        debezium.stop()
        caretaker.popen.terminate()
        caretaker.wait()
        relay = probe.relay()
    assert_each_in_order(probe)

    # Offsets of the first time are still there: the slot is what counts.
    with writing(probe):
        relay.popen.terminate()
        relay.wait()
        probe.caretaker()
        debezium.resume()
    assert_each_in_order(probe)
    debezium.delete()


@contextmanager
def writing(probe: Probe) -> Iterator[None]:
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(probe.write_all, KEYS, each=15)
        yield
        writer.result()


def assert_each_in_order(probe: Probe) -> None:
    """Each committed row at least once; without repeats, in commit order per key."""
    eventually(
        lambda: {id_ for ids in probe.published().values() for id_ in ids} == set(probe.expected()),
        within_s=60,
        every_s=0.5,
    )
    published = probe.published()
    firsts = {key: list(dict.fromkeys(ids)) for key, ids in published.items()}
    assert firsts == {key: [str(id_) for id_ in ids] for key, ids in probe.committed.items()}

    repeated = Counter(id_ for ids in published.values() for id_ in ids) - probe.expected()
    assert repeated.total() < probe.expected().total() / 10
