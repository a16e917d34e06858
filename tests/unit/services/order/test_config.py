"""The order service refuses to start with settings that it can't keep."""

from __future__ import annotations

import pytest

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.settings import load
from orderflow.services.order.config import Settings


def test_a_default_currency_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERFLOW_ORDER__DATABASE__DSN", "postgresql:///order")
    assert load(Settings).order.default_currency == "EUR"
    monkeypatch.setenv("ORDERFLOW_ORDER__DEFAULT_CURRENCY", "ZZZ")
    with pytest.raises(ConfigurationError, match=r"DEFAULT_CURRENCY.*ZZZ is no currency"):
        load(Settings)
