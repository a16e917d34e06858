"""`orderflow revenue`: tables, freshness, and what it says when the API refuses or is not there."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
import typer
from typer.testing import CliRunner, Result

from orderflow.cli import api_client, product, revenue, stuck, watching

TOTALS = {
    "capturedMinor": 123_456_750,
    "refundedMinor": 2_500,
    "netMinor": 123_454_250,
    "payments": 3,
    "refunds": 1,
}
FRESH = {
    "partition": 1,
    "position": "revenue-service-by-customer-repartition-1:5231",
    "completeAt": None,
    "behindMs": 410,
    "instance": "revenue-0",
    "state": "ACTIVE",
}
CUSTOMER = {"customerId": "anna", "totals": {"EUR": TOTALS}, "updatedAt": "2026-01-31T09:05:00Z"}
HOUR = {"hour": "2026-01-31T09:00:00Z", "currency": "JPY", "totals": TOTALS, "updatedAt": ""}
PROBLEM = {"title": "The service can't take this request now", "detail": "it is being restored"}


class FakeApi:
    """Answers each path with the last answer that was put there; remembers what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, list[httpx2.Response | KeyboardInterrupt]] = {}
        self.queries: list[tuple[str, dict[str, str]]] = []

    def put(self, path: str, body: Any, status: int = 200, **headers: str) -> None:
        if isinstance(body, KeyboardInterrupt):
            self.answers.setdefault(path, []).append(body)
            return
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = httpx2.Response(
            status, json=body, headers=named, request=httpx2.Request("GET", f"http://api{path}")
        )
        self.answers.setdefault(path, []).append(answer)

    def send(self, method: str, url: str, **request: Any) -> httpx2.Response:
        assert method == "GET"
        path = url.removeprefix("http://api")
        self.queries.append((path, dict(request["params"] or {})))
        if path not in self.answers:
            raise httpx2.ConnectError("connection refused")
        answers = self.answers[path]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, KeyboardInterrupt):
            raise answer
        return answer


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    fake = FakeApi()
    monkeypatch.setattr(httpx2, "request", fake.send)
    return fake


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(revenue.revenue)
    return CliRunner().invoke(app, [*arguments, "--url", "http://api"])


def test_without_a_currency_that_of_most_payments_is_shown_and_named(api: FakeApi) -> None:
    api.put("/revenue/hours", {"items": [HOUR], "freshness": [FRESH]})
    api.put("/revenue", {"currency": "JPY", "items": [], "freshness": [FRESH]})
    shown = run().stdout
    assert api.queries[-1] == ("/revenue", {"currency": "JPY", "top": "10"})
    assert "in JPY  most payments in 24 hours; --currency names another" in shown
    assert "nothing yet" in shown


def test_without_any_payment_the_default_currency_is_shown_and_named(api: FakeApi) -> None:
    api.put("/revenue/hours", {"items": [], "freshness": [FRESH]})
    api.put("/revenue", {"currency": "EUR", "items": [], "freshness": [FRESH]})
    assert "in EUR  no payments in the last 24 hours" in run().stdout


def test_tables_keep_to_80_columns_and_say_amounts_as_people_read_them(api: FakeApi) -> None:
    items = [{"customerId": "customer-" + "9" * 40, "totals": TOTALS, "updatedAt": ""}]
    api.put("/revenue", {"currency": "EUR", "items": items, "freshness": [FRESH, FRESH]})
    api.put("/revenue/hours", {"items": [HOUR], "freshness": [FRESH]})
    api.put("/revenue/anna", {**CUSTOMER, "freshness": FRESH})

    top = run("--currency", "EUR", "--top", "3").stdout
    hours, customer = run("hours").stdout, run("anna").stdout
    for shown in (top, hours, customer):
        assert max(len(line) for line in shown.splitlines()) <= 80
        assert "410 ms revenue-0 ACTIVE" in shown
        assert str(FRESH["position"]) in shown
    assert "1,234,567.50 EUR 25.00 EUR 1,234,542.50 EUR" in customer
    assert "2026-01-31 09:00 123,456,750 JPY" in hours


def test_digits_of_an_amount_are_never_cut_off(api: FakeApi) -> None:
    huge = {**TOTALS, "capturedMinor": 10**17, "netMinor": 10**17, "refundedMinor": 10**17}
    items = [{"customerId": "anna", "totals": huge, "updatedAt": ""}]
    api.put("/revenue", {"currency": "EUR", "items": items, "freshness": [FRESH]})
    shown = run("--currency", "EUR").stdout
    assert "…" not in shown
    assert sum(character == "0" for character in shown) >= 3 * 17


def test_a_part_that_is_being_restored_says_so_and_that_its_age_is_not_known(
    api: FakeApi,
) -> None:
    restoring = {**FRESH, "behindMs": None, "state": "RESTORING"}
    api.put("/revenue/anna", {**CUSTOMER, "freshness": restoring})
    assert "not known revenue-0 RESTORING" in run("anna").stdout


def test_json_is_the_answer_of_the_api_on_one_line(api: FakeApi) -> None:
    answer = {**CUSTOMER, "freshness": FRESH}
    api.put("/revenue/anna", answer)
    assert json.loads(run("anna", "--json").stdout) == answer


def test_min_position_and_the_range_of_hours_go_to_the_api_as_typed(api: FakeApi) -> None:
    api.put("/revenue/hours", {"items": [], "freshness": []})
    run("hours", "--from", "A", "--to", "B", "--min-position", "payments-1:7")
    asked = {"from": "A", "to": "B", "minPosition": "payments-1:7"}
    assert api.queries == [("/revenue/hours", asked)]


@pytest.mark.parametrize("arguments", [("anna", "--top", "3"), ("--from", "A"), ("--top", "0")])
def test_options_without_a_meaning_together_are_wrong_usage(
    api: FakeApi, arguments: tuple[str, ...]
) -> None:
    assert run(*arguments).exit_code == 2
    assert api.queries == []


def test_a_refusal_is_one_line_in_the_words_of_the_api(api: FakeApi) -> None:
    api.put("/revenue/anna", {"title": "Nothing was ever captured from such a customer"}, 404)
    api.put("/revenue/bert", PROBLEM, 503, retry_after="2")
    assert str(run("anna").exception) == (
        "Nothing was ever captured from such a customer (/revenue/anna)"
    )
    away = f"{PROBLEM['title']}: {PROBLEM['detail']}; wait 2 s, then ask again"
    assert str(run("bert").exception) == away
    gone = run("carl").exception
    assert isinstance(gone, api_client.NoAnswer)
    assert "the revenue API at http://api did not answer (connection refused)" in str(gone)


def test_watch_goes_on_past_a_refusal_that_passes_and_ends_well_with_ctrl_c(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "REFRESH_S", 0.0)
    api.put("/revenue/anna", {"title": "Nothing yet"}, 404)
    api.put("/revenue/anna", PROBLEM, 503, retry_after="0")
    api.put("/revenue/anna", {**CUSTOMER, "freshness": FRESH})
    api.put("/revenue/anna", KeyboardInterrupt())

    watched = run("anna", "--watch")
    assert watched.exit_code == 0
    assert "Nothing yet" in watched.stderr
    assert "it is being restored" in watched.stderr
    assert watched.stdout.count("1,234,567.50 EUR") == 1


def test_watch_ends_when_the_api_says_that_the_question_is_wrong(api: FakeApi) -> None:
    api.put("/revenue/anna", {"title": "Not valid", "detail": "minPosition is written …"}, 422)
    watched = run("anna", "--watch")
    assert str(watched.exception) == "Not valid: minPosition is written …"


def test_stuck_and_product_word_a_refusal_as_revenue_does(api: FakeApi) -> None:
    api.put("/orders", PROBLEM, 503, retry_after="2")
    api.put("/products", PROBLEM, 503, retry_after="2")
    words = f"{PROBLEM['title']}: {PROBLEM['detail']}; wait 2 s, then ask again"
    for command, arguments in ((stuck.app, []), (product.app, ["list"])):
        asked = CliRunner().invoke(command, ["--url", "http://api", *arguments])
        assert str(asked.exception) == words


def test_a_list_is_read_page_by_page(api: FakeApi) -> None:
    api.put("/products", {"items": [{"sku": "A"}], "nextCursor": "2"})
    api.put("/products", {"items": [{"sku": "B"}], "nextCursor": None})
    items = list(api_client.Api("order", "http://api").items("/products", {"stuck": "true"}))
    assert [item["sku"] for item in items] == ["A", "B"]
    first = {"stuck": "true", "limit": "100"}
    assert [query for _, query in api.queries] == [first, {**first, "cursor": "2"}]
