"""
The database is replaced by an older copy of itself, and goes on until its log has passed the
relay's position.

Nothing but the tick tells that copy from the database that was lost: streaming on from the
position would silently leave out whatever the copy wrote before it. For each service that has a
relay.
"""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.builders import an_order, paid
from tests.support.kafka_tools import orderflow
from tests.support.order_service import deploy_contracts
from tests.support.service import Process, Service, service_deployed
from tests.support.stack import OwnStack

from orderflow.messaging.kafka import clients
from orderflow.messaging.relay.position import POSITIONS_TOPIC
from orderflow.messaging.testing.eventually import eventually

TICK_EVERY_S = "0.2"
BEFORE, LOST, AFTER = 20, 20, 100
ROUNDS_MAX = 100

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Kind:
    """
    A service with a relay: the role that writes its outbox, how to make it write, and where that
    is published.
    """

    name: str
    writes: str
    tells: tuple[str, ...]
    work: Callable[[Service, Process, int], None]


def post_orders(_service: Service, api: Process, number: int) -> None:
    for _ in range(number):
        body = {"customerId": "customer-123", "lines": [{"sku": "MOUSE-01", "quantity": 1}]}
        assert api.client.post("/orders", json=body).status_code == 201


def pay_orders(service: Service, _listener: Process, number: int) -> None:
    before = rows(service)
    for _ in range(number):
        service.send("payments", paid(an_order()))
    service.flush()
    eventually(
        lambda: rows(service) == before + number,
        within_s=60,
        why="inventory has taken every payment",
    )


KINDS = (
    Kind("order", "api", ("orders", "order-events"), post_orders),
    Kind("inventory", "listener", ("inventory",), pay_orders),
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_older_copy_of_the_database_is_refused_and_a_resync_loses_nothing(
    own_stack: OwnStack, tmp_path: Path, kind: Kind
) -> None:
    deploy_contracts(own_stack)
    with service_deployed(own_stack, tmp_path, kind.name) as service:
        with running(service, kind, relay=True) as writer:
            kind.work(service, writer, BEFORE)
            published(service, kind)
        copy = tmp_path / "older"
        with postgres_stopped(own_stack) as data:
            shell("cp", "-a", str(data), str(copy))
        with running(service, kind, relay=True) as writer:
            kind.work(service, writer, LOST)
            published(service, kind)
        position = committed_position(service, kind)
        with postgres_stopped(own_stack) as data:
            shutil.rmtree(data)
            shell("cp", "-a", str(copy), str(data))
        with running(service, kind, relay=False) as writer:
            for _ in range(ROUNDS_MAX):
                if wal_end(service) > position:
                    break
                kind.work(service, writer, AFTER)
            kind.work(service, writer, AFTER)
            unpublished = outbox_ids(service) - set(told(service, kind))
            assert len(unpublished) >= AFTER * len(kind.tells)
            refused = service.start("relay", wait=False)
            assert refused.popen.wait(60) == 3, refused.log.read_text()
            assert "older copy of itself" in refused.log.read_text()
            assert f"`orderflow relay resync {kind.name}`" in refused.log.read_text()
            assert outbox_ids(service) - set(told(service, kind)) == unpublished
            dsn = {f"ORDERFLOW_{kind.name.upper()}__DATABASE__DSN": service.database_url}
            done = orderflow(own_stack, "relay", "resync", kind.name, "--yes", timeout_s=120, **dsn)
            assert done.returncode == 0, done.stderr
            service.start("relay")
            kind.work(service, writer, 10)
            published(service, kind)
        counts = told(service, kind)
        assert {
            event_id: counts[event_id] for event_id in unpublished if counts[event_id] != 1
        } == {}


@contextmanager
def running(service: Service, kind: Kind, *, relay: bool) -> Iterator[Process]:
    """The process that writes, after the relay if it is to run; both end with 0."""
    service.environment[f"ORDERFLOW_{kind.name.upper()}__RELAY__TICK_EVERY_S"] = TICK_EVERY_S
    processes = [service.start("relay")] if relay else []
    writer = service.start(kind.writes)
    yield writer
    for process in (writer, *processes):
        assert process.terminate() == 0, process.log.read_text()


@contextmanager
def postgres_stopped(stack: OwnStack) -> Iterator[Path]:
    """The server's whole directory, at rest."""
    stack.stop("postgres")
    yield stack.local.settings.data / "postgres"
    stack.start("postgres")


def published(service: Service, kind: Kind) -> None:
    """Every row of the outbox is on its topic."""
    eventually(
        lambda: outbox_ids(service) <= set(told(service, kind)),
        within_s=60,
        every_s=0.5,
        why="all is published",
    )


def told(service: Service, kind: Kind) -> Counter[str]:
    return Counter(said.id for topic in kind.tells for said in service.published(topic))


def outbox_ids(service: Service) -> set[str]:
    return {str(row[0]) for row in service.rows("SELECT id::text FROM outbox")}


def rows(service: Service) -> int:
    return len(outbox_ids(service))


def wal_end(service: Service) -> int:
    ((end,),) = service.rows("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint")
    assert isinstance(end, int)
    return end


def committed_position(service: Service, kind: Kind) -> int:
    consumer = clients.consumer(service.kafka, f"relay.{kind.name}")
    try:
        (committed,) = consumer.committed([clients.TopicPartition(POSITIONS_TOPIC, 0)], timeout=20)
    finally:
        consumer.close()
    return int(committed.offset)


def shell(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
