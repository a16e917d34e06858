"""`/dead-letters…`: what is listed, explained, sent back and laid aside, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.documented import assert_documented
from tests.support.examples import ORDER_CREATED
from tests.support.operations_api import (
    GROUP,
    LETTERS,
    MemoryDesk,
    OperationsApi,
    a_letter,
    operations_api,
)
from tests.unit.services.operations.test_cluster import assert_problem

from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging.dead_letters.dispositions import Disposition, DispositionKind
from orderflow.messaging.errors import ConfigurationError, Fenced, Unavailable
from orderflow.messaging.http.actor import ACTOR_HEADER
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.testing.registry import InMemoryRegistry
from orderflow.services.operations.openapi import document

REPLAYED = Disposition(kind=DispositionKind.REPLAYED, by="ada", reason="mended", replays=1)
DISCARDED = Disposition(kind=DispositionKind.DISCARDED, by="ada", reason="a test")


@pytest.fixture
def desk() -> MemoryDesk:
    """Offsets 1 to 3 are open, 4 is parked, 5 replayed, 6 discarded."""
    return MemoryDesk(
        *(a_letter(offset) for offset in (1, 2, 3)),
        a_letter(4, replays=3),
        a_letter(5, disposition=REPLAYED),
        a_letter(6, disposition=DISCARDED),
    )


@pytest.fixture
def api(desk: MemoryDesk) -> Iterator[OperationsApi]:
    with operations_api(desk=lambda: desk) as running:
        yield running


def place(offset: int) -> str:
    return f"{LETTERS}/0/{offset}"


def offsets(api: OperationsApi, query: str) -> list[int]:
    answer = api.get(f"/dead-letters{query}")
    assert_documented(document(), "/dead-letters", answer)
    return [int(row["id"].rpartition("/")[2]) for row in answer.json()["items"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [1, 2, 3, 4]),
        ("?state=open", [1, 2, 3, 4]),
        ("?state=parked", [4]),
        ("?state=replayed", [5]),
        ("?state=discarded", [6]),
        ("?state=all", [1, 2, 3, 4, 5, 6]),
        ("?group=payment-service&topic=orders&type=OrderCreated&cause=Poison", [1, 2, 3, 4]),
        ("?group=order-service", []),
        ("?topic=payments", []),
        ("?type=orderflow.OrderShipped", []),
        ("?cause=ValueError", []),
        ("?key=order-2", [2]),
        ("?orderId=order-3", [3]),
        ("?from=2026-01-31T09:07:00Z&to=2026-01-31T10:08:00%2B01:00", [2]),
    ],
)
def test_each_filter_and_state_lists_what_fits(
    api: OperationsApi, query: str, expected: list[int]
) -> None:
    assert offsets(api, query) == expected


def test_a_letter_of_the_list_says_what_it_is_and_what_became_of_it(api: OperationsApi) -> None:
    first, *others, last = api.get("/dead-letters?state=all").json()["items"]
    assert [row["state"] for row in others] == ["OPEN", "OPEN", "PARKED", "REPLAYED"]
    assert first["id"] == place(1)
    assert (first["state"], first["group"], first["cause"]) == ("OPEN", GROUP, "Poison")
    assert (first["orderId"], first["key"], first["disposition"]) == ("order-1", "order-1", None)
    assert last["state"] == "DISCARDED"
    assert (last["disposition"]["by"], last["disposition"]["reason"]) == ("ada", "a test")


def test_pages_follow_each_other_without_a_gap(api: OperationsApi, desk: MemoryDesk) -> None:
    seen: list[str] = []
    cursor = ""
    while True:
        page = api.get(f"/dead-letters?state=all&limit=2{cursor}").json()
        assert len(page["items"]) <= 2
        seen += [row["id"] for row in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
        # What comes meanwhile is on a later page, and moves nothing.
        desk.known = [*desk.known, a_letter(7)] if len(seen) == 2 else desk.known
    assert seen == [place(offset) for offset in (1, 2, 3, 4, 5, 6, 7)]


def test_the_summary_has_what_letters_have_in_common_and_the_balance(api: OperationsApi) -> None:
    answer = api.get("/dead-letters/summary")
    assert_documented(document(), "/dead-letters/summary", answer)
    [row] = answer.json()["items"]
    assert (row["group"], row["topic"], row["cause"]) == (GROUP, "orders", "Poison")
    assert (row["letters"], row["parked"], row["orders"]) == (4, 1, 4)
    assert row["firstLetter"] == place(1)
    [balance] = answer.json()["balance"]
    assert (balance["letters"], balance["open"], balance["difference"]) == (6, 4, 0)
    assert api.get("/dead-letters/summary?state=all").json()["items"][0]["letters"] == 6


def test_a_payload_that_can_not_be_decoded_is_hex_and_says_where_that_stopped(
    api: OperationsApi,
) -> None:
    answer = api.get(f"/dead-letters/{place(1)}")
    assert_documented(document(), "/dead-letters/{topic}/{partition}/{offset}", answer)
    detail = answer.json()
    assert detail["payload"]["event"] is None
    assert (detail["payload"]["hex"], detail["payload"]["size"]) == ("ff", 1)
    assert "ff" in detail["payload"]["problem"]
    assert detail["headers"] == [
        {"name": "ce_type", "value": "orderflow.OrderCreated"},
        {"name": "odd", "value": "0xff"},
    ]
    assert detail["evidence"]["exceptionType"] == "orderflow.messaging.errors.Poison"
    assert detail["replay"]["to"] == "orders.payment-service.replay"


def test_a_payload_that_can_be_decoded_is_its_event() -> None:
    registry = InMemoryRegistry.holding(CATALOGUE)
    value = Encoder.load(registry, CATALOGUE, ["orders"]).encode("orders", ORDER_CREATED)
    desk = MemoryDesk(a_letter(1, value=value, disposition=REPLAYED), a_letter(2, value=value[:9]))
    with operations_api(desk=lambda: desk, decoder=Decoder(registry)) as api:
        whole, cut = (api.get(f"/dead-letters/{place(at)}").json() for at in (1, 2))
    assert whole["payload"]["event"]["orderId"] == ORDER_CREATED.order_id
    assert (whole["payload"]["problem"], whole["payload"]["hex"]) == (None, None)
    assert whole["replay"] is None
    assert cut["payload"]["type"] == "orderflow.OrderCreated"
    assert cut["payload"]["hex"] == value[:9].hex()
    assert cut["payload"]["problem"]


@pytest.mark.parametrize("path", [place(99), f"{LETTERS}/0/x", f"{LETTERS}/-1/0", "a b/0/0"])
def test_a_letter_that_is_not_there_is_404(api: OperationsApi, path: str) -> None:
    assert_problem(api.get(f"/dead-letters/{path}"), 404, "dead-letter-not-found")


def replay(api: OperationsApi, body: dict[str, Any], **headers: str) -> Any:
    answer = api.ask("POST", "/dead-letters/replay", body=body, headers=headers)
    assert_documented(document(), "/dead-letters/replay", answer)
    return answer


def test_a_replay_says_what_was_sent_and_what_not_and_a_second_one_changes_nothing(
    api: OperationsApi, desk: MemoryDesk
) -> None:
    body = {"filter": {"group": GROUP}, "reason": "mended", "max": 2}
    answer = replay(api, body, **{ACTOR_HEADER: "ada"}).json()
    assert (answer["done"], answer["beyondMax"], answer["held"]) == (2, 1, {"PARKED": 1})
    assert answer["byTopic"] == {"orders.payment-service.replay": 2}
    assert [row["id"] for row in answer["letters"] if row["to"]] == [place(1), place(2)]
    [act] = desk.acts
    assert (act["by"], act["reason"], act["max_letters"]) == ("ada", "mended", 2)
    assert (act["keep_order"], act["replays_max"]) == (True, None)

    known = desk.known
    again = replay(api, {"ids": [place(1), place(2), place(4)]})
    problem = assert_problem(again, 409, "nothing-done")
    assert problem["held"] == {"DEALT_WITH": 2, "PARKED": 1}
    assert {row["id"]: row["held"] for row in problem["letters"]} == {
        place(1): "DEALT_WITH",
        place(2): "DEALT_WITH",
        place(4): "PARKED",
    }
    assert desk.known == known


def test_a_filter_that_nothing_fits_is_no_error(api: OperationsApi) -> None:
    answer = replay(api, {"filter": {"group": "order-service"}})
    assert (answer.status_code, answer.json()["done"]) == (200, 0)


def test_a_dry_run_says_what_would_be_and_does_nothing(
    api: OperationsApi, desk: MemoryDesk
) -> None:
    for path, done in (("replay", 3), ("discard", 4)):
        body = {"filter": {}, "reason": "why", "dryRun": True}
        answer = api.ask("POST", f"/dead-letters/{path}", body=body).json()
        assert (answer["dryRun"], answer["done"]) == (True, done)
    assert desk.acts == []
    assert [letter.is_open for letter in desk.known] == [True] * 4 + [False] * 2


def test_a_discard_records_who_and_why(api: OperationsApi, desk: MemoryDesk) -> None:
    body = {"ids": [place(3)], "reason": "a test's record"}
    answer = api.ask("POST", "/dead-letters/discard", body=body)
    assert_documented(document(), "/dead-letters/discard", answer)
    assert answer.json()["done"] == 1
    disposition = desk.find(desk.known[2].id).disposition
    assert disposition is not None
    assert (disposition.kind, disposition.by) == (DispositionKind.DISCARDED, "anonymous")
    assert disposition.reason == "a test's record"


def test_a_replay_that_takes_too_long_stops_between_transactions(
    api: OperationsApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orderflow.services.operations.desk_routes.ACT_WITHIN_S", -1.0)
    answer = replay(api, {"filter": {}}).json()
    assert (answer["stopped"], answer["done"], answer["left"]) == (True, 0, 3)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("replay", {}, "either ids or filter"),
        ("replay", {"ids": [place(1)], "filter": {}}, "either ids or filter"),
        ("replay", {"ids": []}, "1 to 1000 items"),
        ("replay", {"ids": ["orders/0"]}, "names no dead letter"),
        ("replay", {"filter": {"gruop": "x"}}, "gruop"),
        ("replay", {"filter": {"from": "2026-01-31T09:05:00"}}, "its offset"),
        ("replay", {"filter": {}, "max": 0}, "from 1 to 10000"),
        ("replay", {"filter": {}, "dryrun": True}, "dryrun"),
        ("discard", {"filter": {}}, "reason"),
        ("discard", {"filter": {}, "reason": ""}, "1 to 500 characters"),
        ("discard", {"filter": {}, "reason": " "}, "say why"),
    ],
)
def test_a_wrong_command_is_refused_before_anything_is_done(
    api: OperationsApi, desk: MemoryDesk, path: str, body: dict[str, Any], words: str
) -> None:
    answer = api.ask("POST", f"/dead-letters/{path}", body=body)
    assert words in assert_problem(answer, 422, "invalid-request")["detail"]
    assert desk.acts == []


def test_an_actor_that_is_no_name_is_refused(api: OperationsApi, desk: MemoryDesk) -> None:
    answer = replay(api, {"filter": {}}, **{ACTOR_HEADER: "a b"})
    assert ACTOR_HEADER in assert_problem(answer, 422, "invalid-request")["detail"]
    assert desk.acts == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?gruop=x", "gruop is no parameter"),
        ("?state=gone", "state is one of open, parked"),
        ("?from=yesterday", "from"),
        ("?from=2026-01-31T09:05:00", "its offset"),
        ("?limit=201", "limit"),
        ("?cursor=YQ", "nextCursor"),
        ("?group=", "group"),
    ],
)
def test_a_wrong_filter_is_refused_in_words(api: OperationsApi, query: str, words: str) -> None:
    problem = assert_problem(api.get(f"/dead-letters{query}"), 422, "invalid-request")
    assert words in problem["detail"]


@pytest.mark.parametrize(
    ("error", "status", "slug", "words"),
    [
        (Unavailable("at 10.0.0.7", resource="broker"), 503, "unavailable", "broker: away"),
        (
            ConfigurationError("can't read dispositions: orderflow topics apply"),
            503,
            "dead-letters-not-ready",
            "topics apply",
        ),
        (Fenced("another desk"), 409, "another-replay-has-begun", "nothing is sent twice"),
    ],
)
def test_what_the_desk_refuses_has_a_problem_of_its_own(
    api: OperationsApi, desk: MemoryDesk, error: Exception, status: int, slug: str, words: str
) -> None:
    desk.error = error
    for answer in (api.get("/dead-letters"), replay(api, {"filter": {}})):
        assert words in assert_problem(answer, status, slug)["detail"]


def test_reading_that_takes_too_long_is_503_and_the_api_goes_on(
    api: OperationsApi, desk: MemoryDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orderflow.services.operations.desk_routes.READ_WITHIN_S", 0.05)
    go_on = threading.Event()
    letters = desk.letters

    def hanging(*arguments: Any, **options: Any) -> Any:
        go_on.wait(10)
        return letters(*arguments, **options)

    desk.letters = hanging  # type: ignore[method-assign]
    answers = api.at_once(lambda client: [client.get("/dead-letters"), client.get("/livez")])
    go_on.set()
    assert "narrow it" in assert_problem(answers[0], 503, "unavailable")["detail"]
    assert answers[0].headers["retry-after"] == "2"
    assert answers[1].status_code == 200
