"""`GET /lag`, `/groups`, `/orders/stuck`: what they answer, and what they refuse."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import httpx2
import pytest
from tests.support.documented import assert_documented
from tests.support.operations_api import AT, Cluster, OperationsApi, nobody, operations_api, survey

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.groups import Groups, Member, Membership
from orderflow.messaging.kafka.survey import Surveyor
from orderflow.messaging.work.clock import Clock
from orderflow.services.operations import examples
from orderflow.services.operations.openapi import document
from orderflow.services.operations.surveys import Surveys

AWAY = Unavailable("no broker at 10.0.0.7:9092 answers", resource="broker")


class FakeClock(Clock):
    passed_s = 0.0

    def monotonic(self) -> float:
        return self.passed_s


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(survey({"payment-service": 7, "inventory-service": 0, "order-service": 2}))


@pytest.fixture
def api(cluster: Cluster) -> Iterator[OperationsApi]:
    with operations_api(cluster) as running:
        yield running


def assert_problem(answer: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "10.0.0.7" not in answer.text
    problem: dict[str, Any] = answer.json()
    return problem


def test_the_lag_is_by_group_and_topic_and_partition(api: OperationsApi) -> None:
    answer = api.get("/lag?group=payment-service")
    assert_documented(document(), "/lag", answer)
    [group] = answer.json()["items"]
    assert (group["group"], group["records"], group["seconds"]) == ("payment-service", 7, 7.0)
    [topic] = group["topics"]
    assert topic["partitions"] == [
        {"partition": 0, "committed": 10, "records": 7, "waiting": 0, "seconds": 7.0, "beyond": 0}
    ]
    assert answer.json()["at"] == AT.isoformat().replace("+00:00", "Z")


def test_groups_come_by_name_a_page_at_a_time(api: OperationsApi) -> None:
    first = api.get("/lag?limit=2").json()
    assert [row["group"] for row in first["items"]] == ["inventory-service", "order-service"]
    rest = api.get(f"/lag?limit=2&cursor={first['nextCursor']}").json()
    assert [row["group"] for row in rest["items"]] == ["payment-service"]
    assert rest["nextCursor"] is None


def test_open_transactions_and_troubles_are_told() -> None:
    seen = survey({}, open_transactions={("orders", 1): 60.0}, missing=["payments"])
    with operations_api(Cluster(seen)) as api:
        answer = api.get("/lag").json()
    assert answer["openTransactions"] == [
        {"topic": "orders", "partition": 1, "seconds": 60.0, "hanging": True}
    ]
    assert answer["troubles"] == ["topics that do not exist: payments"]


def test_members_of_a_group_and_groups_that_the_brokers_do_not_know(
    api: OperationsApi, cluster: Cluster
) -> None:
    member = Member(client_id="rdkafka", host="127.0.0.1", partitions=(("orders", 0),))
    cluster.known = {
        "payment-service": Membership(group="payment-service", state="Stable", members=(member,))
    }
    answer = api.get("/groups")
    assert_documented(document(), "/groups", answer)
    shown = {row["group"]: (row["state"], row["members"]) for row in answer.json()["items"]}
    assert shown == {
        "inventory-service": ("Dead", []),
        "order-service": ("Dead", []),
        "payment-service": (
            "Stable",
            [
                {
                    "clientId": "rdkafka",
                    "host": "127.0.0.1",
                    "partitions": [{"topic": "orders", "partition": 0}],
                }
            ],
        ),
    }


@pytest.mark.parametrize(
    ("path", "status", "slug", "words"),
    [
        ("/lag?group=nobody", 404, "group-not-found", "GET /lag"),
        ("/lag?gruop=payment-service", 422, "invalid-request", "gruop is no parameter"),
        ("/lag?limit=0", 422, "invalid-request", "limit"),
        ("/lag?limit=1e1", 422, "invalid-request", "digits"),
        ("/lag?limit=1&limit=2", 422, "invalid-request", "once"),
        ("/lag?cursor=%00", 422, "invalid-request", "nextCursor"),
        ("/lag?cursor=YQ==", 422, "invalid-request", "nextCursor"),
        ("/groups?group=x", 422, "invalid-request", "group is no parameter"),
        ("/orders/stuck?stuck=false", 422, "invalid-request", "stuck is no parameter"),
    ],
)
def test_a_wrong_question_is_refused_in_words(
    api: OperationsApi, path: str, status: int, slug: str, words: str
) -> None:
    assert words in assert_problem(api.get(path), status, slug)["detail"]


@pytest.mark.parametrize("path", ["/lag", "/groups"])
def test_brokers_that_are_away_are_503_and_named_without_their_address(path: str) -> None:
    with operations_api(Cluster(AWAY)) as api:
        answer = api.get(path)
    assert assert_problem(answer, 503, "unavailable")["detail"] == "broker: away"
    assert answer.headers["retry-after"] == "2"


def test_whoever_asks_at_the_same_time_costs_the_brokers_one_look(
    api: OperationsApi, cluster: Cluster
) -> None:
    answers = api.at_once(lambda client: [client.get("/lag") for _ in range(8)])
    assert [answer.status_code for answer in answers] == [200] * 8
    assert cluster.looks == 1


def test_a_rate_is_that_since_the_oldest_look_of_the_last_ten_seconds() -> None:
    clock = FakeClock()
    cluster = Cluster(*(survey({"g": 100 - 5 * at}, after_s=at) for at in range(30)))
    surveys = Surveys(
        lambda: cast("Surveyor", cluster), lambda: cast("Groups", cluster), clock=clock
    )
    paces = []
    for second in range(15):
        clock.passed_s = float(second)
        paces.append(surveys.report().groups[0].pace.drain_per_second)
    assert paces == [None, *[5.0] * 14]
    clock.passed_s = 100.0
    assert surveys.report().groups[0].pace.drain_per_second is None


class Hanging(Cluster):
    """A cluster that answers once it is let go."""

    def __init__(self) -> None:
        super().__init__(survey({}))
        self.begun, self.go_on = threading.Event(), threading.Event()

    def survey(self) -> Any:
        self.begun.set()
        assert self.go_on.wait(10)
        return super().survey()


def test_brokers_that_hang_are_503_in_time_and_the_api_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orderflow.services.operations.cluster.SURVEY_WITHIN_S", 0.05)
    hanging = Hanging()
    with operations_api(hanging) as api:
        answers = api.at_once(
            lambda client: [*(client.get("/lag") for _ in range(12)), client.get("/livez")]
        )
        hanging.go_on.set()
    slugs = [answer.json()["detail"] for answer in answers[:-1]]
    assert [answer.status_code for answer in answers] == [*[503] * 12, 200]
    # One runs, eight wait, the others are not let in at all.
    assert slugs.count("too many questions about the cluster wait already") == 3
    assert slugs.count("the brokers have not answered in time: see /readyz, and ask again") == 9
    assert hanging.looks <= 1


def test_stuck_orders_are_those_of_the_order_api_page_by_page() -> None:
    requests: list[str] = []

    def orders(request: httpx2.Request) -> httpx2.Response:
        requests.append(request.url.query.decode())
        return httpx2.Response(200, json={**examples.STUCK, "nextCursor": "n", "more": 1})

    with operations_api(orders=orders) as api:
        answer = api.get("/orders/stuck?limit=1&cursor=c")
    assert_documented(document(), "/orders/stuck", answer)
    assert answer.json() == {**examples.STUCK, "nextCursor": "n"}
    assert requests == ["stuck=true&limit=1&cursor=c"]


@pytest.mark.parametrize(
    ("orders", "words"),
    [
        (None, "it does not answer"),
        (httpx2.Response(503, json={"title": "Starting", "detail": "see /readyz"}), "see /readyz"),
        (httpx2.Response(500, text="boom at 10.0.0.7"), "it answers 500: no problem document"),
        (httpx2.Response(200, text="<html>"), "its answer is none of an order API"),
        (httpx2.Response(200, json={"items": [{}]}), "its answer is none of an order API"),
    ],
)
def test_an_order_service_that_can_not_be_asked_is_503_with_what_to_look_at(
    orders: httpx2.Response | None, words: str
) -> None:
    with operations_api(orders=nobody if orders is None else lambda _request: orders) as api:
        answer = api.get("/orders/stuck")
    problem = assert_problem(answer, 503, "order-service-away")
    assert words in problem["detail"]
    assert "ORDERFLOW_OPERATIONS__ORDER__URL" in problem["detail"]
    assert "retry-after" in answer.headers


def test_a_cursor_that_the_order_api_refuses_is_422() -> None:
    refusal = httpx2.Response(422, json={"title": "Not valid", "detail": "cursor is wrong"})
    with operations_api(orders=lambda _request: refusal) as api:
        problem = assert_problem(api.get("/orders/stuck?cursor=x"), 422, "invalid-request")
    assert problem["detail"] == "cursor is wrong"
