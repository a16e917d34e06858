"""Whoever does not answer, refuses or answers nonsense is named, and the others are still asked."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.cli.trace.evidence_of_orders import ORDER

from orderflow.cli.api_client import Api, NoAnswer, Refused
from orderflow.cli.trace.answers import NoSuchOrder, ask_services
from orderflow.cli.trace.command import _made_at, _order_id, zipkin_link
from orderflow.messaging.errors import ConfigurationError
from orderflow.stack.ports import free_ports

SERVICES = ("order", "payment", "inventory", "notification", "fulfilment")
ANSWERS: dict[str, Any] = {
    f"/orders/{ORDER}": {"orderId": ORDER, "status": "PAID"},
    f"/orders/{ORDER}/history": {"items": [{"status": "CREATED"}]},
    f"/payments/{ORDER}": {"payments": []},
    f"/reservations/{ORDER}": {"status": "RESERVED"},
    f"/shipments/{ORDER}": {"status": "PREPARED"},
    "/notifications": {"items": [{"kind": "ORDER_CREATED"}], "nextCursor": None},
}


class Fake(Api):
    """An API that answers by path, or raises what stands there."""

    def __init__(self, service: str, answers: dict[str, Any]) -> None:
        super().__init__(service, "http://127.0.0.1:1")
        self.answers = answers

    def ask(self, method: str, path: str, **_details: Any) -> Any:
        assert method == "GET"
        answer = self.answers.get(path, Refused("not there", 404, None))
        if isinstance(answer, Exception):
            raise answer
        return answer


def asked(**instead: Any) -> Any:
    answers = {**ANSWERS, **instead}
    return ask_services({name: Fake(name, answers) for name in SERVICES}, ORDER)


def test_everybody_is_asked_about_the_order() -> None:
    answers = asked()
    assert (answers.order["status"], len(answers.history), len(answers.mails)) == ("PAID", 1, 1)
    assert (answers.payments, answers.reservation, answers.shipment, answers.missing) == (
        {"payments": []},
        {"status": "RESERVED"},
        {"status": "PREPARED"},
        [],
    )


def test_an_order_that_does_not_exist_is_said_to_be_none() -> None:
    with pytest.raises(NoSuchOrder, match=f"there is no order {ORDER}"):
        asked(**{f"/orders/{ORDER}": Refused("not there", 404, None)})


def test_a_service_that_knows_nothing_of_the_order_is_no_gap() -> None:
    answers = asked(**{f"/shipments/{ORDER}": Refused("not there", 404, None)})
    assert (answers.shipment, answers.missing) == (None, [])


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (NoAnswer("connection refused by 10.1.2.3"), "its API did not answer"),
        (Refused("Busy", 503, None), "its API refused to say: Busy"),
    ],
)
def test_who_does_not_answer_is_named_and_the_others_are_still_asked(
    answer: Exception, why: str
) -> None:
    answers = asked(**{f"/payments/{ORDER}": answer})
    assert [(gap.source, gap.unasked) for gap in answers.missing] == [("payment", True)]
    assert answers.missing[0].why.startswith(why)
    assert "10.1.2.3" not in answers.missing[0].why
    assert answers.shipment is not None


def test_an_answer_that_is_none_of_ours_is_named_too() -> None:
    answers = asked(**{f"/orders/{ORDER}/history": ["?"]})
    assert [gap.source for gap in answers.missing] == ["order"]


def test_without_the_order_service_the_others_are_still_asked() -> None:
    answers = asked(**{f"/orders/{ORDER}": NoAnswer("away")})
    assert (answers.order, [gap.source for gap in answers.missing]) == (None, ["order"])
    assert answers.payments is not None


def test_a_service_whose_address_nobody_gave_is_named_with_the_option_for_it() -> None:
    apis: dict[str, Api | None] = {name: Fake(name, ANSWERS) for name in SERVICES}
    answers = ask_services({**apis, "payment": None}, ORDER)
    assert [(gap.source, gap.why) for gap in answers.missing] == [
        ("payment", "nobody says where its API is: give --payment-url")
    ]


@pytest.mark.parametrize("text", ["", "4711", "019ac5d2", "../orders", ORDER[:-1] + "g"])
def test_what_is_no_order_id_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no order id: it looks like 019ac5d2-"):
        _order_id(text)


def test_an_order_id_is_understood_in_capitals_and_without_hyphens() -> None:
    assert _order_id(ORDER.upper().replace("-", "")) == ORDER


def test_an_ids_own_time_stands_in_where_the_order_service_does_not_answer() -> None:
    assert f"{_made_at(ORDER):%Y-%m-%d %H:%M:%S}" == "2026-11-28 23:15:40"
    assert _made_at("f5ef84bf-b7e5-49ea-a350-5ca62f85146c").year == 1970


def test_there_is_no_link_where_no_zipkin_runs() -> None:
    [port] = free_ports(1, start=21_000)
    assert zipkin_link(port, "a" * 32) is None
