"""`orderflow order` and `orderflow orders`: the whole state, within 80 columns, of known things."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from rich.text import Text
from tests.unit.cli.test_output import acts
from tests.unit.cli.trace.evidence_of_orders import NOON, ORDER, after, order, recorded, said

from orderflow.cli import order as module
from orderflow.cli.order_state import listed, shown, state_of
from orderflow.cli.trace.evidence import DeadLetter, Evidence, Missing, Seen
from orderflow.cli.trace.story import Story, tell

NOW = NOON + timedelta(minutes=1)
EVIL = "a\x1b[2J\nforged"
LETTER = Seen(
    topic="payments.order-service.dlt",
    partition=1,
    offset=4,
    at=after(900),
    event_id="paid",
    letter=DeadLetter(
        group="order-service",
        given_up=("payments", 0, 7),
        error="UnknownOrder",
        attempts=10,
        first_failure=after(200),
        last_failure=after(900),
    ),
)


def story(name: str) -> Story:
    return tell(recorded(name), now=NOW)


def text(of: Story) -> str:
    return shown(of, now=NOW).plain


def row(label: str, of: Story) -> str:
    """The line of a part, and the lines below it up to the next part, as one."""
    lines = text(of).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(label))
    rest = lines[start + 1 :]
    end = next((number for number, line in enumerate(rest) if line[:1] != " "), len(rest))
    return " ".join(" ".join([lines[start], *rest[:end]]).split())


def with_payment(**fields: Any) -> Story:
    payment = {
        "paymentId": "p1",
        "attempt": 1,
        "amountMinor": 1_250,
        "currency": "EUR",
        "createdAt": said(100),
        **fields,
    }
    return tell(
        Evidence(order_id=ORDER, order=order("CREATED"), payments={"payments": [payment]}), now=NOW
    )


@pytest.mark.parametrize("name", ["out_of_stock", "delivered"])
def test_no_line_is_longer_than_80_columns(name: str) -> None:
    assert [line for line in text(story(name)).splitlines() if len(line) > 80] == []


def test_an_order_out_of_stock_shows_each_part_of_it() -> None:
    state = story("out_of_stock")
    assert text(state).splitlines()[2].startswith("CANCELLED · payment REFUNDED (attempt 1)")
    assert "payment attempt 1 SUCCEEDED, 499.00 EUR, took 34 ms" in row("payment", state)
    assert "refund SUCCEEDED, 499.00 EUR (OUT_OF_STOCK), took 9 ms" in row("payment", state)
    assert row("stock", state) == "stock REJECTED"
    assert row("shipment", state) == "shipment CALLED_OFF"
    assert "mail PAYMENT_REFUNDED SENT" in row("mails", state)
    assert "OrderCreated on orders-" in row("records", state)
    assert row("dead letters", state) == "dead letters none"
    assert f"orderflow trace {state.order_id}" in text(state)


def test_stock_is_what_inventory_says_of_an_order_that_was_delivered() -> None:
    assert row("stock", story("delivered")) == "stock SHIPPED"
    assert row("shipment", story("delivered")) == "shipment CLOSED"


def test_a_payment_says_why_it_failed_or_that_nobody_knows() -> None:
    failed = with_payment(state="FAILED", reason="DECLINED", settledAt=said(150))
    assert "FAILED (DECLINED)" in row("payment", failed)
    unknown = with_payment(state="UNKNOWN", unknownSince=said(150))
    assert "UNKNOWN, neither a yes nor a no" in row("payment", unknown)


def test_a_dead_letter_is_named_with_the_command_that_shows_it() -> None:
    state = tell(Evidence(order_id=ORDER, order=order("PAID"), records=[LETTER]), now=NOW)
    assert "DEAD LETTER of order-service: UnknownOrder after 10 attempts" in row(
        "dead letters", state
    )
    assert "orderflow dlt show payments.order-service.dlt" in text(state)


def test_who_could_not_be_asked_is_named() -> None:
    gap = Missing(source="payment", why="its API did not answer", unasked=True)
    state = tell(Evidence(order_id=ORDER, order=order("PAID"), missing=[gap]), now=NOW)
    assert "payment: its API did not answer" in text(state)


def test_programs_get_the_parts_by_name() -> None:
    state = json.loads(msgspec.json.encode(state_of(story("out_of_stock"))))
    assert (state["order"]["status"], state["stock"]) == ("CANCELLED", "REJECTED")
    assert [refund["outcome"] for refund in state["refunds"]] == ["SUCCEEDED"]
    places = [(record["topic"], record["offset"]) for record in state["records"]]
    assert len(places) == len(set(places)) > 5
    times = [record["at"] for record in state["records"]]
    assert times == sorted(times)
    assert state["deadLetters"] == []


def test_a_listed_order_says_what_it_waits_for_and_nothing_in_it_acts() -> None:
    waiting = {"for": "PAYMENT", "owner": "payment", "deadline": said(0)}
    shape = order("CREATED", waiting=waiting, customerId=EVIL)
    lines = listed(shape, now=NOW)
    assert isinstance(lines, Text)
    assert "waits for PAYMENT · whose turn: payment · OVERDUE" in lines.plain
    assert acts(lines.plain) == set()
    assert "\nforged" not in lines.plain
    assert "12.50 EUR · payment SUCCEEDED · stock RESERVED" in lines.plain


class Orders:
    """An order API with three orders."""

    def __init__(self, _service: str, _url: str) -> None:
        self.asked: dict[str, str] = {}

    def items(self, _path: str, parameters: dict[str, str]) -> Any:
        given = [order("CREATED", version=version) for version in (1, 2, 3)]
        yield from given if parameters.get("customerId") != "nobody" else []


def test_as_many_orders_as_wanted_are_one_array_and_none_is_an_empty_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "Api", Orders)
    module.orders(last=2, as_json=True)
    module.orders(customer="nobody", as_json=True)
    two, _, none = capsys.readouterr().out.rpartition("[")
    assert [each["version"] for each in json.loads(two)] == [1, 2]
    assert json.loads(f"[{none}") == []
