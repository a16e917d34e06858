"""The commands' tests stand in for servers: a command asks one whose address is set."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def kafka_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
