"""`orderflow revenue rebuild`: what it shows of differences, and when it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from orderflow.cli import revenue_rebuild
from orderflow.messaging.errors import ConfigurationError, OrderflowError

TOTALS = {
    "capturedMinor": 1_299_000_000,
    "refundedMinor": 0,
    "netMinor": 1_299_000_000,
    "payments": 3,
    "refunds": 0,
}
CUSTOMER: dict[str, Any] = {
    "table": "revenue-by-customer",
    "partition": 1,
    "key": "customer-" + "x" * 55,
    "present": {"customerId": "customer-123", "totals": {"EUR": TOTALS, "CHF": TOTALS}},
    "recomputed": {
        "customerId": "customer-123",
        "totals": {"EUR": {**TOTALS, "netMinor": 5, "refunds": 1}, "CHF": TOTALS},
    },
}
HOUR: dict[str, Any] = {
    "table": "revenue-by-hour",
    "partition": 0,
    "key": "2026-01-31T09/EUR",
    "present": None,
    "recomputed": {"hour": "2026-01-31T09:00:00Z", "currency": "EUR", "totals": TOTALS},
}
FACTS: dict[str, Any] = {
    "table": "revenue-by-customer",
    "partition": 2,
    "facts": {"missing": 12_000, "surplus": 1},
}


def shown(monkeypatch: pytest.MonkeyPatch, *lines: dict[str, Any]) -> int:
    """Run a comparison that says so; its exit code."""
    monkeypatch.setattr(revenue_rebuild, "_lines", lambda _arguments: iter(lines))
    try:
        revenue_rebuild.rebuild(dry_run=True)
    except typer.Exit as end:
        return int(end.exit_code)
    return 0


def test_differences_are_listed_by_key_and_currency_within_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = {"step": "reading payments", "done": 1, "total": 2}
    result = {"result": 3, "unreadable": 0}
    assert shown(monkeypatch, step, CUSTOMER, HOUR, FACTS, result) == 1
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "1,299,000,000" in printed
    assert "net, refunds" in printed
    assert "revenue-by-customer-2: 12,000 facts missing, 1 surplus" in printed
    assert "CHF" not in printed


def test_nothing_differs_is_exit_code_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(monkeypatch, {"result": 0, "unreadable": 2}) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "nothing differs" in captured.err
    assert "2 records are dead letters" in captured.err


def test_what_the_process_could_not_do_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OrderflowError, match="payments has lost"):
        shown(monkeypatch, {"error": "payments has lost its first 7 offsets"})


def test_a_rebuild_wants_a_reason_and_somebody_who_says_yes() -> None:
    with pytest.raises(ConfigurationError, match="--reason"):
        revenue_rebuild.rebuild()
    with pytest.raises(OrderflowError, match="--yes"):
        revenue_rebuild.rebuild(reason="a test")
