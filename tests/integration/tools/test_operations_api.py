"""
The operations API on a real cluster: a record that nobody can read is listed, explained, sent back
and laid aside, over HTTP alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from tests.support.builders import an_order, status_changed
from tests.support.order_service import deploy_contracts
from tests.support.service import Service, service_deployed
from tests.support.stack import OwnStack

from orderflow.contracts.events import OrderStatus
from orderflow.contracts.roster import row
from orderflow.contracts.topics import DEAD_LETTER_DISPOSITIONS, ORDER_EVENTS
from orderflow.messaging.event import CE_ID
from orderflow.messaging.http.actor import ACTOR_HEADER
from orderflow.messaging.kafka.group_topics import dead_letter_topic, replay_topic
from orderflow.messaging.testing.eventually import eventually

GROUP = row("fulfilment").group
LETTERS = dead_letter_topic(ORDER_EVENTS, GROUP).name
REPLAY = replay_topic(ORDER_EVENTS, GROUP).name


@dataclass
class System:
    """`api`: the operations API. `fulfilment` has its listener running."""

    api: httpx2.Client
    fulfilment: Service

    def letters(self, query: str = "") -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.api.get(f"/dead-letters{query}").json()["items"]
        return items

    def act(self, name: str, body: dict[str, Any]) -> httpx2.Response:
        return self.api.post(f"/dead-letters/{name}", json=body, headers={ACTOR_HEADER: "ada"})


@pytest.fixture(scope="module")
def system(own_stack: OwnStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    deploy_contracts(own_stack)
    home = tmp_path_factory.mktemp("services")
    with (
        service_deployed(own_stack, home, "fulfilment") as fulfilment,
        service_deployed(own_stack, home, "operations") as operations,
    ):
        listener = fulfilment.start("listener", wait=False)
        # Nobody is there: what needs the order service says so.
        nowhere = {"ORDERFLOW_OPERATIONS__ORDER__URL": "http://127.0.0.1:9"}
        with operations.documented_api(**nowhere) as api:
            eventually(listener.ready, within_s=60)
            yield System(api, fulfilment)
        assert listener.terminate() == 0, listener.log.read_text()


def test_a_dead_letter_is_listed_explained_replayed_and_discarded(system: System) -> None:
    """
    Method: an event whose body ends too early, between good ones. After a replay it fails again,
    so it is a new letter, of the same event, that says that it was replayed once.
    """
    order = an_order()
    good = status_changed(order, OrderStatus.CREATED, version=1)
    system.fulfilment.send(ORDER_EVENTS.name, good)
    system.fulfilment.flush()
    [sent] = system.fulfilment.records(ORDER_EVENTS.name)
    headers: list[tuple[str, str | bytes | None]] = [
        (name, str(uuid4()) if name == CE_ID else value) for name, value in sent.headers
    ]
    assert sent.value is not None
    system.fulfilment.producer.produce(
        ORDER_EVENTS.name, sent.value[:20], sent.key, headers=headers
    )
    system.fulfilment.flush()

    [letter] = eventually(system.letters, within_s=30, why="the record is a dead letter")
    assert (letter["group"], letter["topic"], letter["state"]) == (GROUP, ORDER_EVENTS.name, "OPEN")
    assert (letter["orderId"], letter["attempts"]) == (order.order_id, 0)
    assert [row["id"] for row in system.letters(f"?orderId={order.order_id}")] == [letter["id"]]
    assert system.letters("?group=payment-service") == []

    detail = system.api.get(f"/dead-letters/{letter['id']}").json()
    assert detail["payload"]["type"] == "orderflow.OrderEvent"
    assert detail["payload"]["hex"] == sent.value[:20].hex()
    assert "can't be read as orderflow.OrderEvent" in detail["payload"]["problem"]
    assert detail["evidence"]["originalOffset"] is not None
    assert "Traceback" in detail["evidence"]["stackTrace"]
    assert detail["replay"]["to"] == REPLAY

    body = {"filter": {"group": GROUP}, "reason": "a try", "dryRun": True}
    assert system.act("replay", body).json()["done"] == 1
    assert system.fulfilment.records(DEAD_LETTER_DISPOSITIONS.name) == []
    replayed = system.act("replay", {**body, "dryRun": False}).json()
    assert (replayed["done"], replayed["byTopic"]) == (1, {REPLAY: 1})

    again = eventually(system.letters, within_s=30, why="the copy is a dead letter of its own")
    assert [row["replays"] for row in again] == [1]
    assert again[0]["id"] != letter["id"]
    [closed] = system.letters("?state=replayed")
    assert (closed["id"], closed["disposition"]["by"]) == (letter["id"], "ada")
    assert closed["disposition"]["reason"] == "a try"

    refused = system.act("replay", {"ids": [letter["id"]]})
    assert (refused.status_code, refused.json()["held"]) == (409, {"DEALT_WITH": 1})
    assert len(system.fulfilment.records(REPLAY)) == 1

    done = system.act("discard", {"ids": [again[0]["id"]], "reason": "a test's record"})
    assert done.json()["done"] == 1
    assert system.letters() == []
    [balance] = [
        of for of in system.api.get("/dead-letters/summary").json()["balance"] if of["letters"]
    ]
    assert (balance["letters"], balance["replayed"], balance["discarded"]) == (2, 1, 1)
    assert (balance["open"], balance["difference"]) == (0, 0)


def test_the_lag_and_the_members_of_groups_are_those_of_the_cluster(system: System) -> None:
    def at_rest() -> list[dict[str, Any]]:
        rows = system.api.get(f"/lag?group={GROUP}").json()["items"]
        return [row for row in rows if not row["records"]]

    [lag] = eventually(at_rest, within_s=60, why="fulfilment has read everything")
    assert {topic["topic"] for topic in lag["topics"]} >= {ORDER_EVENTS.name, REPLAY}
    groups = {row["group"]: row for row in system.api.get("/groups").json()["items"]}
    assert groups["payment-service"]["members"] == []
    [member] = groups[GROUP]["members"]
    assert groups[GROUP]["state"] == "Stable"
    assert {"topic": REPLAY, "partition": 0} in member["partitions"]


def test_what_is_wrong_or_away_is_a_problem_and_nothing_else(system: System) -> None:
    slugs = {
        path: (answer.status_code, answer.json()["type"])
        for path in (
            f"/dead-letters/{LETTERS}/0/999",
            "/dead-letters/nobody.dlt/0/0",
            "/dead-letters?gruop=x",
            "/lag?group=nobody",
            "/orders/stuck",
            "/books",
        )
        for answer in [system.api.get(path)]
    }
    assert slugs == {
        f"/dead-letters/{LETTERS}/0/999": (404, "/problems/dead-letter-not-found"),
        "/dead-letters/nobody.dlt/0/0": (404, "/problems/dead-letter-not-found"),
        "/dead-letters?gruop=x": (422, "/problems/invalid-request"),
        "/lag?group=nobody": (404, "/problems/group-not-found"),
        "/orders/stuck": (503, "/problems/order-service-away"),
        "/books": (503, "/problems/books-not-audited"),
    }
