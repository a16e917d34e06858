"""
A service that was added with a folder and a row runs on the local stack like any other.

Method: in a copy of the package with the new service, `orderflow up` with that service and the
order service; an order is placed; the newcomer must have read its event.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.databases import database_settings
from tests.support.newcomer import NAME, ROW, Checkout, checkout_with_newcomer
from tests.support.stack import RUNNING_STACK, temporary_home

from orderflow.contracts.roster import ROSTER
from orderflow.messaging import postgres
from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.ports import is_free
from orderflow.stack.settings import ports_model

RUNS = ("kafka", "postgres", "registry", "deploy", "order", NAME)
ORDER = {"customerId": "customer-123", "lines": [{"sku": "MOUSE-01", "quantity": 2}]}


def free_offset() -> int:
    """All ports of the stack, the newcomer's among them, moved together to where nobody is."""
    ports = ports_model((*ROSTER, ROW))()
    kafka = [port + number for port in ports.kafka for number in (0, 1)]
    wanted = [*kafka, *(port for name, port in ports if name != "kafka")]
    for offset in range(1000 + os.getpid() % 500 * 7, 12_000, 13):
        if all(is_free(port + offset) for port in wanted):
            return offset
    raise AssertionError("no free block of ports")


class Instance:
    """A stack of the copy, reached by its command line."""

    def __init__(self, checkout: Checkout, state: Path) -> None:
        self.checkout = checkout
        self.environment = {
            "ORDERFLOW_STACK__STATE_DIR": str(state),
            "ORDERFLOW_STACK__PORT_OFFSET": str(free_offset()),
            "ORDERFLOW_STACK__SERVICES": json.dumps(RUNS),
        }

    def orderflow(self, *arguments: str) -> str:
        return self.checkout.run("-m", "orderflow.cli.main", *arguments, **self.environment).stdout

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.orderflow("status", "--json"))
        return status


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    monkeypatch.delenv(RUNNING_STACK, raising=False)
    with temporary_home() as state:
        instance = Instance(checkout_with_newcomer(tmp_path), state)
        try:
            instance.orderflow("up")
            yield instance
        finally:
            instance.orderflow("down")


def test_a_service_of_a_folder_and_a_row_is_started_shown_and_fed(instance: Instance) -> None:
    addresses = json.loads(instance.orderflow("env", "--json"))
    answer = httpx2.post(f"{addresses['ORDER_API_URL']}/orders", json=ORDER, trust_env=False)
    assert answer.status_code == 201, answer.text

    database = database_settings(addresses["PARCELS_DATABASE_URL"])
    with postgres.connect(database, application_name="test", autocommit=True) as connection:
        eventually(
            lambda: connection.execute("SELECT count(*) FROM inbox").fetchone() == (1,),
            within_s=30,
            why="the new service has read the order's event",
        )
    page = httpx2.get(f"{addresses['PARCELS_API_URL']}/shipments", trust_env=False).json()
    assert page == {"items": [], "nextCursor": None}, "nothing was paid: nothing is to be sent"

    status = instance.status()
    [process] = [process for process in status["processes"] if process["name"] == NAME]
    assert (process["role"], process["health"]) == ("api,listener", "ok")
    assert ROW.group in {group["group"] for group in status["groups"]}
