"""
Notification: each customer is told each thing once, and in order, whoever is killed, stopped or away.

On a stack of its own: three partitions, one relay; listeners and senders as each test needs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from tests.support.kafka_tools import orderflow
from tests.support.notifying import Notifying, notifying
from tests.support.stack import OwnStack

KILLS = [3, pytest.param(10, marks=pytest.mark.long), pytest.param(100, marks=pytest.mark.soak)]


@pytest.fixture(scope="module")
def deployed(own_stack: OwnStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notifying]:
    for step in ("topics", "schemas"):
        assert orderflow(own_stack, step, "apply").returncode == 0
    with notifying(own_stack, tmp_path_factory.mktemp("notification")) as found:
        relay = found.start("relay")
        yield found
        assert relay.terminate() == 0, relay.log.read_text()


@pytest.fixture
def house(deployed: Notifying) -> Iterator[Notifying]:
    deployed.forget()
    deployed.environment.clear()
    yield deployed
    deployed.mail.faults()


def customers(count: int) -> list[str]:
    prefix = uuid4().hex[:6]
    return [f"customer-{prefix}-{number}" for number in range(count)]


def test_customers_are_told_what_becomes_of_their_orders_in_order(house: Notifying) -> None:
    worker = house.start("listener,sender")
    house.place(customers(20), orders=3)
    house.assert_each_told_once_and_in_order()
    assert house.repeats() == 0
    assert worker.terminate() == 0, worker.log.read_text()
